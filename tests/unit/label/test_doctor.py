"""What the doctor finds before a reader does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from annotated import write_bundle
from conftest import ROOT
from network.neighbours import free_port, http_serving
from wetread.checked import Checked
from wetread.label.doctor import examine
from wetread.label.environment import DEFAULT_FOLDER
from wetread.label.workspace import LabelSettings

Look = Callable[..., dict[str, Checked]]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Everything is well but for the environment, which takes seconds, and what a test changes."""
    write_bundle(tmp_path / "bundles")
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.nii.gz").write_bytes(b"")

    def looked(**changes: object) -> dict[str, Checked]:
        bundles = Path(str(changes.pop("bundles", tmp_path / "bundles")))
        environment = Path(str(changes.pop("environment", tmp_path / "none")))
        wanted = {
            "studies": str(images),
            "folder": tmp_path / "annotations",
            "port": free_port(),
            **changes,
        }
        found = examine(LabelSettings(**wanted), bundles, environment)  # type: ignore[arg-type]
        return {each.what: each for each in found}

    return looked


@pytest.mark.timeout(60)
def test_where_all_is_well_every_finding_says_what_was_found(look: Look) -> None:
    found = look(environment=ROOT / DEFAULT_FOLDER)
    assert all(each.ok for each in found.values()), found
    assert found["studies"].fact.startswith("1 images in")
    assert found["bundles"].fact == "tiny_pair"
    assert found["server"].fact.startswith("not running; port")


def test_an_environment_that_is_not_there(look: Look) -> None:
    wrong = look()["environment"]
    assert (wrong.ok, wrong.hint) == (False, "make it: wetread label install")


def test_studies_that_are_not_there(look: Look, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no studies are named" in look(studies="")["studies"].fact
    assert "is no folder" in look(studies=str(tmp_path / "none"))["studies"].fact
    assert "has no NIfTI file" in look(studies=str(tmp_path / "empty"))["studies"].fact
    gone = look(studies=f"http://127.0.0.1:{free_port()}/dicom-web")["studies"]
    assert not gone.ok
    assert "does not answer as DICOMweb" in gone.fact


def test_an_archive_that_answers(look: Look) -> None:
    app = FastAPI()

    @app.get("/dicom-web/series")
    def series() -> list[dict[str, str]]:
        return [{}]

    with http_serving(app) as url:
        assert look(studies=f"{url}/dicom-web")["studies"].ok


def test_a_port_that_another_program_has(look: Look) -> None:
    with http_serving(FastAPI()) as url:
        found = look(port=int(url.rpartition(":")[2]))["server"]
    assert not found.ok
    assert "label.port" in found.hint


def test_bundles_without_weights(look: Look, tmp_path: Path) -> None:
    (tmp_path / "bundles/tiny_pair/models/model.pt").unlink()
    assert "of 1 bundles" in look()["bundles"].fact


def test_labels_that_wait_or_were_refused(look: Look, tmp_path: Path) -> None:
    outbox = tmp_path / "annotations/cache/x/outbox"
    outbox.mkdir(parents=True)
    (outbox / "1.2.dcm").write_bytes(b"")
    assert "1 labels wait to be sent" in look()["labels"].fact
    (outbox / "refused").mkdir()
    (outbox / "refused/1.3.dcm").write_bytes(b"")
    assert "1 labels were refused by the archive" in look()["labels"].fact
