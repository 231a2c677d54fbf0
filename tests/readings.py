"""Results on the phantom, and the independent programs that judge what we write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from phantom import PhantomSeries, received
from wetread.dicom import terms
from wetread.dicom.result_header import file_bytes
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.encode.registry import encode
from wetread.results import (
    FindingsResult,
    ModelIdentity,
    PredecessorReference,
    ResultContext,
    Segment,
    SegmentationResult,
)
from wetread.uids import derived_uid

BIN = Path(sys.executable).parent
DCIODVFY, SEGIMAGE2ITKIMAGE = BIN / "dciodvfy", BIN / "segimage2itkimage"
TID1500READER = BIN / "tid1500reader"
DSRDUMP, DRTDUMP = Path("/usr/bin/dsrdump"), Path("/usr/bin/drtdump")
MODEL = ModelIdentity("phantom_ct", "1.2.0", "ab" * 32)
CREATED_AT = datetime(2025, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)


@dataclass(frozen=True)
class Reading:
    """A phantom series, a result on it and the files that say so, by kind of object."""

    series: PhantomSeries = field(repr=False)
    source: SourceVolume = field(repr=False)
    result: SegmentationResult | FindingsResult = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)

    def dataset(self, kind: str) -> Dataset:
        """The object as any reader finds it in its file; a new one for each call."""
        return dcmread(BytesIO(self.files[kind]))


def reading_of(
    series: PhantomSeries,
    result: SegmentationResult | FindingsResult,
    context: ResultContext | None = None,
) -> Reading:
    """Load the series and write what `result` says about it."""
    source = load_volume(received(series))
    objects = encode(result, source, context or result_context())
    return Reading(series, source, result, {each.kind: each.file_bytes() for each in objects})


def segment(number: int, label_value: int, label: str = "Lesion") -> Segment:
    return Segment(
        segment_number=number,
        label_value=label_value,
        label=label,
        category=terms.ANATOMICAL_STRUCTURE,
        type=terms.BRAIN,
        cielab=(70.0, 60.0 - 40 * number, 40.0),
        tracking_id=f"{label} {number}",
        anatomic_region=terms.BRAIN if number == 1 else None,
    )


def result_of(
    labelmap: NDArray[np.unsignedinteger], segments: tuple[Segment, ...] | None = None
) -> SegmentationResult:
    return SegmentationResult(labelmap, segments or (segment(1, 1),), MODEL)


def two_part_labelmap(series: PhantomSeries) -> NDArray[np.uint8]:
    """The target ellipsoid cut at its centre: 1 on the patient's right, 2 on the left."""
    left = series.points()[..., 0] > series.ellipsoid_centre[0]
    return np.asarray(series.mask() * np.where(left, 2, 1), np.uint8)


def result_context(
    job_uid: str = "1.2.3.4", predecessors: Mapping[str, PredecessorReference] | None = None
) -> ResultContext:
    return ResultContext(
        job_uid=job_uid,
        created_at=CREATED_AT,
        device_uid=derived_uid("device"),
        station_name="READER1",
        software_version="0.1.0",
        predecessors=predecessors or {},
    )


def complaints(dataset: Dataset | bytes, folder: Path, kind: str = "Error") -> list[str]:
    """The lines of dciodvfy that begin with `kind`."""
    path = folder / "judged.dcm"
    path.write_bytes(dataset if isinstance(dataset, bytes) else file_bytes(dataset))
    run = subprocess.run([DCIODVFY, path], capture_output=True, check=False)
    # It quotes names in the object's own character set.
    lines = (run.stdout + run.stderr).decode("utf-8", "replace").splitlines()
    assert lines, "dciodvfy said nothing at all"
    return [line for line in lines if line.startswith(kind)]


def report_text(dataset: Dataset, folder: Path) -> str:
    """What dcmtk's dsrdump reads in a report."""
    path = folder / "report.dcm"
    path.write_bytes(file_bytes(dataset))
    run = subprocess.run([DSRDUMP, "+Pl", path], capture_output=True, text=True, check=True)
    return run.stdout


def drtdump_text(dataset: Dataset, folder: Path) -> str:
    """What dcmtk's drtdump reads in an RT object."""
    path = folder / "structures.dcm"
    path.write_bytes(file_bytes(dataset))
    run = subprocess.run([DRTDUMP, path], capture_output=True, text=True, check=True)
    return run.stdout


def read_by_dcmqi(dataset: Dataset, folder: Path) -> list[tuple[NDArray[np.uint8], np.ndarray]]:
    """Each segment as dcmqi reads it: array (slice, row, column) and its affine to LPS mm."""
    import SimpleITK as sitk  # noqa: N813

    path = folder / "segmentation.dcm"
    path.write_bytes(file_bytes(dataset))
    command = [SEGIMAGE2ITKIMAGE, "--inputDICOM", path, "--outputDirectory", folder]
    subprocess.run([*command, "-p", "part", "-t", "nrrd"], capture_output=True, check=True)
    parts = []
    for part in sorted(folder.glob("part-*.nrrd")):
        image = sitk.ReadImage(part)
        directions = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = directions[:, ::-1], image.GetOrigin()
        parts.append((np.asarray(sitk.GetArrayFromImage(image), np.uint8), affine))
    return parts


def read_by_tid1500reader(dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """The measurement groups of a report as dcmqi's tid1500reader finds them."""
    path, output = folder / "report.dcm", folder / "report.json"
    path.write_bytes(file_bytes(dataset))
    command = [TID1500READER, "--inputDICOM", path, "--outputMetadata", output]
    subprocess.run(command, capture_output=True, check=True)
    return list(json.loads(output.read_text())["Measurements"])


def mask_on_grid(
    mask: NDArray[np.bool_], affine: np.ndarray, series: PhantomSeries
) -> NDArray[np.bool_]:
    """A mask with its own affine, moved by LPS millimetres onto the grid of the series."""
    index = np.argwhere(mask)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(series.affine)
    found = points @ inverse[:3, :3].T + inverse[:3, 3]
    assert np.abs(found - found.round()).max() < 1e-3, "between the voxels of the series"
    moved = np.zeros(series.shape, bool)
    moved[tuple(found.round().astype(int).T)] = True
    return moved
