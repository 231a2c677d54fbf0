"""Helm in a process of its own: its runtime is Go's, and may end the process that it is in."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any


class HelmError(Exception):
    """What Helm says of values that it does not take."""


def render(chart: Path, values: dict[str, Any]) -> dict[str, str]:
    """The text of each manifest, by its name. Raises HelmError."""
    found: dict[str, str] = json.loads(_run(chart, "render", json.dumps(values)))
    return found


def lint(chart: Path) -> dict[str, Any]:
    """Helm's own report, with `messages` and `errors`."""
    found: dict[str, Any] = json.loads(_run(chart, "lint", ""))
    return found


@cache
def _run(chart: Path, action: str, values: str) -> str:
    command = [sys.executable, __file__, str(chart), action]
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HelmError(done.stderr)
    return done.stdout


def _main(chart: str, action: str) -> None:
    import helm_python

    if action == "lint":
        print(json.dumps(helm_python.lint(Path(chart), strict=True)))  # noqa: T201
        return
    with helm_python.Chart.load(Path(chart)) as loaded:
        try:
            texts = loaded.render(json.load(sys.stdin), name="hospital", namespace="reading")
        except helm_python.HelmRenderError as error:
            sys.exit(str(error))
    print(json.dumps(dict(texts)))  # noqa: T201


if __name__ == "__main__":
    _main(*sys.argv[1:])
