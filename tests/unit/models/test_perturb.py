"""Each kind of change grows with its severity, is none at 0, and is always the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wetread.errors import ConfigError
from wetread.models.perturb import PERTURBATIONS, SEVERITIES, perturb, span_of

Array = NDArray[np.float32]
SHAPES = {"volume": (20, 36, 30), "picture": (1, 48, 40)}

every_kind = pytest.mark.parametrize("kind", PERTURBATIONS)


def image_of(shape: tuple[int, ...]) -> Array:
    """Two smooth bodies and a little texture, −1000 to about 300, as a CT has."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    body = 1 / (1 + np.exp(20 * (np.sqrt((grid**2).sum(axis=0)) - 0.8)))
    core = 1 / (1 + np.exp(30 * (np.sqrt(((grid - 0.2) ** 2).sum(axis=0)) - 0.3)))
    texture = np.random.default_rng(0).normal(0, 10, shape)
    return (1000 * body + 300 * core + texture - 1000).astype(np.float32)


def rms(array: Array) -> float:
    return float(np.sqrt((array.astype(float) ** 2).mean()))


@every_kind
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_grows_with_the_severity(kind: str, shape: tuple[int, ...], seed: int) -> None:
    image = image_of(shape)
    changes = [rms(perturb(image, kind, severity, seed) - image) for severity in SEVERITIES]
    assert changes == sorted(changes)
    assert 0.0005 < changes[0] / span_of(image) < 0.15
    assert changes[-1] > 1.5 * changes[0]


@every_kind
def test_severity_0_is_the_image(kind: str) -> None:
    image = image_of(SHAPES["volume"])
    same = perturb(image, kind, 0, 1)
    assert np.array_equal(same, image)
    assert same is not image


@every_kind
def test_the_same_seed_gives_the_same_image(kind: str) -> None:
    image = image_of(SHAPES["volume"])
    before = image.copy()
    first, again = (perturb(image, kind, 3, 5) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(image, before)
    assert first.dtype == np.float32
    assert first.shape == image.shape


@pytest.mark.parametrize("kind", sorted(set(PERTURBATIONS) - {"resolution", "jpeg"}))
def test_another_seed_gives_another_image(kind: str) -> None:
    image = image_of(SHAPES["volume"])
    images = [perturb(image, kind, 3, seed) for seed in range(8)]
    assert any(not np.array_equal(images[0], each) for each in images[1:])


@every_kind
def test_the_change_scales_with_the_image(kind: str) -> None:
    """A tenth of the values, a tenth of the change: levels are relative."""
    image = image_of(SHAPES["volume"])
    whole = perturb(image, kind, 3, 0) - image
    tenth = perturb(image / 10, kind, 3, 0) - image / 10
    assert rms(tenth) == pytest.approx(rms(whole) / 10, rel=1e-2)


def test_noise_has_the_deviation_that_is_said() -> None:
    image = np.zeros((20, 100, 100), np.float32)
    image[:, 50:] = 200.0
    assert (perturb(image, "noise", 3, 0) - image).std() == pytest.approx(20.0, rel=0.01)


def test_motion_keeps_every_value_of_a_still_part() -> None:
    """The mean is the centre of k-space, which does not move."""
    image = image_of(SHAPES["volume"])
    assert perturb(image, "motion", 5, 0).mean() == pytest.approx(image.mean(), abs=1e-2)


def test_a_quarter_of_the_resolution_keeps_no_detail_of_one_voxel() -> None:
    image = np.indices((16, 16, 16)).sum(axis=0) % 2 * 100.0
    assert np.abs(perturb(image.astype(np.float32), "resolution", 5, 0) - 50.0).max() < 1.0


def test_an_image_of_one_value_stays_finite() -> None:
    image = np.full((4, 16, 16), 7.0, np.float32)
    for kind in PERTURBATIONS:
        assert np.isfinite(perturb(image, kind, 5, 0)).all(), kind


@pytest.mark.parametrize(
    ("kind", "severity", "message"),
    [("fog", 1, "no perturbation 'fog'"), ("noise", 6, "severity 6 of noise")],
)
def test_what_is_not_there_is_refused(kind: str, severity: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        perturb(image_of((1, 8, 8)), kind, severity, 0)
    assert caught.value.hint
