"""What Hypothesis draws from, for every test that asks for more than examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from wetread.dicom.geometry import Floats, Plane

Change = Callable[[bytes], bytes]

# -- geometry: a regular stack of planes anywhere in space ------------------------------------


@dataclass(frozen=True)
class Stack:
    """Planes in the order of their slices, and the affine (slice, row, column) → LPS mm."""

    planes: tuple[Plane, ...]
    affine: Floats
    slice_spacing_mm: float


def _stack(
    quaternion: tuple[float, ...],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    count: int,
) -> Stack:
    """Right-handed: slices are counted along row direction × column direction."""
    turn = _rotation(quaternion)
    columns, rows = turn[:, 0], turn[:, 1]
    affine = np.eye(4)
    affine[:3, :3] = np.stack([turn[:, 2], rows, columns], axis=1) * spacing
    affine[:3, 3] = origin
    planes = tuple(
        Plane(
            name=str(number + 1),
            position=affine[:3, 3] + number * affine[:3, 0],
            rows=rows,
            columns=columns,
            spacing=spacing[1:],
            size=(20, 30),
        )
        for number in range(count)
    )
    return Stack(planes, affine, spacing[0])


def _rotation(quaternion: tuple[float, ...]) -> Floats:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


_parts = st.floats(-1, 1)
_quaternions = st.tuples(_parts, _parts, _parts, _parts).filter(lambda q: np.linalg.norm(q) > 0.1)
_millimetres = st.floats(0.2, 10)
_places = st.floats(-1000, 1000)


def stacks(least: int = 2) -> st.SearchStrategy[Stack]:
    """A regular stack of `least` to 40 slices, turned and placed at will."""
    return st.builds(
        _stack,
        _quaternions,
        st.tuples(_millimetres, _millimetres, _millimetres),
        st.tuples(_places, _places, _places),
        st.integers(least, 40),
    )


# -- routing, assembly, retry -----------------------------------------------------------------

# Of the series of a study, some of which do not say; and of one rule each.
modalities = st.lists(st.sampled_from(["CT", "MR", "CR", None]), min_size=1, max_size=4)
wanted_modalities = st.lists(st.sampled_from(["CT", "MR", "CR"]), max_size=3)
# Until the last instance, and since it.
arrival_seconds = st.floats(0, 2000)
first_retry_seconds, longest_retry_seconds = st.floats(0.1, 1e4), st.floats(0.1, 1e5)
attempts, shares = st.integers(1, 5000), st.floats(0, 1)
statuses = st.integers(0, 0xFFFF)

# -- damage to bytes --------------------------------------------------------------------------


def _at(data: bytes, place: float) -> int:
    return min(int(place * len(data)), max(len(data) - 1, 0))


def _overwrite(place: float, value: bytes) -> Change:
    def change(data: bytes) -> bytes:
        start = _at(data, place)
        return data[:start] + value + data[start + len(value) :]

    return change


def _insert(place: float, value: bytes) -> Change:
    return lambda data: data[: _at(data, place)] + value + data[_at(data, place) :]


def _cut_out(place: float, length: int) -> Change:
    return lambda data: data[: _at(data, place)] + data[_at(data, place) + length :]


def _end(place: float) -> Change:
    return lambda data: data[: _at(data, place)]


def _repeat(place: float, length: int) -> Change:
    def change(data: bytes) -> bytes:
        start = _at(data, place)
        return data[: start + length] + data[start:]

    return change


# The numbers that lengths, counts and offsets break on.
_EDGES = st.sampled_from(
    [b"\x00" * 4, b"\xff" * 4, b"\xff\xff\xff\xfe", b"\x7f\xff\xff\xff", b"\x00\x00", b"\xff\xff"]
)


def changes(whereabouts: st.SearchStrategy[float]) -> st.SearchStrategy[Change]:
    """One damage to some bytes; `whereabouts` says how far in, from 0 to 1."""
    values = st.binary(min_size=1, max_size=8) | _EDGES
    lengths = st.integers(1, 64)
    return st.one_of(
        st.builds(_overwrite, whereabouts, values),
        st.builds(_insert, whereabouts, values),
        st.builds(_cut_out, whereabouts, lengths),
        st.builds(_repeat, whereabouts, lengths),
        st.builds(_end, whereabouts),
    )


def damaged(data: bytes, head_share: float = 1.0) -> st.SearchStrategy[bytes]:
    """`data` after one to four changes, half of them in its first `head_share`."""
    anywhere = st.floats(0, 1)
    places = anywhere | st.floats(0, head_share)
    return st.lists(changes(places), min_size=1, max_size=4).map(
        lambda chosen: _changed(data, chosen)
    )


def _changed(data: bytes, chosen: list[Change]) -> bytes:
    for change in chosen:
        data = change(data)
    return data
