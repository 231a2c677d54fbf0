"""Values in the place of others: dummies by value representation, and dates that are moved."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

DUMMY_TEXT = "REMOVED"
_DUMMIES: dict[str, Any] = {
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    **dict.fromkeys(("FD", "FL"), 0.0),
    **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV", "AT"), 0),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), b"\0\0"),
}
_DATE = re.compile(r"(\d{4})(\d{2})?(\d{2})?(.*)", re.DOTALL)


def dummy(vr: str) -> Any:
    """A value of that representation that says nothing."""
    return _DUMMIES.get(vr, DUMMY_TEXT)


def moved(text: str, days: timedelta) -> str:
    """A DA or DT value that many days later, as exact as it was; "" if it is no date."""
    match = _DATE.fullmatch(text.strip().replace(".", "", 2) if _is_old(text) else text.strip())
    if match is None:
        return ""
    year, month, day, rest = match.groups()
    try:
        found = date(int(year), int(month or 1), int(day or 1)) + days
    except (ValueError, OverflowError):
        return ""
    digits = 4 + 2 * bool(month) + 2 * bool(day)
    return f"{found.year:04d}{found:%m%d}"[:digits] + rest


def _is_old(text: str) -> bool:
    # yyyy.mm.dd, as before DICOM 3.0 (PS3.5 6.2).
    return re.match(r"\s*\d{4}\.\d{2}\.\d{2}\s*$", text) is not None
