"""The archive's own addresses in an answer, wherever its pieces are cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from wetread.viewer.archive import replaced

TEXT = b'[{"a": "http://archive/x"}, {"b": "http://archive/y"}, "http://archive"]'


@pytest.mark.parametrize("size", [1, 2, 7, 16, 30, 1000])
def test_every_address_is_replaced_across_pieces(size: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(TEXT), size):
            yield TEXT[start : start + size]

    async def all_of() -> bytes:
        return b"".join([each async for each in replaced(pieces(), b"http://archive/", b"/own/")])

    assert asyncio.run(all_of()) == TEXT.replace(b"http://archive/", b"/own/")
