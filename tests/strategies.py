"""What Hypothesis draws from, for every test that asks for more than examples."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

Change = Callable[[bytes], bytes]


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
