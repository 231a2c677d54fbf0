"""Which cases share a sex, a decade of age, a scanner."""

from __future__ import annotations

from pathlib import Path

import pytest

from wetread.errors import InputError
from wetread.models.subgroups import case_facts, subgroups


def grouped(column: str, *values: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.value, each.cases) for each in subgroups([{column: value} for value in values])]


def test_words_group_by_themselves_and_what_is_not_stated_comes_last() -> None:
    found = grouped("sex", "M", "F", "", "F")
    assert found == [("F", (1, 3)), ("M", (0,)), ("not stated", (2,))]


@pytest.mark.parametrize("column", ["age", "Age", "PatientAge", "patient_age", "age_years"])
def test_ages_group_by_decades(column: str) -> None:
    """As a number, with a fraction, or as DICOM writes years and months."""
    found = grouped(column, "61", "067Y", "018M", "8.5", "", "103")
    wanted = [("0–9", (2, 3)), ("60–69", (0, 1)), ("100–109", (5,)), ("not stated", (4,))]
    assert found == wanted


def test_many_numbers_group_by_thirds() -> None:
    found = grouped("weight_kg", *map(str, range(50, 62)))
    assert [len(cases) for _, cases in found] == [4, 4, 4]
    assert [name[0] for name, _ in found] == ["≤", "5", ">"]
    assert found[0][1] == (0, 1, 2, 3)


def test_few_numbers_group_by_themselves_in_their_order() -> None:
    assert [name for name, _ in grouped("tesla", "3", "1.5", "10", "3")] == ["1.5", "3", "10"]


def test_names_remarks_and_what_is_the_same_for_all_group_nothing() -> None:
    many = [f"name {number}" for number in range(20)]
    assert grouped("remark", *many) == []
    assert grouped("patient", "1", "2", "1") == []
    assert grouped("width", "384", "384") == []
    # With leading zeros it counts something, and measures nothing.
    assert grouped("accession", *(f"0000{number:04}" for number in range(20))) == []


def test_cases_csv_says_what_is_known_of_each_file(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case,sex\nb.nii.gz,F\na.nii.gz,M\n", encoding="utf-8")
    found = case_facts(tmp_path, ["a.nii.gz", "b.nii.gz", "c.nii.gz"])
    assert found == [{"sex": "M"}, {"sex": "F"}, {}]
    assert [each.value for each in subgroups(found)] == ["F", "M", "not stated"]


def test_without_cases_csv_nothing_is_known(tmp_path: Path) -> None:
    assert case_facts(tmp_path, ["a.nii.gz"]) == [{}]
    assert subgroups([{}]) == []


def test_a_cases_csv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_bytes(b"case,sex\na,\xff\xfe\n")
    with pytest.raises(InputError, match=r"cases\.csv"):
        case_facts(tmp_path, ["a"])
