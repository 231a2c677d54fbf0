"""The Dockerfile and the images that it starts from; nothing is built."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from conftest import BIN, ROOT
from wetread.triton.configs import CONTAINER

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IMAGES = ROOT / "deploy" / "images.env"
PIN = ROOT / "deploy" / "pin-images.sh"
TARGETS = {"gateway", "triton-cpu", "label", "orthanc", "triton-gpu"}


def images() -> dict[str, str]:
    return dict(re.findall(r"^(\w+_IMAGE)=(\S+)$", IMAGES.read_text(), re.MULTILINE))


def stages() -> dict[str, str]:
    """The text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_hadolint_finds_no_fault() -> None:
    done = subprocess.run(
        [BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_one(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.read_text().replace("rm -rf /var/lib/apt/lists/*", "true"))
    done = subprocess.run([BIN / "hadolint", wrong], capture_output=True, text=True, check=False)
    assert "DL3009" in done.stdout


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_an_image_runs_as_nobody_special_and_says_whether_it_is_well(target: str) -> None:
    stage = stages()[target]
    assert "USER 10001:10001" in stage
    assert "HEALTHCHECK" in stage
    assert stage.index("USER") < stage.index("ENTRYPOINT")


def test_images_start_from_those_that_are_named_and_pinned_in_one_place() -> None:
    text = DOCKERFILE.read_text()
    defaults = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.MULTILINE))
    assert defaults == {name: images()[name].partition("@")[0] for name in defaults}
    ours = set(stages())
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - ours
    assert bases == {f"${{{name}}}" for name in defaults}


def test_triton_is_the_container_that_the_configurations_are_written_for() -> None:
    assert images()["TRITON_IMAGE"].partition("@")[0].endswith(CONTAINER)


def test_what_a_person_made_beside_it_stays_out_of_the_images() -> None:
    lines = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {line[1:] for line in rules if line.startswith("!")}
    copied = set()
    for words in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE):
        copied |= set(words.split())
    assert {path for path in copied if not (ROOT / path).exists()} == set()
    assert let_in == copied - {"apps/wetread"}


DIGEST = "sha256:" + "0123456789abcdef" * 4


def pinned(tmp_path: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Run the script on a copy, with a catalogue that answers so."""
    tool = tmp_path / "skopeo"
    tool.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\necho {answer}\n')
    tool.chmod(0o755)
    copy = tmp_path / "images.env"
    if not copy.exists():
        copy.write_text(IMAGES.read_text())
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [PIN, copy],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_command_pins_every_image_and_again_moves_it_on(tmp_path: Path) -> None:
    later = DIGEST[::-1].replace(":652ahs", "")
    assert pinned(tmp_path, DIGEST).returncode == 0
    first = (tmp_path / "images.env").read_text()
    assert first.count(f"@{DIGEST}") == len(images())
    assert pinned(tmp_path, f"sha256:{later}").returncode == 0
    assert (tmp_path / "images.env").read_text() == first.replace(DIGEST, f"sha256:{later}")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 2 * len(images())
    assert asked[0].endswith(f"docker://{images()['DEBIAN_IMAGE'].partition('@')[0]}")


def test_what_is_no_digest_changes_nothing(tmp_path: Path) -> None:
    done = pinned(tmp_path, "denied")
    assert done.returncode == 1
    assert "denied is no digest" in done.stderr
    assert (tmp_path / "images.env").read_text() == IMAGES.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "images.env", "skopeo"]
