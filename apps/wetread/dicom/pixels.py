"""From stored bytes to stored values: decoding, and the bits that count."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.errors import BytesLengthException
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import UID, RLELossless

from wetread.dicom.headers import Image
from wetread.dicom.opening import said
from wetread.errors import UnreadablePixelsError

Stored = NDArray[np.integer]

# What pydicom and its plugins raise for pixel data that they cannot decode.
DECODING_ERRORS = (
    AttributeError,
    BytesLengthException,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
# pydicom cuts values to Bits Stored and does not say so; `_within_bits` looks at what it cuts.
_AS_THEY_ARE: dict[str, Any] = {"correct_unused_bits": False}
# Where each of pydicom's plugins that are enough for every syntax comes from.
_PACKAGES = {"pyjpegls": "pyjpegls", "pylibjpeg": "pylibjpeg[libjpeg,openjpeg,rle]"}


def decode_image(image: Image) -> Stored:
    """The stored values of a single-frame image, (row, column).

    Raises UnreadablePixelsError, which names the package where a decoder is missing.
    """
    header = image.header
    try:
        found = pixel_array(header, raw=True, decoding_plugin=_plugin(header), **_AS_THEY_ARE)
        return _within_bits(np.asarray(found).reshape(header.Rows, header.Columns), image)
    except DECODING_ERRORS as error:
        raise _unreadable(image, error) from error


def decode_frames(image: Image, indices: Sequence[int]) -> Iterator[Stored]:
    """The stored values of the frames at `indices` (from 0) in that order, (row, column) each.

    Raises as `decode_image`.
    """
    plugin, chosen = _plugin(image.header), list(indices)
    try:
        for frame in iter_pixels(
            image.header, raw=True, indices=chosen, decoding_plugin=plugin, **_AS_THEY_ARE
        ):
            yield _within_bits(frame, image)
    except DECODING_ERRORS as error:
        raise _unreadable(image, error) from error


def look_up(stored: Stored, image: Image) -> NDArray[np.integer]:
    """The values that the Modality LUT of an image gives for stored ones (PS3.3 C.11.1).

    Raises UnreadablePixelsError if the table cannot be used.
    """
    try:
        return np.asarray(apply_modality_lut(stored, image.header))
    except DECODING_ERRORS as error:
        raise UnreadablePixelsError(
            f"{image.path.name}: its Modality LUT cannot be used: {said(error)}",
            hint="ask the sender for the original image",
        ) from error


def _plugin(header: Dataset) -> str:
    """Which plugin of pydicom decodes it; "" leaves the choice to pydicom."""
    # pylibjpeg's RLE decoder panics on segments that are too long, past every `except Exception`.
    is_rle = header.file_meta.get("TransferSyntaxUID") == RLELossless
    return "pydicom" if is_rle else ""


def _within_bits(stored: Stored, image: Image) -> Stored:
    """The Bits Stored below High Bit, with their sign (PS3.5 8.1.1).

    What stands above them does not count: nothing, the sign again, or an overlay. Where it is
    none of these, Bits Stored is not true, and neither reading of the pixels can be trusted.
    """
    header = image.header
    allocated, bits = stored.dtype.itemsize * 8, int(header.BitsStored)
    # A decoder knows nothing of High Bit and puts the value in the lowest bits.
    is_native = not UID(header.file_meta.TransferSyntaxUID).is_encapsulated
    top = int(header.HighBit) + 1 if is_native else bits
    if top == bits == allocated:
        return stored
    if not bits <= top <= allocated:
        raise ValueError(f"{bits} bits stored below bit {top} of {allocated}")
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    above = unsigned >> (top - 1)
    ones = (1 << (allocated - top + 1)) - 1
    is_signed = stored.dtype.kind == "i"
    strange = (above > 1) & ~(is_signed & (above == ones)) & ~_padded(unsigned, header)
    if strange.any() and not _has_overlay_in_pixels(header):
        raise ValueError(
            f"{int(strange.sum())} pixels do not fit in the {bits} bits stored, "
            f"such as {int(stored[strange].max())}"
        )
    kept = (unsigned << (allocated - top)).view(stored.dtype) >> (allocated - bits)
    # Padding may lie outside the bits stored; it is told by its whole value.
    return np.where(_padded(unsigned, header), stored, kept)


def _padded(unsigned: Stored, header: Dataset) -> NDArray[np.bool_]:
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(unsigned.shape, bool)
    return np.asarray(unsigned == int(value) % (1 << (unsigned.dtype.itemsize * 8)))


def _has_overlay_in_pixels(header: Dataset) -> bool:
    """Overlays of old lie in unused bits of the pixels (PS3.5 8.1.2, retired)."""
    groups = range(0x6000, 0x6020, 2)
    return any((group, 0x0102) in header and (group, 0x3000) not in header for group in groups)


def _unreadable(image: Image, error: Exception) -> UnreadablePixelsError:
    uid = UID(image.header.file_meta.get("TransferSyntaxUID", ""))
    syntax = f"{uid.name or 'unknown transfer syntax'} ({uid})"
    return UnreadablePixelsError(
        f"{image.path.name}: cannot decode {syntax}: {said(error)}", hint=_what_to_do(uid)
    )


def _what_to_do(uid: UID) -> str:
    """Which package is not there that decodes it; else to send it again."""
    again = "ask the sender to send it again, or uncompressed"
    try:
        absent = get_decoder(uid).missing_dependencies
    except NotImplementedError:
        return again
    names = [text.partition(" ")[0] for text in absent]
    packages = [_PACKAGES[name] for name in names if name in _PACKAGES]
    return f"install {' and '.join(packages)}, or {again}" if packages else again
