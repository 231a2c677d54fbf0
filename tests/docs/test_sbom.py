"""`make sbom` lists what is installed: each package with its version, most with a licence."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

from conftest import ROOT
from docs.pages import text_of


def command() -> list[str]:
    """The line of the Makefile, as one."""
    recipe = text_of(ROOT / "Makefile").partition("\nsbom:")[2].partition("\n\n")[0]
    line = re.search(r"@(\.cache/sbom/bin/.*?)\n\t@", recipe, re.DOTALL)
    assert line is not None
    return shlex.split(line[1].replace("\\\n", " "))


@pytest.mark.timeout(300)
def test_every_installed_package_is_listed(tmp_path: Path) -> None:
    written = tmp_path / "sbom.cdx.json"
    words = [str(written) if word == "sbom.cdx.json" else word for word in command()]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    document = json.loads(written.read_text(encoding="utf-8"))
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "wetread"
    listed = {each["name"].lower(): each for each in document["components"]}
    installed = {
        each.metadata["Name"].lower(): each.version
        for each in distributions(path=[*map(str, (ROOT / ".venv/lib").glob("*/site-packages"))])
        if each.metadata["Name"] != "wetread"
    }
    assert {
        name: each["version"] for name, each in listed.items() if name != "wetread"
    } == installed
    licensed = [each for each in listed.values() if each.get("licenses")]
    assert len(licensed) >= 0.9 * len(listed)
