"""Reports as files for what reads them: a brain with one finding that is present and one not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from phantom import PhantomSeries, write_series
from readings import MODEL, reading_of, result_context, result_of
from wetread.results import (
    Finding,
    FindingsResult,
    PredecessorReference,
    ResultContext,
    SegmentationResult,
)

PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
EFFUSION = Code("60046008", "SCT", "Pleural effusion")
LUNG = Code("39607008", "SCT", "Lung")
PATIENT_VALUES = ("Sørensen", "Åse", "PAT|7", "19700102", "ACC^42")


@cache
def _series() -> PhantomSeries:
    """Its files are needed no longer than it takes to read them."""
    return write_series(Path(tempfile.mkdtemp()), shape=(8, 24, 24), slice_spacing_mm=12.0)


@cache
def findings_bytes(positive: bool = True, corrects: bool = False) -> bytes:
    """The report of a classifier: pneumonia 87 % (from 43 %), effusion 12 % (from 50 %)."""
    findings = (
        Finding(PNEUMONIA, 0.87 if positive else 0.2, 0.43, LUNG),
        Finding(EFFUSION, 0.12, 0.5),
    )
    earlier = PredecessorReference("1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.5")
    predecessors = {"SR": earlier} if corrects else {}
    context = result_context("1.2.3.5" if corrects else "1.2.3.4", predecessors)
    return _report(FindingsResult(findings, MODEL), context)


@cache
def volume_bytes() -> bytes:
    """The report of a segmentation: volume, mean and standard deviation of one part."""
    return _report(result_of(_series().mask()), result_context())


def _report(result: SegmentationResult | FindingsResult, context: ResultContext) -> bytes:
    return reading_of(_series(), result, context).files["SR"]


def write_report(
    folder: Path, content: bytes | None = None, change: Callable[[Dataset], object] | None = None
) -> Path:
    """A report as a file, of a patient whose values have every delimiter; `change` it first."""
    dataset = dcmread(BytesIO(content or findings_bytes()))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Sørensen^Åse^M^Dr.^PhD=山田^花子"
    dataset.PatientID, dataset.IssuerOfPatientID = "PAT|7", "HOSP&1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700102", "F"
    dataset.AccessionNumber = "ACC^42"
    dataset.StudyDate, dataset.StudyTime = "20250304", "101112.5"
    if change is not None:
        change(dataset)
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path
