"""Orthanc on both ends: it sends the study, and has the results beside the images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom
import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from gateway import Gateway, running_gateway, settings
from network import neighbours
from network.neighbours import Orthanc
from phantom import PhantomSeries, grid_points, write_series
from readings import complaints
from tiny_model import TinyModel
from wetread.service import Service

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with neighbours.orthanc(tmp_path) as running:
        yield running


def by_c_store(orthanc: Orthanc, service: Service, identifiers: list[str]) -> None:
    orthanc.know_modality("wetread", "WETREAD", service.listener.port)
    answer = orthanc.post("/modalities/wetread/store", identifiers)
    assert answer.status_code == 200, answer.text


def by_stow(orthanc: Orthanc, service: Service, identifiers: list[str]) -> None:
    orthanc.know_server("wetread", f"http://127.0.0.1:{service.stow.port}/dicom-web")
    body = {"Resources": identifiers, "Synchronous": True}
    answer = orthanc.post("/dicom-web/servers/wetread/stow", body)
    assert answer.status_code == 200, answer.text


def dicom(orthanc: Orthanc) -> dict[str, Any]:
    return {
        "kind": "dicom",
        "host": "127.0.0.1",
        "port": orthanc.dicom_port,
        "called_ae_title": "ORTHANC",
    }


def dicomweb(orthanc: Orthanc) -> dict[str, Any]:
    return {"kind": "dicomweb", "url": orthanc.dicomweb_url}


@pytest.mark.parametrize(("send", "destination"), [(by_c_store, dicom), (by_stow, dicomweb)])
def test_the_results_lie_beside_the_images(
    tmp_path: Path, tiny_ct: TinyModel, orthanc: Orthanc, send: Any, destination: Any
) -> None:
    series = write_series(tmp_path / "study", shape=(12, 24, 20), orientation="coronal")
    identifiers = [orthanc.upload(path) for path in series.paths]
    config = settings(
        tmp_path,
        tiny_ct,
        {"orthanc": destination(orthanc)},
        listener={"port": 0, "accept_calling_ae_titles": ["ORTHANC"]},
        stow={"enabled": True, "port": 0},
    )
    with running_gateway(config) as gateway:
        send(orthanc, gateway.service, identifiers)
        wait_for_delivery(gateway, series)
    (study,) = httpx.get(f"{orthanc.url}/studies?expand").json()
    assert study["MainDicomTags"]["StudyInstanceUID"] == series.study_instance_uid
    found = series_by_modality(orthanc)
    assert sorted(found) == ["CT", "OT", "SEG", "SR"]
    for modality in ("SEG", "SR", "OT"):
        assert complaints(found[modality], tmp_path) == []
    assert_on_the_same_millimetres(found["SEG"], series)


def wait_for_delivery(gateway: Gateway, series: PhantomSeries) -> None:
    job = gateway.job(series.study_instance_uid)
    assert len(gateway.deliveries(job.job_id)) == 3


def series_by_modality(orthanc: Orthanc) -> dict[str, bytes]:
    """One file of each series that Orthanc has, as it gives it out."""
    every = httpx.get(f"{orthanc.url}/series?expand").json()
    return {each["MainDicomTags"]["Modality"]: orthanc.file(each["Instances"][0]) for each in every}


def assert_on_the_same_millimetres(content: bytes, series: PhantomSeries) -> None:
    segmentation = highdicom.seg.Segmentation.from_dataset(dcmread(DicomBytesIO(content)))
    volume = segmentation.get_volume(combine_segments=True)
    points = grid_points(np.asarray(volume.affine), volume.array.shape)
    found = np.asarray(volume.array) > 0
    assert np.array_equal(found, series.mask_at(points))
    assert int(found.sum()) == int(series.mask().sum())
