"""From tissue to signal: HU, the spin-echo equations of MR, and Beer–Lambert's law."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wetread.phantom.tissues import TISSUES, Tissue

# Linear attenuation of water at 60 keV, the mean energy of a filtered 120 kV beam (NIST XCOM).
WATER_PER_MM = 0.0206
MR_SCALE = 1000.0


class Modality(StrEnum):
    """What a study can hold: CT, four contrasts of MR, and a projection."""

    CT = "CT"
    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    PD = "PD"
    DX = "DX"

    @property
    def is_mr(self) -> bool:
        """Whether it is one of the contrasts of MR."""
        return self in SEQUENCES


@dataclass(frozen=True, slots=True)
class PulseSequence:
    """A spin echo; with an inversion time, an inversion recovery. All in seconds."""

    repetition_seconds: float
    echo_seconds: float
    inversion_seconds: float | None = None


def nulling_inversion_seconds(t1_seconds: float, repetition_seconds: float) -> float:
    """The inversion time after which tissue of that T1 gives no signal."""
    return t1_seconds * (math.log(2.0) - math.log1p(math.exp(-repetition_seconds / t1_seconds)))


_FLAIR_REPETITION_SECONDS = 9.0
_FLUID = TISSUES["cerebrospinal fluid"]
SEQUENCES: Mapping[Modality, PulseSequence] = {
    Modality.T1: PulseSequence(0.5, 0.012),
    Modality.T2: PulseSequence(4.5, 0.1),
    Modality.PD: PulseSequence(4.5, 0.015),
    Modality.FLAIR: PulseSequence(
        _FLAIR_REPETITION_SECONDS,
        0.11,
        round(nulling_inversion_seconds(_FLUID.t1_seconds, _FLAIR_REPETITION_SECONDS), 3),
    ),
}


def mr_signal(tissue: Tissue, sequence: PulseSequence) -> float:
    """The signed signal, 1000 for water that has lost nothing.

    Spin echo: PD (1 − e^(−TR/T1)) e^(−TE/T2). Inversion recovery: PD (1 − 2e^(−TI/T1) + e^(−TR/T1))
    e^(−TE/T2). Both for TE ≪ TR; see Bernstein, King and Zhou, Handbook of MRI Pulse Sequences,
    2004, chapter 14. The sign is kept, so that tissues in one voxel can cancel; the image is the
    magnitude.
    """
    recovery = 1.0 - math.exp(-sequence.repetition_seconds / tissue.t1_seconds)
    if sequence.inversion_seconds is not None:
        regrown = math.exp(-sequence.repetition_seconds / tissue.t1_seconds)
        recovery = 1.0 - 2.0 * math.exp(-sequence.inversion_seconds / tissue.t1_seconds) + regrown
    decay = math.exp(-sequence.echo_seconds / tissue.t2_seconds)
    return MR_SCALE * tissue.proton_density * recovery * decay


def attenuation_per_mm(hu: float) -> float:
    """The linear attenuation coefficient that the HU stand for, at 60 keV."""
    return max(0.0, WATER_PER_MM * (1.0 + hu / 1000.0))


def value_of(tissue: Tissue, modality: Modality) -> float:
    """HU for CT, signed signal for MR, attenuation per mm for DX."""
    if modality is Modality.CT:
        return tissue.hu
    if modality is Modality.DX:
        return attenuation_per_mm(tissue.hu)
    return mr_signal(tissue, SEQUENCES[modality])


def value_table(tissues: Sequence[Tissue], modality: Modality) -> NDArray[np.float32]:
    """The value of each tissue, in order: index it with a labelmap."""
    return np.asarray([value_of(tissue, modality) for tissue in tissues], np.float32)
