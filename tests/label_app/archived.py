"""A real archive with series of the phantom, and the annotation server over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from annotated import Annotating, annotating
from network import neighbours
from phantom import PhantomSeries, write_series
from wetread.dicom.result_header import file_bytes

SHAPE = (20, 36, 30)


@dataclass(frozen=True)
class Archive:
    """Orthanc with some series of the phantom, and the annotation server over it."""

    orthanc: neighbours.Orthanc
    annotating: Annotating
    axial: PhantomSeries
    oblique: PhantomSeries
    folder: Path

    def add(self, seed: str, **how: Any) -> PhantomSeries:
        return send(self.orthanc, self.folder / seed, seed, **how)

    def store(self, dataset: Dataset) -> None:
        path = self.folder / "stored.dcm"
        path.write_bytes(file_bytes(dataset))
        self.orthanc.upload(path)

    def newest_seg(self, series: PhantomSeries) -> Dataset:
        """The Segmentation of a series that was stored last, as it lies in the archive."""
        query = {"Level": "Instance", "Expand": True, "Query": {"Modality": "SEG"}}
        found = self.orthanc.post("/tools/find", query).json()
        of_series = [
            dataset
            for each in sorted(found, key=lambda each: int(each["IndexInSeries"] or 0))
            if series.series_instance_uid
            == (dataset := dcmread(BytesIO(self.orthanc.file(each["ID"]))))
            .ReferencedSeriesSequence[0]
            .SeriesInstanceUID
        ]
        return max(of_series, key=lambda each: (each.ContentDate, each.ContentTime))


def send(orthanc: neighbours.Orthanc, folder: Path, seed: str, **how: Any) -> PhantomSeries:
    wanted = {"modality": "MR", "shape": SHAPE, "slice_spacing_mm": 9.0, **how}
    series = write_series(folder, seed=seed, **wanted)
    for path in series.paths:
        orthanc.upload(path)
    return series


@contextmanager
def archived(folder: Path) -> Iterator[Archive]:
    with neighbours.orthanc(folder) as orthanc:
        axial = send(orthanc, folder / "axial", "axial")
        oblique = send(orthanc, folder / "oblique", "oblique", oblique_degrees=25.0, shuffled=True)
        with annotating(folder, orthanc.dicomweb_url) as running:
            yield Archive(orthanc, running, axial, oblique, folder)
