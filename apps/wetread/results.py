"""What a model found: frozen results that carry their own timings and model identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.sr.coding import Code

    Part = tuple[int | slice, ...]

Kind = Literal["SEG", "SR", "SC", "PM", "RTSTRUCT", "PR", "PDF"]
"""The kinds of object that a result can become."""


class OnDemand(StrEnum):
    """The kinds of object that are made only if somebody asks for them."""

    RTSTRUCT = "RTSTRUCT"
    PR = "PR"
    PDF = "PDF"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model gave a result: the bundle's name and version and the hash of its weights."""

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One label of a segmentation, as a bundle's `configs/dicom.json` declares it.

    `label_value` is the number in the labelmap (0 is background), or the bit where segments may
    overlap; `segment_number` is the number in the SEG (from 1). `cielab` is L*, a*, b* (L* 0..100,
    a* and b* -128..127).
    `tracking_id` is a name a person reads; the tracking UID is derived per result.
    """

    segment_number: int
    label_value: int
    label: str
    category: Code
    type: Code
    cielab: tuple[float, float, float]
    tracking_id: str
    anatomic_region: Code | None = None


@dataclass(frozen=True, slots=True)
class InputCheck:
    """How far an image lies from those that its model was trained on, and how far it may lie.

    `distance` and `limit` have no unit and compare with each other only, for one model.
    """

    distance: float
    limit: float

    @property
    def is_like_training(self) -> bool:
        """Whether the distance is within the limit."""
        return self.distance <= self.limit

    @property
    def text(self) -> str:
        """The verdict for a person, with both numbers."""
        verdict = "Like" if self.is_like_training else "Unlike"
        numbers = f"distance {self.distance:.1f}, limit {self.limit:.1f}"
        return f"{verdict} what this model was trained on: {numbers}"


@dataclass(frozen=True, slots=True)
class SegmentationResult:
    """A labelmap on the grid of its source series.

    `labelmap` has the shape (slice, row, column) of the source volume, dtype uint8 or uint16;
    its affine is the source volume's. Where `segments_overlap`, label values are powers of two, and
    a voxel holds the sum of those that stand there. `seconds` gives the duration of each step by
    name. `input_check` is None if the model has no gate.
    """

    labelmap: NDArray[np.unsignedinteger]
    segments: tuple[Segment, ...]
    model: ModelIdentity
    seconds: Mapping[str, float] = field(default_factory=dict)
    input_check: InputCheck | None = None
    segments_overlap: bool = False

    def mask_of(self, segment: Segment, part: Part = ()) -> NDArray[np.bool_]:
        """Where a segment stands, in the whole or in the part of the labelmap with that index."""
        return mask_in(self.labelmap[part], segment, overlap=self.segments_overlap)


def mask_in(
    labelmap: NDArray[np.unsignedinteger], segment: Segment, *, overlap: bool
) -> NDArray[np.bool_]:
    """Where `segment` stands in a labelmap; with `overlap` its values are sums of bits."""
    value = segment.label_value
    mask: NDArray[np.bool_] = (labelmap & value) != 0 if overlap else labelmap == value
    return mask


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its unit: `name`, `unit` and `derivation` are coded concepts."""

    name: Code
    value: float
    unit: Code
    derivation: Code | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about the images: what, where, how likely (0..1) and the operating point."""

    finding: Code
    probability: float
    operating_point: float
    finding_site: Code | None = None
    measurements: tuple[Measurement, ...] = ()

    @property
    def is_present(self) -> bool:
        """Whether it is at least as likely as the operating point."""
        return self.probability >= self.operating_point


@dataclass(frozen=True, slots=True)
class FindingsResult:
    """A classification: the findings of one series with the model that made them.

    `probabilities` has every class by its label, the normal one too. `slice_index` (from 0, along
    the source volume) is the slice that speaks most for them, the middle one if None; `heat_map`
    shows where in it. `input_check` is None if the model has no gate.
    """

    findings: tuple[Finding, ...]
    model: ModelIdentity
    seconds: Mapping[str, float] = field(default_factory=dict)
    input_check: InputCheck | None = None
    slice_index: int | None = None
    heat_map: HeatMap | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """What in a slice speaks for a finding, by an attribution method.

    `values` has the shape (row, column) of the slice, 0 (nothing) to 1 (most).
    """

    values: NDArray[np.float32]
    finding: Code
    method: str


@dataclass(frozen=True, slots=True)
class ResultContext:
    """What the objects of one job share besides the result.

    `job_uid` is the root of all their UIDs (see `uids`), `created_at` the time that stands in them
    (aware; the job's own creation, so that a second run writes the same bytes), `predecessors` the
    SOP Instance UIDs of the objects that they replace, by kind ("SEG", "SR", "SC").
    `device_uid` names this installation. `also` are the kinds that somebody asks for beyond those
    that a result always becomes.
    """

    job_uid: str
    created_at: datetime
    device_uid: str
    station_name: str
    software_version: str
    predecessors: Mapping[str, PredecessorReference] = field(default_factory=dict)
    also: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PredecessorReference:
    """An earlier result that a new one replaces."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Extent:
    """What one voxel takes up: so many mL or, of a radiograph's pixel, cm² on the detector."""

    amount: float
    unit: Literal["mL", "cm²"]

    def in_words(self, voxels: int) -> str:
        """Of so many voxels, as a person reads it."""
        return _in_words(voxels * self.amount, self.unit)


def in_millilitres(volume_ml: float) -> str:
    """A volume as a person reads it: 1956.4 mL, 0.031 mL; a small lesion is never 0.0 mL."""
    return _in_words(volume_ml, "mL")


def _in_words(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if value >= 1.0 else f"{value:.2g} {unit}"


def findings_in_words(result: FindingsResult) -> str:
    """The findings as a person reads them: Pneumonia 87 % (present from 43 %)."""
    return ", ".join(
        f"{finding.finding.meaning} {100 * finding.probability:.0f} % "
        f"(present from {100 * finding.operating_point:.0f} %)"
        for finding in result.findings
    )
