"""Which cases belong together by what is known of them, such as sex, age or scanner."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wetread.bundle_components.data import GROUP_COLUMNS
from wetread.errors import InputError

Facts = Mapping[str, str]
CASES_FILE = "cases.csv"
NAME_COLUMNS = ("file", "case")
# A column of more different words is a name or a remark, and groups nothing.
MOST_VALUES = 8
NOT_STATED = "not stated"
# Its place among the groups of its column, and what it is called.
_Group = tuple[float, str]
_UNKNOWN: _Group = (math.inf, NOT_STATED)
_AGE = re.compile(r"(patient)?[ _]?age(_years)?", re.IGNORECASE)
# A number, or an age as DICOM writes it (PS3.5 6.2, AS); what begins with 0 counts something else.
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_DICOM_AGE = re.compile(r"(\d{3})([DWMY])")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class Subgroup:
    """The numbers of the cases, from 0, that share a value or a range of one column."""

    column: str
    value: str
    cases: tuple[int, ...]


def case_facts(folder: Path, names: Sequence[str]) -> list[Facts]:
    """What a `cases.csv` in a folder says of each file: its other columns.

    Its column `file` (or `case`) has the name of the image file. Nothing is known of a case that
    is not listed, or without such a file or column. Raises InputError if it cannot be read.
    """
    path = folder / CASES_FILE
    if not path.is_file():
        return [{} for _ in names]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", hint="write it as CSV in UTF-8") from error
    by_name = {Path(_name(row)).name: row for row in rows}
    known = [by_name.get(name, {}) for name in names]
    return [
        {key: row[key] or "" for key in row if key not in (*NAME_COLUMNS, None)} for row in known
    ]


def _name(row: Mapping[str, str]) -> str:
    return next((row[column] for column in NAME_COLUMNS if row.get(column)), "")


def subgroups(facts: Sequence[Facts]) -> list[Subgroup]:
    """The groups of every column that makes at least two, in the order of the columns.

    Ages are grouped by decade, other numbers of more than `MOST_VALUES` values by thirds of the
    cases, words by themselves; columns of more words, and names of patients or groups, are left
    out.
    """
    columns = list(dict.fromkeys(column for each in facts for column in each))
    grouped = []
    for column in columns:
        if column.lower() not in GROUP_COLUMNS:
            values = [each.get(column, "").strip() for each in facts]
            grouped += _of_column(column, _groups(column, values))
    return grouped


def _of_column(column: str, groups: Sequence[_Group]) -> list[Subgroup]:
    order = sorted(set(groups))
    if len(order) < 2:
        return []
    return [
        Subgroup(column, each[1], tuple(n for n, group in enumerate(groups) if group == each))
        for each in order
    ]


def _groups(column: str, values: Sequence[str]) -> list[_Group]:
    """The group of each case; none at all if the column groups nothing."""
    stated = {value for value in values if value}
    numbers = {value: _number(value) for value in stated}
    known = {value: number for value, number in numbers.items() if number is not None}
    all_numbers = bool(stated) and len(known) == len(stated)
    if all_numbers and _AGE.fullmatch(column):
        return [_decade(known[value]) if value else _UNKNOWN for value in values]
    if len(stated) <= MOST_VALUES:
        return [(known.get(value, 0.0), value) if value else _UNKNOWN for value in values]
    if all_numbers:
        return _thirds([known[value] if value else None for value in values])
    return []


def _number(text: str) -> float | None:
    age = _DICOM_AGE.fullmatch(text)
    if age:
        return int(age[1]) * _YEARS[age[2]]
    return float(text) if _NUMBER.fullmatch(text) else None


def _decade(years: float) -> _Group:
    first = int(years // 10) * 10
    return first, f"{first}–{first + 9}"


def _thirds(values: Sequence[float | None]) -> list[_Group]:
    low, high = np.quantile([value for value in values if value is not None], (1 / 3, 2 / 3))
    names = (f"≤ {low:.4g}", f"{low:.4g} to {high:.4g}", f"> {high:.4g}")
    places = [None if value is None else int(value > low) + int(value > high) for value in values]
    return [_UNKNOWN if place is None else (place, names[place]) for place in places]
