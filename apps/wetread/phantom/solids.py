"""Solids with a volume in closed form, in the anatomy's own LPS mm.

A point is given as three arrays x, y, z that broadcast against each other, so that a regular grid
costs three vectors and not three volumes. All arithmetic is float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Triple = tuple[float, float, float]
Box = tuple[Triple, Triple]


class Solid(Protocol):
    """A region of space."""

    @property
    def volume_ml(self) -> float:
        """Its volume, exact."""
        ...

    @property
    def bounds_mm(self) -> Box:
        """Lowest and highest x, y and z that it can reach."""
        ...

    def contains(self, x: Floats, y: Floats, z: Floats) -> Bools:
        """Whether each point lies in it."""
        ...


@dataclass(frozen=True, slots=True)
class Superellipsoid:
    """|x/a|^n + |y/b|^n + |z/c|^n ≤ 1, turned about z by `turn_degrees` (anticlockwise).

    n = 2 is an ellipsoid, a large n nears a box. The volume is 8abc Γ(1 + 1/n)³ / Γ(1 + 3/n)
    (Dirichlet's integral).
    """

    centre_mm: Triple
    half_axes_mm: Triple
    exponent: float = 2.0
    turn_degrees: float = 0.0

    @property
    def volume_ml(self) -> float:
        """See the class."""
        n = self.exponent
        unit = 8 * math.gamma(1 + 1 / n) ** 3 / math.gamma(1 + 3 / n)
        return unit * math.prod(self.half_axes_mm) / 1000

    @property
    def bounds_mm(self) -> Box:
        """A box that holds it at any turn."""
        a, b, c = self.half_axes_mm
        flat = math.hypot(a, b) if self.turn_degrees else 0.0
        return _box(self.centre_mm, (flat or a, flat or b, c))

    def contains(self, x: Floats, y: Floats, z: Floats) -> Bools:
        """Whether each point lies in it."""
        dx, dy, dz = _from(self.centre_mm, x, y, z)
        if self.turn_degrees:
            angle = math.radians(self.turn_degrees)
            cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
            dx, dy = cosine * dx + sine * dy, cosine * dy - sine * dx
        a, b, c = (np.float32(axis) for axis in self.half_axes_mm)
        n = self.exponent
        return np.asarray(_power(dx / a, n) + _power(dy / b, n) + _power(dz / c, n) <= 1)


@dataclass(frozen=True, slots=True)
class FoldedEllipsoid:
    """An ellipsoid whose surface is thrown into folds, as the cortex is.

    In the frame where the ellipsoid is a unit sphere, the surface lies at the radius
    1 + depth · cos(folds φ) g(cos θ) with g(u) = cos(bands π u)(1 − u²). The integral of the cube
    over all directions, divided by 3, is the volume: the odd powers of cos(folds φ) vanish, so

        V = abc (4π/3 + depth² π ∫ g² du).
    """

    centre_mm: Triple
    half_axes_mm: Triple
    folds: int
    bands: int
    depth: float

    @property
    def volume_ml(self) -> float:
        """See the class."""
        u, weights = np.polynomial.legendre.leggauss(64)
        integral = float(weights @ _height(u, self.bands) ** 2)
        unit = math.pi * (4 / 3 + self.depth**2 * integral)
        return unit * math.prod(self.half_axes_mm) / 1000

    @property
    def bounds_mm(self) -> Box:
        """The box around the highest fold."""
        a, b, c = ((1 + self.depth) * axis for axis in self.half_axes_mm)
        return _box(self.centre_mm, (a, b, c))

    def contains(self, x: Floats, y: Floats, z: Floats) -> Bools:
        """Whether each point lies in it."""
        dx, dy, dz = _from(self.centre_mm, x, y, z)
        a, b, c = (np.float32(axis) for axis in self.half_axes_mm)
        dx, dy, dz = np.broadcast_arrays(dx / a, dy / b, dz / c)
        radius = np.sqrt(dx * dx + dy * dy + dz * dz)
        found = np.asarray(radius <= 1 - self.depth)
        # The folds are only worth their cosines where they decide.
        near = np.flatnonzero((radius > 1 - self.depth) & (radius <= 1 + self.depth))
        near_radius = radius.ravel()[near]
        angle = np.arctan2(dy.ravel()[near], dx.ravel()[near])
        height = _height(dz.ravel()[near] / near_radius, self.bands)
        surface = 1 + self.depth * np.cos(self.folds * angle) * height
        found.ravel()[near] = near_radius <= surface
        return found


@dataclass(frozen=True, slots=True)
class Band:
    """A flat elliptical hoop with gaps in front and behind, sheared along z: a pair of ribs.

    Between an ellipse and its copy scaled by `inner`, `height_mm` high, its middle at
    z + slope · y. A gap is twice its degrees wide, in the angle of the circle that the ellipse is
    a stretched image of. A shear keeps volumes: V = ab(1 − inner²)(π − front − back) · height.
    """

    centre_mm: Triple
    half_axes_mm: tuple[float, float]
    inner: float
    height_mm: float
    slope: float = 0.0
    front_gap_degrees: float = 0.0
    back_gap_degrees: float = 0.0

    @property
    def volume_ml(self) -> float:
        """See the class."""
        a, b = self.half_axes_mm
        open_angle = math.pi - math.radians(self.front_gap_degrees + self.back_gap_degrees)
        return a * b * (1 - self.inner**2) * open_angle * self.height_mm / 1000

    @property
    def bounds_mm(self) -> Box:
        """The box around the sheared hoop."""
        a, b = self.half_axes_mm
        return _box(self.centre_mm, (a, b, self.height_mm / 2 + abs(self.slope) * b))

    def contains(self, x: Floats, y: Floats, z: Floats) -> Bools:
        """Whether each point lies in it."""
        dx, dy, dz = _from(self.centre_mm, x, y, z)
        a, b = (np.float32(axis) for axis in self.half_axes_mm)
        off_middle = np.abs(dz - np.float32(self.slope) * dy)
        across, along = dx / a, dy / b
        radius = across * across + along * along
        in_ring = (radius <= 1) & (radius >= self.inner**2)
        # The front is −y.
        for gap, towards in ((self.front_gap_degrees, -along), (self.back_gap_degrees, along)):
            if gap:
                in_ring &= towards <= np.sqrt(radius) * np.float32(math.cos(math.radians(gap)))
        return np.asarray(in_ring & (off_middle <= self.height_mm / 2))


@dataclass(frozen=True, slots=True)
class Capsule:
    """All points within `radius_mm` of a segment: V = πr²(length + 4r/3)."""

    start_mm: Triple
    end_mm: Triple
    radius_mm: float

    @property
    def volume_ml(self) -> float:
        """See the class."""
        length, r = math.dist(self.start_mm, self.end_mm), self.radius_mm
        return math.pi * r * r * (length + 4 * r / 3) / 1000

    @property
    def bounds_mm(self) -> Box:
        """The box around both ends."""
        ends, r = list(zip(self.start_mm, self.end_mm, strict=True)), self.radius_mm
        low = _triple([min(pair) - r for pair in ends])
        return low, _triple([max(pair) + r for pair in ends])

    def contains(self, x: Floats, y: Floats, z: Floats) -> Bools:
        """Whether each point lies in it."""
        offsets = _from(self.start_mm, x, y, z)
        axis = np.subtract(self.end_mm, self.start_mm).astype(np.float32)
        along = sum(one * part for one, part in zip(offsets, axis, strict=True)) / (axis @ axis)
        share = np.clip(along, 0, 1)
        squares = [(one - share * part) ** 2 for one, part in zip(offsets, axis, strict=True)]
        return np.asarray(sum(squares) <= self.radius_mm**2)


def overlap_ml(one: Solid, other: Solid, step_mm: float = 1.0) -> float:
    """The volume that two solids share, by the midpoint rule on a grid of `step_mm`."""
    (low, high), (other_low, other_high) = one.bounds_mm, other.bounds_mm
    axes = []
    limits = zip(low, other_low, high, other_high, strict=True)
    for start, end in ((max(a, b), min(c, d)) for a, b, c, d in limits):
        if end <= start:
            return 0.0
        axes.append(np.arange(start + step_mm / 2, end, step_mm, dtype=np.float32))
    x, y, z = np.ix_(*axes)
    both = one.contains(x, y, z) & other.contains(x, y, z)
    return float(np.count_nonzero(both)) * step_mm**3 / 1000


def _height(u: Floats, bands: int) -> Floats:
    return np.asarray(np.cos(bands * np.pi * u) * (1 - u * u))


def _power(values: Floats, exponent: float) -> Floats:
    if exponent == 2.0:
        return np.asarray(values * values)
    return np.asarray(np.abs(values) ** np.float32(exponent))


def _from(centre: Sequence[float], x: Floats, y: Floats, z: Floats) -> tuple[Floats, ...]:
    return tuple(
        np.asarray(values - np.float32(middle))
        for values, middle in zip((x, y, z), centre, strict=True)
    )


def _box(centre: Triple, reach: Triple) -> Box:
    pairs = list(zip(centre, reach, strict=True))
    return _triple([at - far for at, far in pairs]), _triple([at + far for at, far in pairs])


def _triple(values: Sequence[float]) -> Triple:
    x, y, z = values
    return x, y, z
