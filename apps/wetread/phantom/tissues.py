"""What each tissue is to CT and MR.

MR values at 1.5 T of the head are those of the BrainWeb simulator (Kwan, Evans and Pike, IEEE
Transactions on Medical Imaging 18:1085, 1999); of the trunk those of de Bazelaire et al., Radiology
230:652, 2004, and Stanisz et al., Magnetic Resonance in Medicine 54:507, 2005. HU are the middle of
the usual ranges at 120 kV. Those of lesions are ranges, from which each subject draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tissue:
    """Attenuation in HU; T1 and T2 in seconds; proton density, 1 for water."""

    name: str
    hu: float
    t1_seconds: float
    t2_seconds: float
    proton_density: float


@dataclass(frozen=True, slots=True)
class LesionTissue:
    """The ranges from which a lesion's tissue is drawn."""

    hu: Range
    t1_seconds: Range
    t2_seconds: Range
    proton_density: Range


AIR = Tissue("air", -1000.0, 0.001, 0.001, 0.0)
TISSUES: Mapping[str, Tissue] = {
    tissue.name: tissue
    for tissue in (
        AIR,
        Tissue("skin", 20.0, 0.9, 0.047, 0.8),
        Tissue("fat", -90.0, 0.35, 0.07, 1.0),
        Tissue("muscle", 50.0, 0.9, 0.047, 1.0),
        Tissue("cortical bone", 900.0, 1, 0.001, 0.05),
        Tissue("cerebrospinal fluid", 8.0, 2.569, 0.329, 1.0),
        Tissue("grey matter", 38.0, 0.833, 0.083, 0.86),
        Tissue("white matter", 28.0, 0.5, 0.07, 0.77),
        Tissue("lung", -850.0, 1.2, 0.03, 0.15),
        Tissue("myocardium and blood", 45.0, 1.03, 0.04, 0.9),
        Tissue("blood", 45.0, 1.441, 0.29, 0.9),
        Tissue("liver", 58.0, 0.586, 0.046, 0.9),
        Tissue("stomach", 35.0, 1, 0.06, 0.9),
        Tissue("spongy bone", 250.0, 0.549, 0.049, 0.6),
        Tissue("rib", 450.0, 0.549, 0.049, 0.4),
    )
}

# No modality alone tells these apart. In each column the signs repeat; only a row is its own:
#                    T1       T2       FLAIR    CT
#   none             –        –        –        –
#   cyst             dark     bright   dark     dark
#   oedema           dark     bright   bright   dark
#   haemorrhage      –        dark     dark     bright     (acute)
#   calcification    dark     dark     dark     bright     (faint)
HEAD_LESIONS: Mapping[str, LesionTissue] = {
    "cyst": LesionTissue((4, 22), (2, 2.9), (0.14, 0.33), (0.85, 1.0)),
    "oedema": LesionTissue((4, 22), (1.1, 1.7), (0.13, 0.33), (0.75, 0.95)),
    "haemorrhage": LesionTissue((55, 95), (0.45, 0.65), (0.022, 0.036), (0.7, 1.0)),
    "calcification": LesionTissue((55, 100), (0.8, 1.6), (0.024, 0.042), (0.5, 0.8)),
}
CHEST_LESIONS: Mapping[str, LesionTissue] = {
    "nodule": LesionTissue((20, 80), (0.9, 1.3), (0.06, 0.09), (0.8, 0.95)),
    "consolidation": LesionTissue((-60, 30), (1, 1.5), (0.06, 0.12), (0.6, 0.85)),
}
NO_LESION = "none"


def tissue_of_lesion(name: str, ranges: LesionTissue, rng: np.random.Generator) -> Tissue:
    """One draw from the ranges."""
    hu, t1, t2, density = (
        float(rng.uniform(*limits))
        for limits in (ranges.hu, ranges.t1_seconds, ranges.t2_seconds, ranges.proton_density)
    )
    return Tissue(name, hu, t1, t2, density)


def tissues_of_subject(rng: np.random.Generator, spread: float = 0.02) -> Mapping[str, Tissue]:
    """The table with every T1, T2 and proton density off by about `spread` of itself.

    HU stay as they are, but for ±1 HU in what is neither air nor bone.
    """
    return {name: _varied(tissue, rng, spread) for name, tissue in TISSUES.items()}


def _varied(tissue: Tissue, rng: np.random.Generator, spread: float) -> Tissue:
    factors = rng.normal(1.0, spread, 3).clip(1 - 3 * spread, 1 + 3 * spread)
    shift = rng.normal(0.0, 1.0) if -200 < tissue.hu < 200 else 0.0
    return replace(
        tissue,
        hu=tissue.hu + float(np.clip(shift, -3.0, 3.0)),
        t1_seconds=float(tissue.t1_seconds * factors[0]),
        t2_seconds=float(tissue.t2_seconds * factors[1]),
        proton_density=float(tissue.proton_density * factors[2]),
    )
