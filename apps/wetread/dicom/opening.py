"""Opening DICOM files: whatever is wrong with one becomes an error of ours that names the file.

pydicom reads values when they are asked for, so a file that opens may still fail later. Here the
values that somebody will ask for are read at once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from decimal import Decimal
from enum import Enum
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import (
    dictionary_description,
    dictionary_VM,
    dictionary_VR,
    keyword_for_tag,
    tag_for_keyword,
)
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.valuerep import VR

from wetread.errors import InputError, StorageError, UnreadablePixelsError
from wetread.study import Unusable

# What pydicom raises for bytes that are no data set; InvalidDicomError and EOFError besides. Its
# own OSError says that a tag or a value is cut short: files are in memory when they are parsed.
PARSING_ERRORS = (
    AttributeError,
    BytesLengthException,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_RESEND = "ask the sender to send it again"
_PREFIX_END = 132
_VRS = {each.value.encode() for each in VR}
_NUMBERS = {"DS", "FD", "FL", "IS", "SL", "SS", "UL", "US", "US or SS"}
_META = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
_FIRST_GROUPS = (0x0002, 0x0008)
_LONGEST_FIRST_VALUE = 4096


class Kind(Enum):
    """What a file is, by its first bytes."""

    PART10 = "a DICOM file"
    BARE = "a DICOM data set without the header of a file"
    OTHER = "no DICOM file"


def kind_of(path: Path) -> Kind:
    """Whether a file is DICOM, by its first bytes. Raises StorageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_PREFIX_END)
    except OSError as error:
        raise _unavailable(path, error) from error
    if head[128:_PREFIX_END] == b"DICM":
        return Kind.PART10
    return Kind.BARE if _begins_a_data_set(head) else Kind.OTHER


def _begins_a_data_set(head: bytes) -> bool:
    """A first tag of group 2 or 8, and then a VR or a short length (PS3.5 7.1)."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, _, length = struct.unpack(f"{order}HHI", head[:8])
        if group in _FIRST_GROUPS and (head[4:6] in _VRS or length <= _LONGEST_FIRST_VALUE):
            return True
    return False


def open_dataset(
    path: Path, understood: Collection[str], *, only: Collection[str] | None = None
) -> Dataset:
    """Read one file, pixel data undecoded; with `only` these attributes and nothing else.

    The values of `understood` are read, those inside a sequence too, so that asking for them
    raises nothing: they have the type of PS3.6, numbers are finite and as many as they should be.

    Raises UnreadablePixelsError if it is no DICOM file or cannot be parsed, InputError for a value
    that is not of its kind, StorageError if the file cannot be read at all.
    """
    try:
        dataset = _whole(path) if only is None else _these(path, list(only))
        # pydicom drops every element that it has read when it comes to the end too early.
        is_cut = not (dataset or _whole(path))
    except InvalidDicomError as error:
        raise _no_file(path) from error
    except PARSING_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _unavailable(path, error) from error
        raise UnreadablePixelsError(
            f"{path.name}: cannot be parsed, or cut short: {said(error)}", hint=_RESEND
        ) from error
    if is_cut:
        raise UnreadablePixelsError(
            f"{path.name}: ends inside an element, after {path.stat().st_size} bytes", hint=_RESEND
        )
    for keyword in _META:
        _check_value(dataset.file_meta, keyword, (), path)
    for keyword in understood:
        _check_value(dataset, keyword, understood, path)
    return dataset


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an attribute, None if it is absent, Unusable if it cannot be understood."""
    try:
        return dataset.get(keyword)
    except PARSING_ERRORS as error:
        return Unusable(keyword, said(error))


def _whole(path: Path) -> Dataset:
    # In one piece: pydicom's many small reads of a file cost a third of the time.
    return dcmread(BytesIO(path.read_bytes()))


def _these(path: Path, keywords: list[str]) -> Dataset:
    return dcmread(path, stop_before_pixels=True, specific_tags=keywords)


def _no_file(path: Path) -> UnreadablePixelsError:
    if kind_of(path) is Kind.BARE:
        return UnreadablePixelsError(
            f"{path.name}: a DICOM data set without preamble and file meta information, so its "
            "transfer syntax is not known",
            hint="write it as a file (PS3.10), with dcmtk: dcmconv",
        )
    return UnreadablePixelsError(f"{path.name}: not a DICOM file, or cut short", hint=_RESEND)


def _unavailable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot read {path}: {error.strerror}", hint="check the file's mode, and its disk"
    )


def _check_value(dataset: Dataset, keyword: str, understood: Collection[str], path: Path) -> None:
    try:
        value = dataset.get(keyword)
        _walk(value, understood)
        fault = _fault(keyword, value)
    except PARSING_ERRORS as error:
        fault = f"cannot be understood: {said(error)}"
    if fault:
        name = f"{dictionary_description(keyword)} {Tag(tag_for_keyword(keyword) or 0)}"
        raise InputError(
            f"{path.name}: {name} {fault}",
            hint="the sender's object is not conformant; correct it there",
        )


def _walk(value: Any, understood: Collection[str]) -> None:
    """Read the values inside a sequence; what nobody asks for may be as it likes."""
    if not isinstance(value, Items):
        return
    for item in value:
        for tag in list(item.keys()):
            keyword = keyword_for_tag(tag)
            if keyword in understood:
                inner = item[tag].value
                fault = _fault(keyword, inner)
                if fault:
                    raise ValueError(f"{dictionary_description(tag)} {fault}")
            elif keyword.endswith("Sequence"):
                _walk(item[tag].value, understood)


def _fault(keyword: str, value: Any) -> str:
    """What is wrong with a value: its type, how many there are, or that it is no finite number.

    How many texts there are is not looked at: a backslash in a description is common.
    """
    if value is None or value == "":
        return ""
    vr = dictionary_VR(keyword)
    if (vr == "SQ") != isinstance(value, Items):
        return "is no sequence" if vr == "SQ" else "is a sequence"
    if vr == "SQ":
        return ""
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    is_number = vr in _NUMBERS
    expected = dictionary_VM(keyword)
    if (is_number or vr == "UI") and expected.isdigit() and len(values) not in (0, int(expected)):
        return f"has {len(values)} values, not {expected}"
    is_right = _is_number if is_number else _is_text
    wrong = [each for each in values if each != "" and not is_right(each)]
    kind = "number" if is_number else "text"
    return f"is {str(wrong[0])[:16]!r}, which is no {kind}" if wrong else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def said(error: Exception) -> str:
    """What a library says, on one line."""
    text = " ".join(str(error).split())
    return f"{text or type(error).__name__}"[:200].rstrip(". ")
