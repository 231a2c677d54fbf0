"""The Basic Application Level Confidentiality Profile and options (PS3.15 Table E.1-1), as a table.

`profile.csv` has the basic actions of edition 2024b. Of attributes that came into the table after
2020 it has options for dates and times only; the others are treated by the basic profile.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from pydicom.sr.coding import Code
from pydicom.tag import BaseTag

from wetread.config import DeidentifyConfig

# CID 7050: de-identification methods
BASIC = Code("113100", "DCM", "Basic Application Confidentiality Profile")
STRUCTURED_CONTENT = Code("113104", "DCM", "Clean Structured Content Option")
FULL_DATES = Code("113106", "DCM", "Retain Longitudinal Temporal Information Full Dates Option")
MODIFIED_DATES = Code(
    "113107", "DCM", "Retain Longitudinal Temporal Information Modified Dates Option"
)
PATIENT = Code("113108", "DCM", "Retain Patient Characteristics Option")
DEVICE = Code("113109", "DCM", "Retain Device Identity Option")
INSTITUTION = Code("113112", "DCM", "Retain Institution Identity Option")


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute: what the basic profile does, and the options that keep (K) or clean (C) it."""

    name: str
    basic: str
    options: Mapping[Code, str]


_COLUMNS = {
    "device": DEVICE,
    "institution": INSTITUTION,
    "patient": PATIENT,
    "full_dates": FULL_DATES,
    "modified_dates": MODIFIED_DATES,
    "structured_content": STRUCTURED_CONTENT,
}


@functools.cache
def table() -> Mapping[str, Row]:
    """Rows by tag, eight hexadecimal digits; `X` stands for any."""
    text = resources.files("wetread.deidentify").joinpath("profile.csv").read_text("utf-8")
    return {
        row["tag"]: Row(
            row["name"],
            row["basic"],
            {code: row[column] for column, code in _COLUMNS.items() if row[column]},
        )
        for row in csv.DictReader(text.splitlines())
    }


def row_of(tag: BaseTag) -> Row | None:
    """What the table says of an attribute; None if nothing."""
    found = table().get(f"{tag:08X}")
    if found is None and tag.group & 0xFF00 in (0x5000, 0x6000):
        group = f"{tag.group >> 8:02X}XX"
        found = table().get(f"{group}{tag.element:04X}") or table().get(f"{group}XXXX")
    return found


def options_of(config: DeidentifyConfig) -> frozenset[Code]:
    """The options that the settings choose. Structured content is always cleaned: it would be
    empty otherwise."""
    chosen = {STRUCTURED_CONTENT}
    chosen |= {_COLUMNS[name] for name in config.keep}
    if config.dates != "remove":
        chosen.add(FULL_DATES if config.dates == "keep" else MODIFIED_DATES)
    return frozenset(chosen)


def action(row: Row, options: frozenset[Code]) -> str:
    """X remove, Z empty, D dummy, U other UID, K keep, C clean.

    Of options that clean, those about dates and structured content can: free text is not cleaned.
    """
    chosen = options & row.options.keys()
    if any(row.options[each] == "K" for each in chosen):
        return "K"
    if chosen & {MODIFIED_DATES, STRUCTURED_CONTENT}:
        return "C"
    # Of several, the one that leaves an object conformant whatever its type of attribute.
    if "D" in row.basic or "U" in row.basic:
        return "D" if "D" in row.basic else "U"
    return "Z" if "Z" in row.basic else "X"
