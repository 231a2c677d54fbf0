"""Each effect does what its name says, as much as its severity says, and nothing at 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wetread.errors import ConfigError
from wetread.phantom.contrast import Modality
from wetread.phantom.effects import Effects, Image, bias_field, imaged, parse_effects, rician

NONE = Effects(noise=0, bias=0, partial_volume=0)
FLAT = np.full((12, 48, 48), 300.0, np.float32)
BALL = np.where(
    ((np.indices((12, 48, 48)) - np.array([6, 24, 24])[:, None, None, None]) ** 2).sum(0) < 30,
    900.0,
    0.0,
).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def made(signal: Image, modality: Modality, **effects: float) -> Image:
    return imaged(signal, modality, replace(NONE, **effects), rng())


@pytest.mark.parametrize("modality", [Modality.CT, Modality.T2])
def test_without_effects_the_image_is_the_signal(modality: Modality) -> None:
    assert np.array_equal(made(BALL, modality), BALL)
    assert made(BALL, modality).dtype == np.float32


@pytest.mark.parametrize("modality", list(Modality))
def test_the_same_seed_gives_the_same_image(modality: Modality) -> None:
    signal = BALL[0] / 900 if modality is Modality.DX else BALL
    effects = Effects(noise=1, bias=1, motion=1, blur=1, low_dose=1)
    one, other = (imaged(signal, modality, effects, rng()) for _ in range(2))
    assert np.array_equal(one, other)


def test_ct_noise_is_4_hu_a_step_around_the_truth() -> None:
    for severity in (1.0, 3.0):
        found = made(FLAT, Modality.CT, noise=severity)
        assert float(found.std()) == pytest.approx(4 * severity, rel=0.03)
        assert float(found.mean()) == pytest.approx(300, abs=0.5)


def test_two_steps_of_low_dose_double_ct_noise() -> None:
    found = made(FLAT, Modality.CT, noise=1, low_dose=2)
    assert float(found.std()) == pytest.approx(8.0, rel=0.03)


def test_low_dose_means_fewer_photons_on_a_radiograph() -> None:
    """The SD of a line integral is 1/√photons; each step halves those."""
    integral = np.full((200, 200), 2.0, np.float32)
    for step in (0, 2):
        found = made(integral, Modality.DX, noise=1, low_dose=step)
        counted = 60_000 * 2.0**-step * np.exp(-2.0)
        assert float(found.std()) == pytest.approx(counted**-0.5, rel=0.03)
        assert float(found.mean()) == pytest.approx(2.0, abs=0.002)


def test_mr_noise_in_air_is_rayleigh_s() -> None:
    """Its mean is σ√(π/2): the magnitude has a floor, and no negative value."""
    found = rician(np.zeros((40, 40, 40), np.float32), 10.0, rng())
    assert float(found.mean()) == pytest.approx(10 * (np.pi / 2) ** 0.5, rel=0.01)
    assert float(found.min()) >= 0


def test_mr_noise_in_tissue_is_gaussian() -> None:
    found = rician(FLAT, 6.0, rng())
    assert float(found.std()) == pytest.approx(6.0, rel=0.03)


def test_an_image_of_mr_is_a_magnitude() -> None:
    assert np.array_equal(made(-FLAT, Modality.FLAIR), FLAT)


@pytest.mark.parametrize("severity", [1.0, 3.0])
def test_the_bias_field_is_smooth_and_bounded(severity: float) -> None:
    field = np.log(bias_field((20, 40, 40), severity, rng()))
    assert float(np.abs(field).max()) == pytest.approx(0.12 * severity, rel=1e-3)
    assert float(np.abs(np.diff(field, axis=1)).max()) < 0.02 * severity


def test_the_bias_field_is_mr_s_alone() -> None:
    assert np.array_equal(made(BALL, Modality.CT, bias=3), BALL)
    assert not np.array_equal(made(BALL, Modality.T1, bias=3), BALL)


def test_motion_sends_ghosts_along_rows_only() -> None:
    """Above and below the ball there is signal now; to its left and right there is none."""
    found = made(BALL, Modality.T1, motion=3)
    assert float(found[6, :12, 24].max()) > 20
    assert float(found[6, 24, :12].max()) < 1


def test_blur_keeps_the_sum_and_takes_the_peak() -> None:
    found = made(BALL, Modality.T1, blur=4)
    assert float(found.sum()) == pytest.approx(float(BALL.sum()), rel=0.01)
    assert float(np.abs(np.diff(found, axis=2)).max()) < 0.5 * 900


def test_effects_are_read_from_text() -> None:
    assert parse_effects("") == Effects()
    assert parse_effects(" noise=2, motion=1.5 ") == Effects(noise=2.0, motion=1.5)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("fog=1", "no effect 'fog'"),
        ("noise", "severity '' of noise is no number"),
        ("noise=much", "severity 'much' of noise is no number"),
        ("noise=6", "severity 6 of noise"),
        ("noise=-1", "severity -1 of noise"),
        ("noise=nan", "severity nan of noise"),
    ],
)
def test_an_effect_that_there_is_not_is_named(text: str, fact: str) -> None:
    with pytest.raises(ConfigError, match=fact) as raised:
        parse_effects(text)
    assert raised.value.hint
