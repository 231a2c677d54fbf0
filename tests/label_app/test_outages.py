"""Nothing that was drawn is lost: not by a crash, an archive that is down, or one that refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from annotated import Annotating, annotating, label_of, nifti
from gateway import eventually
from network import neighbours
from phantom import PhantomSeries, write_series

pytestmark = pytest.mark.timeout(200)
SHAPE = (12, 20, 18)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[neighbours.Orthanc]:
    with neighbours.orthanc(tmp_path) as running:
        yield running


@pytest.fixture
def series(tmp_path: Path, orthanc: neighbours.Orthanc) -> PhantomSeries:
    written = write_series(tmp_path / "series", modality="MR", shape=SHAPE, slice_spacing_mm=14.0)
    for path in written.paths:
        orthanc.upload(path)
    return written


def content_of(running: Annotating, series: PhantomSeries, folder: Path) -> tuple[Any, bytes]:
    image = running.image(series.series_instance_uid, folder)
    label = label_of(series, image)
    return label, nifti(label, image.affine)


def waiting(running: Annotating) -> list[Path]:
    return sorted(running.server.settings.folder.glob("cache/*/outbox/*.dcm"))


def test_a_server_that_is_killed_while_it_saves_loses_no_label(
    tmp_path: Path, orthanc: neighbours.Orthanc, series: PhantomSeries
) -> None:
    """What was acknowledged is in the archive; what was on its way follows at the next start."""
    with annotating(tmp_path, orthanc.dicomweb_url) as running:
        label, content = content_of(running, series, tmp_path)
        stored: list[int] = []

        def save_for_ever() -> None:
            while True:
                try:
                    running.save(series.series_instance_uid, content).raise_for_status()
                except httpx.HTTPError:
                    return
                stored.append(len(stored))

        saving = threading.Thread(target=save_for_ever)
        saving.start()
        eventually(lambda: len(stored) >= 3, 60)
        running.server.kill()
        saving.join(60)
        assert len(orthanc.instances()) - SHAPE[0] >= len(stored)
        left = {path.stem for path in waiting(running)}
        running.server.start()
        assert waiting(running) == []
        assert left <= orthanc.instances()
        assert np.array_equal(running.label(series.series_instance_uid, tmp_path), label)


def test_a_label_waits_while_the_archive_is_down(tmp_path: Path) -> None:
    """The reader is told, and it is sent with the next one."""
    series = write_series(tmp_path / "series", modality="MR", shape=SHAPE, slice_spacing_mm=14.0)
    with ExitStack() as stack:
        with neighbours.orthanc(tmp_path) as archive:
            for path in series.paths:
                archive.upload(path)
            running = stack.enter_context(annotating(tmp_path, archive.dicomweb_url))
            label, content = content_of(running, series, tmp_path)
        answer = running.save(series.series_instance_uid, content)
        assert answer.status_code == 503
        assert "is kept, and is sent with the next label" in answer.json()["hint"]
        assert len(waiting(running)) == 1
        assert running.get("/datastore/").status_code == 503
        with neighbours.orthanc(tmp_path, again=archive):
            assert running.get("/datastore/").json()["waiting_to_be_sent"] == 1
            running.save(series.series_instance_uid, content).raise_for_status()
            assert waiting(running) == []
            assert len(archive.instances()) == SHAPE[0] + 2
            back = running.label(series.series_instance_uid, tmp_path)
            assert np.array_equal(back, label)
