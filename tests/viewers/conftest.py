"""One archive and one annotation server with users, which both viewers ask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from annotated import Annotating, annotating
from network import neighbours
from phantom import PhantomSeries, write_series
from wetread.label.workspace import LabelUser

SHAPE = (20, 36, 30)
READER, TOKEN = "reader", "the token of the reader"


@dataclass(frozen=True)
class Served:
    """Orthanc with some series of the phantom, and the annotation server over it.

    `annotating` asks as a user who may do all.
    """

    orthanc: neighbours.Orthanc
    annotating: Annotating
    folder: Path

    @property
    def url(self) -> str:
        return self.annotating.server.url

    def add(self, seed: str, **how: Any) -> PhantomSeries:
        """An MR of the phantom that is sent to the archive."""
        wanted = {"modality": "MR", "shape": SHAPE, "slice_spacing_mm": 9.0, **how}
        series = write_series(self.folder / seed, seed=seed, **wanted)
        for path in series.paths:
            self.orthanc.upload(path)
        return series

    def segmentations(self, series: PhantomSeries) -> list[Dataset]:
        """Those of a series, as they lie in the archive."""
        query = {"Level": "Instance", "Query": {"Modality": "SEG"}}
        names = self.orthanc.post("/tools/find", query).json()
        found = [dcmread(BytesIO(self.orthanc.file(name))) for name in names]
        wanted = series.series_instance_uid
        return [
            each for each in found if each.ReferencedSeriesSequence[0].SeriesInstanceUID == wanted
        ]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("viewers")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    users = (LabelUser(READER, ("admin",), digest),)
    with (
        neighbours.orthanc(folder) as orthanc,
        annotating(folder, orthanc.dicomweb_url, users=users) as running,
    ):
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield Served(orthanc, running, folder)
