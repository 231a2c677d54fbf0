from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from wetread.uids import derived_uid, job_uid, result_uid


@given(st.lists(st.text(), min_size=1))
def test_a_derived_uid_is_valid(parts: list[str]) -> None:
    """Whatever it is derived from, it is a UID of at most 64 characters (PS3.5 9.1)."""
    uid = UID(derived_uid(*parts))
    assert uid.is_valid
    assert uid.startswith("2.25.")


def test_the_parts_stay_apart() -> None:
    assert derived_uid("ab", "c") != derived_uid("a", "bc")


def test_the_order_of_instances_does_not_matter() -> None:
    assert job_uid(["1.2", "1.3"], "m", "h", 1, 1) == job_uid(["1.3", "1.2"], "m", "h", 1, 1)


def test_each_fact_about_a_job_makes_another_uid() -> None:
    """Another instance, model, weights, generation or attempt: another job."""
    uids = {
        job_uid(["1.2"], "m", "h", 1, 1),
        job_uid(["1.2", "1.3"], "m", "h", 1, 1),
        job_uid(["1.2"], "n", "h", 1, 1),
        job_uid(["1.2"], "m", "i", 1, 1),
        job_uid(["1.2"], "m", "h", 2, 1),
        job_uid(["1.2"], "m", "h", 1, 2),
    }
    assert len(uids) == 6


def test_each_kind_of_object_has_its_own_uid() -> None:
    assert result_uid("1.2", "SEG") == result_uid("1.2", "SEG")
    assert len({result_uid("1.2", kind) for kind in ("SEG", "SR", "SC", "SEG series")}) == 4
