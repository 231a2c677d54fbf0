"""Frames of one bit a pixel that do not begin on a byte.

Masks of 181 × 217 pixels, say, lie bit by bit behind each other. Orthanc gives no such frame by
itself, and OHIF 3.13.2 turns the bits of each byte round where it cuts them itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

_KEPT = 4
_BOUNDARY = "wetread-frame"


class BitFrames:
    """Cuts frames out of whole instances, of which the last few are kept.

    `fetch` gives the DICOM file of an instance by its path under the archive's service root, and
    None where there is none.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[bytes | None]]) -> None:
        self._fetch = fetch
        self._kept: OrderedDict[str, NDArray[np.uint8] | None] = OrderedDict()
        self._turn = asyncio.Lock()

    def holds(self, instance: str) -> bool:
        """Whether its frames are at hand."""
        return self._kept.get(instance) is not None

    async def answer(self, instance: str, number: int) -> Response | None:
        """A frame, from 1, as PS3.18 has it; None if the instance has no such one.

        Raises httpx.HTTPError if the archive does not answer.
        """
        async with self._turn:
            if instance not in self._kept:
                content = await self._fetch(instance)
                self._kept[instance] = await run_in_threadpool(cut, content) if content else None
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        frames = self._kept.get(instance)
        if frames is None or not 1 <= number <= len(frames):
            return None
        head = (
            f"--{_BOUNDARY}\r\nContent-Type: application/octet-stream; "
            f"transfer-syntax={ExplicitVRLittleEndian}\r\n\r\n"
        )
        kind = f'multipart/related; type="application/octet-stream"; boundary={_BOUNDARY}'
        body = head.encode() + frames[number - 1].tobytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return Response(body, headers={"Content-Type": kind})


def cut(content: bytes) -> NDArray[np.uint8] | None:
    """Each frame's bits from the start of a byte, the first in its lowest bit: (frame, byte).

    None for what is no uncompressed DICOM file of one bit a pixel.
    """
    try:
        dataset = dcmread(BytesIO(content))
    except InvalidDicomError:
        return None
    if dataset.get("BitsAllocated") != 1 or dataset.file_meta.TransferSyntaxUID.is_compressed:
        return None
    shape = int(dataset.get("NumberOfFrames", 1)), int(dataset.Rows) * int(dataset.Columns)
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    if stored.size * 8 < shape[0] * shape[1]:
        return None
    bits = np.unpackbits(stored, count=shape[0] * shape[1], bitorder="little")
    return np.packbits(bits.reshape(shape), axis=1, bitorder="little")


def first_part(body: bytes, content_type: str) -> bytes | None:
    """The first part of a multipart answer (PS3.18 8.6); None if there is none."""
    _, found, rest = content_type.partition("boundary=")
    boundary = rest.partition(";")[0].strip().strip('"').encode()
    start = body.find(b"\r\n\r\n")
    end = body.find(b"\r\n--" + boundary, start)
    return body[start + 4 : end] if found and 0 <= start < end else None
