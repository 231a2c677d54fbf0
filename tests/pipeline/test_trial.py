"""The trial of the README: an archive that sends what it gets, and shows what comes back."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from command_line import in_shell
from conftest import ROOT
from docs.pages import text_of
from gateway import eventually, running_gateway
from network.neighbours import ORTHANC, Orthanc, free_port, running
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from wetread.config import load_config

pytestmark = pytest.mark.timeout(120)


def line_with(word: str) -> list[str]:
    """The words of the one command of the README's trial that has this word."""
    section = text_of(ROOT / "README.md").partition("## A trial beside an archive")[2]
    blocks = re.findall(r"```\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    [found] = [line for line in lines if word in line]
    return found


@dataclass
class Trial:
    """All as the README has it, but for the ports, the model and how long to wait."""

    archive: Orthanc
    settings: Path
    folder: Path

    def stable(self) -> Counter[str]:
        """Modalities of the archive's series that have been quiet long enough to be sent on."""
        every = httpx.get(f"{self.archive.url}/series?expand").json()
        return Counter(each["MainDicomTags"]["Modality"] for each in every if each["IsStable"])

    def store(self, name: str) -> PhantomSeries:
        """A study of that name, as the README stores the head."""
        study = write_series(self.folder / name, shape=(6, 16, 16), seed=name)
        places = {
            "4242": str(self.archive.dicom_port),
            "demo-output/study": str(self.folder / name),
        }
        words = [places.get(word, word) for word in line_with("storescu")[1:]]
        subprocess.run([sys.executable, *words], check=True, timeout=60)
        return study


@pytest.fixture
def trial(tmp_path: Path, tiny_ct: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    ports = {name: str(free_port()) for name in ("4242", "8042", "11112")}

    def moved(text: str) -> str:
        return re.sub(r"\b\d+\b", lambda found: ports.get(found[0], found[0]), text)

    shutil.copytree(ROOT / "deploy/orthanc", tmp_path / "trial")
    file = tmp_path / "trial/orthanc.json"
    text = moved(file.read_text(encoding="utf-8"))
    file.write_text(text.replace('"StableAge": 10', '"StableAge": 1'), encoding="utf-8")
    words = [tiny_ct.bundle.name if "brain" in each else moved(each) for each in line_with("init")]
    places = ["--bundles", tiny_ct.bundle.parent, "--repository", tiny_ct.repository]
    done = in_shell(*words[1:], *places, "--port", ports["11112"], folder=tmp_path)
    assert done.exit_code == 0, done.err
    changes = {
        "ASSEMBLY__SERIES_QUIET_SECONDS": 0.3,
        "SPOOL__MIN_FREE_BYTES": 0,
        "METRICS__PORT": 0,
    }
    viewer = {"VIEWER__PORT": free_port(), "VIEWER__FOLDER": ROOT / ".cache/ohif"}
    for name, value in {**changes, **viewer}.items():
        monkeypatch.setenv(f"WETREAD_{name}", str(value))
    archive = Orthanc(int(ports["4242"]), int(ports["8042"]))
    with running([ORTHANC, tmp_path / "trial"], tmp_path / "orthanc.log", archive.http_port):
        yield Trial(archive, tmp_path / "wetread.toml", tmp_path)


def test_a_study_in_the_archive_is_read_and_shown_and_its_results_are_not_sent_again(
    trial: Trial,
) -> None:
    """The archive has the first study before there is a gateway."""
    first = trial.store("first")
    eventually(lambda: trial.stable() == Counter(["CT"]), seconds=30)
    with running_gateway(load_config(trial.settings)) as gateway:
        second = trial.store("second")
        every = Counter(["CT", "SEG", "SR", "OT"] * 2)
        eventually(lambda: trial.stable() == every, seconds=60)
        # What is stable now would have come by now.
        book = gateway.service.ledger.studies
        read = {(each.study_instance_uid, each.generation) for each in book.newest(9)}
        assert read == {(first.study_instance_uid, 1), (second.study_instance_uid, 1)}
        for study in (first, second):
            assert len(book.instances_of(study.study_instance_uid, 1)) == len(study.paths)
        viewer = f"http://127.0.0.1:{gateway.service.config.viewer.port}"
        assert "OHIF" in httpx.get(viewer).text
        found = f"{viewer}/dicom-web/studies/{first.study_instance_uid}/series?Modality=SEG"
        assert len(httpx.get(found).json()) == 1
