"""What a scanner adds to a signal: noise, bias field, motion, blur; each with a severity.

0 is none, 1 mild, 5 hardly usable. All take and give float32 of any shape and draw from `rng`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wetread.errors import ConfigError
from wetread.phantom.contrast import Modality

Image = NDArray[np.float32]
WORST = 5.0
_AIR_HU, _HIGHEST_HU = -1024.0, 3071.0
# At severity 1: SD of CT in HU; SD of MR as a share of the brightest tissue; photons a pixel.
_CT_NOISE_HU, _MR_NOISE, _PHOTONS = 4.0, 0.012, 60_000.0


@dataclass(frozen=True, slots=True)
class Effects:
    """The severity of each effect, 0 to 5.

    `noise`: Gaussian and correlated in CT, Rician in MR, of photons in DX. `low_dose`: each step
    halves the photons of CT and DX. `bias`: a smooth multiplicative field, ±12 % a step, MR.
    `motion`: ghosts along rows, MR. `blur`: a Gaussian of 0.4 voxel a step.
    `partial_volume`: voxels are means of (step + 1)³ points; at 0 of their middle alone.
    `oblique`: the grid is turned by 6° a step. `thick_slices`: slices are half as thick again a
    step, over the same extent.
    """

    noise: float = 1.0
    low_dose: float = 0.0
    bias: float = 1.0
    motion: float = 0.0
    blur: float = 0.0
    partial_volume: float = 1.0
    oblique: float = 0.0
    thick_slices: float = 0.0


def parse_effects(text: str) -> Effects:
    """Effects from "noise=2,bias=0"; those not named keep their default.

    Raises ConfigError for a name or a severity that there is not.
    """
    names = [one.name for one in fields(Effects)]
    given = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, value = part.partition("=")
        if name not in names:
            raise ConfigError(f"no effect {name!r}", hint=f"there are: {', '.join(names)}")
        given[name] = _severity(name, value)
    return replace(Effects(), **given)


def _severity(name: str, value: str) -> float:
    hint = f"give a number from 0 to {WORST:.0f}, as in {name}=2"
    try:
        severity = float(value)
    except ValueError as error:
        raise ConfigError(f"severity {value!r} of {name} is no number", hint=hint) from error
    if not 0.0 <= severity <= WORST:
        raise ConfigError(f"severity {severity:g} of {name}", hint=hint)
    return severity


def imaged(signal: Image, modality: Modality, effects: Effects, rng: np.random.Generator) -> Image:
    """The image that a scanner makes of an ideal signal.

    `signal` is HU for CT, signed signal for MR (slice, row, column), and the line integral of the
    attenuation for DX (row, column). The image has the same unit; MR is a magnitude.
    """
    if modality is Modality.CT:
        noise = _CT_NOISE_HU * effects.noise * 2.0 ** (effects.low_dose / 2)
        image = _correlated_noise(_blurred(signal, effects.blur), noise, rng)
        return np.asarray(np.clip(image, _AIR_HU, _HIGHEST_HU), np.float32)
    if modality is Modality.DX:
        photons = _PHOTONS * 2.0**-effects.low_dose
        return _photon_noise(_blurred(signal, effects.blur), effects.noise, photons, rng)
    image = np.abs(signal) * bias_field(signal.shape, effects.bias, rng)
    image = _blurred(_ghosted(image, effects.motion, rng), effects.blur)
    return rician(image, _MR_NOISE * effects.noise * float(np.percentile(image, 99.5)), rng)


def bias_field(shape: tuple[int, ...], severity: float, rng: np.random.Generator) -> Image:
    """exp of a polynomial of second order: smooth, around 1, at most ±12 % a step."""
    axes = np.ix_(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape))
    linear = rng.uniform(-1, 1, len(shape))
    square = rng.uniform(-1, 1, len(shape))
    field = np.zeros(shape, np.float32)
    for axis, one, other in zip(axes, linear, square, strict=True):
        field += np.float32(one) * axis + np.float32(other) * (axis * axis - np.float32(1 / 3))
    largest = max(float(np.abs(field).max()), 1e-6)
    return np.asarray(np.exp(field * np.float32(0.12 * severity / largest)), np.float32)


def rician(image: Image, deviation: float, rng: np.random.Generator) -> Image:
    """The magnitude of a complex signal with Gaussian noise in both parts.

    Gudbjartsson and Patz, Magnetic Resonance in Medicine 34:910, 1995.
    """
    if deviation <= 0:
        return image
    real, imaginary = (
        rng.standard_normal(image.shape, np.float32) * np.float32(deviation) for _ in range(2)
    )
    return np.asarray(np.hypot(image + real, imaginary), np.float32)


def _correlated_noise(image: Image, deviation: float, rng: np.random.Generator) -> Image:
    """Gaussian noise, correlated between pixels of a slice as reconstruction leaves it."""
    if deviation <= 0:
        return image
    noise = rng.standard_normal(image.shape, np.float32)
    noise = ndimage.gaussian_filter(noise, (0.0, 0.6, 0.6))
    return np.asarray(image + noise * np.float32(deviation / float(noise.std())), np.float32)


def _photon_noise(
    integral: Image, severity: float, photons: float, rng: np.random.Generator
) -> Image:
    """The line integrals that are found when photons are counted."""
    if severity <= 0:
        return integral
    sent = photons / severity
    counted = rng.poisson(sent * np.exp(-integral.astype(np.float64)))
    return np.asarray(-np.log(np.maximum(counted, 1) / sent), np.float32)


def _ghosted(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Ghosts along rows: a periodic motion turns the phase of the lines of k-space."""
    if severity <= 0:
        return image
    rows = image.shape[1]
    period, start = float(rng.uniform(3, 6)), float(rng.uniform(0, 2 * np.pi))
    turns = 0.12 * severity * np.sin(2 * np.pi * np.arange(rows) / period + start)
    lines = np.fft.fft(image, axis=1) * np.exp(1j * turns)[None, :, None]
    return np.abs(np.fft.ifft(lines, axis=1)).astype(np.float32)


def _blurred(image: Image, severity: float) -> Image:
    if severity <= 0:
        return image
    return np.asarray(ndimage.gaussian_filter(image, 0.4 * severity), np.float32)
