"""Signals follow the equations, and order the tissues as every radiologist knows them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from wetread.phantom.contrast import (
    SEQUENCES,
    Modality,
    PulseSequence,
    attenuation_per_mm,
    mr_signal,
    value_of,
)
from wetread.phantom.tissues import (
    HEAD_LESIONS,
    NO_LESION,
    TISSUES,
    Tissue,
    tissue_of_lesion,
    tissues_of_subject,
)

FLUID, GREY, WHITE, FAT = (
    TISSUES[name] for name in ("cerebrospinal fluid", "grey matter", "white matter", "fat")
)
FOUR = (Modality.T1, Modality.T2, Modality.FLAIR, Modality.CT)


def ordered(modality: Modality, *tissues: Tissue) -> bool:
    values = [abs(value_of(tissue, modality)) for tissue in tissues]
    return values == sorted(values)


def test_t1_is_dark_in_fluid_and_bright_in_fat() -> None:
    assert ordered(Modality.T1, FLUID, GREY, WHITE, FAT)


def test_t2_is_bright_in_fluid() -> None:
    assert ordered(Modality.T2, WHITE, GREY, FLUID)
    assert value_of(FLUID, Modality.T2) > 2 * value_of(GREY, Modality.T2)


def test_flair_nulls_fluid_and_is_else_weighted_by_t2() -> None:
    assert ordered(Modality.FLAIR, FLUID, WHITE, GREY)
    assert abs(value_of(FLUID, Modality.FLAIR)) < 0.02 * value_of(GREY, Modality.FLAIR)


def test_proton_density_has_little_contrast() -> None:
    assert ordered(Modality.PD, WHITE, GREY, FLUID)
    assert value_of(FLUID, Modality.PD) < 1.5 * value_of(WHITE, Modality.PD)


def test_ct_orders_air_lung_fat_water_brain_blood_and_bone() -> None:
    names = (
        "air",
        "lung",
        "fat",
        "cerebrospinal fluid",
        "white matter",
        "grey matter",
        "blood",
        "liver",
        "spongy bone",
        "cortical bone",
    )
    hu = [value_of(TISSUES[name], Modality.CT) for name in names]
    assert hu == sorted(hu)


def test_bone_and_air_give_no_mr_signal() -> None:
    for modality, sequence in SEQUENCES.items():
        assert mr_signal(TISSUES["cortical bone"], sequence) < 20, modality
        assert mr_signal(TISSUES["air"], sequence) == 0


def test_the_spin_echo_equation() -> None:
    """After TR = T1 and TE = T2, (1 − 1/e)/e is left of the signal."""
    tissue = Tissue("", 0.0, t1_seconds=0.8, t2_seconds=0.1, proton_density=0.5)
    expected = 1000 * 0.5 * (1 - 1 / math.e) / math.e
    assert mr_signal(tissue, PulseSequence(0.8, 0.1)) == pytest.approx(expected)


def test_the_inversion_recovery_equation() -> None:
    """With TR ≫ T1 and TE = 0 the signal is −1 at once, 0 after T1 ln 2, and 1 in the end."""
    tissue = Tissue("", 0.0, t1_seconds=0.8, t2_seconds=0.1, proton_density=1.0)
    times = (0.0, 0.8 * math.log(2), 50.0)
    found = [mr_signal(tissue, PulseSequence(100.0, 0.0, time)) for time in times]
    assert found == pytest.approx([-1000.0, 0.0, 1000.0], abs=1e-6)


def test_attenuation_is_that_of_water_at_0_hu_and_none_in_air() -> None:
    assert attenuation_per_mm(0.0) == pytest.approx(0.0206)
    assert attenuation_per_mm(1000.0) == pytest.approx(0.0412)
    assert attenuation_per_mm(-1024.0) == 0.0


def test_a_subject_s_tissues_differ_by_a_few_percent() -> None:
    found = tissues_of_subject(np.random.default_rng(1))
    for name, tissue in TISSUES.items():
        assert found[name].t1_seconds == pytest.approx(tissue.t1_seconds, rel=0.061)
        assert found[name].hu == pytest.approx(tissue.hu, abs=3.0)
    assert found["fat"].t1_seconds != TISSUES["fat"].t1_seconds


@pytest.fixture(scope="module")
def lesions() -> tuple[np.ndarray, np.ndarray]:
    """What each modality shows of 200 lesions a class: shape (lesion, modality), and the class."""
    rng = np.random.default_rng(0)
    rows, labels = [], []
    for number, kind in enumerate((NO_LESION, *HEAD_LESIONS)):
        for _ in range(200):
            white = tissues_of_subject(rng)["white matter"]
            ranges = HEAD_LESIONS.get(kind)
            lesion = white if ranges is None else tissue_of_lesion(kind, ranges, rng)
            rows.append([_seen(lesion, white, modality, rng) for modality in FOUR])
            labels.append(number)
    table = np.asarray(rows)
    return table / table.std(axis=0), np.asarray(labels)


def _seen(lesion: Tissue, white: Tissue, modality: Modality, rng: np.random.Generator) -> float:
    """The mean over a lesion against white matter: ±1.5 HU, or ±4 %."""
    value, around = (abs(value_of(tissue, modality)) for tissue in (lesion, white))
    if modality is Modality.CT:
        return lesion.hu - white.hu + rng.normal(0, 1.5)
    return 100 * (value / around - 1) + rng.normal(0, 4)


def accuracy(table: np.ndarray, labels: np.ndarray, columns: list[int]) -> float:
    """Of the 15 nearest neighbours, each lesion left out in turn."""
    part = table[:, columns]
    distance = ((part[:, None] - part[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    near = labels[np.argsort(distance, axis=1)[:, :15]]
    votes = np.stack([(near == kind).sum(axis=1) for kind in range(5)], axis=1)
    return float((votes.argmax(axis=1) == labels).mean())


def test_no_modality_alone_tells_the_lesions_apart(
    lesions: tuple[np.ndarray, np.ndarray],
) -> None:
    alone = [accuracy(*lesions, [column]) for column in range(4)]
    assert max(alone) < 0.75


def test_all_four_modalities_together_do(lesions: tuple[np.ndarray, np.ndarray]) -> None:
    assert accuracy(*lesions, [0, 1, 2, 3]) > 0.98
    pairs = [accuracy(*lesions, list(pair)) for pair in itertools.combinations(range(4), 2)]
    assert max(pairs) < 0.97
