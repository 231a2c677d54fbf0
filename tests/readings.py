"""Results on the phantom, and the independent programs that judge what we write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from phantom import PhantomSeries
from wetread.dicom import terms
from wetread.dicom.result_header import file_bytes
from wetread.results import (
    ModelIdentity,
    PredecessorReference,
    ResultContext,
    Segment,
    SegmentationResult,
)
from wetread.uids import derived_uid

BIN = Path(sys.executable).parent
DCIODVFY, SEGIMAGE2ITKIMAGE = BIN / "dciodvfy", BIN / "segimage2itkimage"
DSRDUMP = Path("/usr/bin/dsrdump")
MODEL = ModelIdentity("phantom_ct", "1.2.0", "ab" * 32)
CREATED_AT = datetime(2025, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)


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
    run = subprocess.run([DCIODVFY, path], capture_output=True, text=True, check=False)
    lines = (run.stdout + run.stderr).splitlines()
    assert lines, "dciodvfy said nothing at all"
    return [line for line in lines if line.startswith(kind)]


def report_text(dataset: Dataset, folder: Path) -> str:
    """What dcmtk's dsrdump reads in a report."""
    path = folder / "report.dcm"
    path.write_bytes(file_bytes(dataset))
    run = subprocess.run([DSRDUMP, "+Pl", path], capture_output=True, text=True, check=True)
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
