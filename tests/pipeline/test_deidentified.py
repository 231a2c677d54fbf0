"""A destination gets results without the patient; they fit the images, and come back to them."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from conftest import BIN
from gateway import running_gateway, settings
from phantom import write_series
from tiny_model import TinyModel
from wetread.deidentify.pseudonyms import make_key
from wetread.ledger import Ledger, ledger_url
from wetread.offline.identity import deidentify_path, reidentify_path

pytestmark = pytest.mark.timeout(60)
NAMES = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID")
KINDS = ["SEG", "SR", "SC", "RTSTRUCT", "PR"]


def read(folder: Path) -> dict[str, Dataset]:
    found = [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    return {str(each.Modality) if each.Modality != "OT" else "SC": each for each in found}


def errors(path: Path) -> set[str]:
    said = subprocess.run([BIN / "dciodvfy", path], capture_output=True, text=True, check=False)
    return {line for line in said.stderr.splitlines() if line.startswith("Error")}


def uids_in(dataset: Dataset) -> set[str]:
    found: set[str] = set()
    dataset.walk(lambda _, element: found.add(str(element.value)) if element.VR == "UI" else None)
    return found


def test_results_without_the_patient_fit_the_images_and_come_back(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    for folder in ("plain", "research"):
        (tmp_path / folder).mkdir()
    key = tmp_path / "deid.key"
    make_key(key)
    config = settings(
        tmp_path,
        tiny_ct,
        {
            "plain": {"kind": "folder", "path": "plain", "send": [*KINDS, "PDF"]},
            "research": {
                "kind": "folder",
                "path": "research",
                "send": KINDS,
                "deidentify": "strangers",
            },
        },
        deidentify={"strangers": {"key_file": "deid.key"}},
    )
    with running_gateway(config) as gateway:
        gateway.send(series.paths)
        job = gateway.job(series.study_instance_uid)
        gateway.deliveries(job.job_id)
    plain, sent = read(tmp_path / "plain"), read(tmp_path / "research")
    assert set(plain) == {*KINDS, "DOC"}
    assert set(sent) == set(KINDS)

    original = dcmread(series.paths[0])
    # A value of two letters stands in any pixels by chance.
    identity = {str(original.get(name)) for name in NAMES if len(str(original.get(name))) > 4}
    assert len(identity) == 4
    for path in (tmp_path / "research").rglob("*.dcm"):
        content = path.read_bytes()
        assert [each for each in identity if each.encode() in content] == []
        before = plain[{"OT": "SC"}.get(dcmread(path).Modality, dcmread(path).Modality)]
        assert errors(path) <= errors(Path(before.filename))

    # The images, by the same key, are those that the results refer to.
    done = deidentify_path(tmp_path / "study", tmp_path / "images", config.deidentify["strangers"])
    assert [each.why for each in done] == [""] * 6
    images = [dcmread(path) for path in (tmp_path / "images").rglob("*.dcm")]
    assert {str(each.SOPInstanceUID) for each in images} <= uids_in(sent["SEG"])
    assert str(sent["SEG"].SOPInstanceUID) in uids_in(sent["SR"])
    assert {str(each.SOPInstanceUID) for each in images} <= uids_in(sent["RTSTRUCT"])
    assert {str(each.SOPInstanceUID) for each in images} <= uids_in(sent["PR"])
    assert sent["SEG"].FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert {each.PatientID for each in (*images, *sent.values())} == {images[0].PatientID}

    back = reidentify_path(tmp_path / "research", tmp_path / "study", tmp_path / "back", key)
    assert len(back) == len(KINDS)
    again = read(tmp_path / "back")
    for kind, each in again.items():
        for name in NAMES:
            assert each.get(name) == plain[kind].get(name), (kind, name)
    referenced = {str(dcmread(path).SOPInstanceUID) for path in series.paths}
    assert referenced <= uids_in(again["SEG"])
    assert str(again["SEG"].SOPInstanceUID) in uids_in(again["SR"])
    assert (again["SEG"].pixel_array == plain["SEG"].pixel_array).all()
    with closing(Ledger(ledger_url(config))) as ledger:
        assert {each.sop_instance_uid for each in ledger.deliveries.list(job_id=job.job_id)} == {
            str(each.SOPInstanceUID) for each in plain.values()
        }
