"""What arrived: frozen facts about instances, series and studies, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One SOP instance as it lies in the spool, with who sent it and when (UTC)."""

    path: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Unusable:
    """An attribute that is there and cannot be understood; a rule that asks for it fails."""

    keyword: str
    text: str


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its instances and the attributes that rules and models ask about.

    Text is as in the file with spaces trimmed; None stands for an attribute that is absent or
    empty. `image_type` holds every value that any instance has. `frames` counts the frames of
    multi-frame images, None if there are none. `slice_spacing_mm` is the median distance of
    neighbouring image positions along the slice normal and `orientation` the plane ("axial",
    "coronal", "sagittal" or "oblique"); both are None where the instances carry no position.
    `stack` tells the stacks of one series apart, where there are several and this is one of them.
    """

    study_instance_uid: str
    series_instance_uid: str
    instances: tuple[ReceivedInstance, ...]
    modality: str | None = None
    sop_class_uids: tuple[str, ...] = ()
    series_number: int | None = None
    series_description: str | None = None
    body_part_examined: str | None = None
    manufacturer: str | None = None
    image_type: tuple[str, ...] = ()
    contrast_bolus_agent: str | None = None
    frames: int | None = None
    slice_spacing_mm: float | Unusable | None = None
    orientation: str | Unusable | None = None
    stack: str = ""

    @property
    def image_count(self) -> int:
        """How many images there are; an enhanced image counts as many as it has frames."""
        return len(self.instances) if self.frames is None else self.frames


@dataclass(frozen=True, slots=True)
class Completion:
    """Why a study was taken to be complete: the rule that fired and the seconds it saw."""

    reason: str
    waited_seconds: float
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Study:
    """Everything received of one study, at one generation.

    A generation counts how often instances arrived after the study had been read: 1 at first.
    `patient_age_years` comes from Patient's Age, or from birth and study dates.
    """

    study_instance_uid: str
    generation: int
    calling_ae_title: str
    series: tuple[Series, ...]
    completion: Completion
    study_description: str | None = None
    patient_age_years: float | Unusable | None = None
