"""What a work item says, and what its performer answers (PS3.4 Annex CC, PS3.3 C.30)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from pydicom import Dataset

from wetread.errors import InputError
from wetread.ledger import ResultRecord

# CID 9300
UNSPECIFIED = ("110513", "DCM", "Discontinued for unspecified reason")


@dataclass(frozen=True, slots=True)
class Input:
    """A series of the study, or those instances of it that are named."""

    study_instance_uid: str
    series_instance_uid: str
    instances: tuple[str, ...]


def inputs_of(item: Dataset) -> tuple[Input, ...]:
    """What is to be read. Raises InputError unless it is DICOM, and all of one study."""
    found = tuple(_inputs(item))
    if not found:
        raise InputError(
            "the work item names no input", hint="fill in Input Information Sequence (0040,4021)"
        )
    if len({each.study_instance_uid for each in found}) > 1:
        raise InputError("the input is of several studies", hint="schedule one item a study")
    return found


def _inputs(item: Dataset) -> Iterator[Input]:
    for each in item.get("InputInformationSequence") or ():
        study, series = (str(each.get(k) or "") for k in ("StudyInstanceUID", "SeriesInstanceUID"))
        if not (study and series):
            raise InputError(
                "an input has no Study or Series Instance UID", hint="see PS3.3 Table 10.41-1"
            )
        referenced = each.get("ReferencedSOPSequence") or ()
        yield Input(study, series, tuple(str(one.ReferencedSOPInstanceUID) for one in referenced))


def study_named(item: Dataset) -> str:
    """The study of its first input, "" if it names none."""
    inputs = item.get("InputInformationSequence") or ()
    return str(inputs[0].get("StudyInstanceUID") or "") if inputs else ""


def is_ready(item: Dataset) -> bool:
    """Whether all of its input is there, as far as the item says (PS3.3 C.30.2)."""
    return str(item.get("InputReadinessState") or "READY") == "READY"


def progress(percent: float, words: str) -> Dataset:
    """How far it has come, 0 to 100."""
    step = Dataset()
    step.ProcedureStepProgress = f"{percent:.0f}"
    step.ProcedureStepProgressDescription = words
    changes = Dataset()
    changes.ProcedureStepProgressInformationSequence = [step]
    return changes


def performed(
    item: Dataset, results: Iterable[ResultRecord], archive: str, station: str, began_at: float
) -> Dataset:
    """What was done and where the results are (PS3.4 Table CC.2.5-3, final state COMPLETED)."""
    done = Dataset()
    done.PerformedStationNameCodeSequence = [_code(station[:16], "99WETREAD", station)]
    done.PerformedWorkitemCodeSequence = item.get("ScheduledWorkitemCodeSequence")
    done.PerformedProcedureStepStartDateTime = _time(began_at)
    done.PerformedProcedureStepEndDateTime = _time(datetime.now(UTC).timestamp())
    done.OutputInformationSequence = [*_outputs(results, archive)]
    changes = progress(100, "done")
    changes.UnifiedProcedureStepPerformedProcedureSequence = [done]
    return changes


def discontinued(reason: str) -> Dataset:
    """Why it was not done (final state CANCELED)."""
    changes = progress(0, "discontinued")
    step = changes.ProcedureStepProgressInformationSequence[0]
    step.ProcedureStepCancellationDateTime = _time(datetime.now(UTC).timestamp())
    step.ReasonForCancellation = reason[:1024]
    step.ProcedureStepDiscontinuationReasonCodeSequence = [_code(*UNSPECIFIED)]
    return changes


def _outputs(results: Iterable[ResultRecord], archive: str) -> Iterator[Dataset]:
    ordered = sorted(results, key=lambda each: (each.study_instance_uid, each.series_instance_uid))
    for (study, series), group in groupby(
        ordered, lambda each: (each.study_instance_uid, each.series_instance_uid)
    ):
        output = Dataset()
        output.TypeOfInstances = "DICOM"
        output.StudyInstanceUID = study
        output.SeriesInstanceUID = series
        output.ReferencedSOPSequence = [_reference(each) for each in group]
        where = Dataset()
        where.RetrieveURL = f"{archive.rstrip('/')}/studies/{study}/series/{series}"
        output.WADORSRetrievalSequence = [where]
        yield output


def _reference(result: ResultRecord) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = result.sop_class_uid
    reference.ReferencedSOPInstanceUID = result.sop_instance_uid
    return reference


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    code.CodeMeaning = meaning
    return code


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S+0000")
