"""Every kind of odd file has the verdict that is written beside it, and a reason for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from odd_files import KINDS, NOT_AN_IMAGE, READABLE, REFUSED
from phantom import write_series
from wetread.errors import InputError
from wetread.offline.checking import check_data

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.mark.parametrize("name", KINDS)
def test_an_odd_file_has_its_verdict(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    kind.write(tmp_path)
    verdicts = check_data(tmp_path)
    assert [each.file for each in verdicts] == sorted(
        path.relative_to(tmp_path) for path in tmp_path.iterdir()
    )
    odd = [each for each in verdicts if each.file.name.startswith("odd")]
    others = [each for each in verdicts if each not in odd]
    assert {each.verdict for each in odd} == {kind.odd}
    assert {each.verdict for each in others} == ({kind.others} if kind.others else set())
    for each in odd:
        assert re.search(kind.words, each.reason), each.reason
    for each in verdicts:
        assert bool(each.reason) == (each.verdict != READABLE)


def test_there_is_a_kind_for_each_verdict() -> None:
    assert {kind.odd for kind in KINDS.values()} == {READABLE, REFUSED, NOT_AN_IMAGE}


def test_a_whole_slice_is_refused_with_the_fault_of_its_series(tmp_path: Path) -> None:
    """And the one at fault with its own."""
    KINDS["no pixels"].write(tmp_path)
    reasons = {each.file.name: each.reason for each in check_data(tmp_path)}
    assert reasons.pop("odd.dcm").startswith("instance 2 has no Pixel Data")
    assert set(reasons.values()) == {
        "instance 2 has no Pixel Data (7FE0,0010) (SOP Instance UID "
        f"{reasons_uid(tmp_path)}); the sender's object is not conformant; correct it there"
    }


def reasons_uid(folder: Path) -> str:
    from pydicom import dcmread

    return str(dcmread(folder / "odd.dcm").SOPInstanceUID)


def test_series_of_several_folders_are_judged_each_by_itself(tmp_path: Path) -> None:
    write_series(tmp_path / "a", shape=(3, 8, 8), seed="a")
    write_series(tmp_path / "b", shape=(1, 8, 8), seed="b")
    verdicts = {str(each.file): each.verdict for each in check_data(tmp_path)}
    assert verdicts == {
        "a/0001.dcm": READABLE,
        "a/0002.dcm": READABLE,
        "a/0003.dcm": READABLE,
        "b/0001.dcm": REFUSED,
    }


def test_one_file_is_judged_alone(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 8, 8))
    [verdict] = check_data(series.paths[0])
    assert (str(verdict.file), verdict.series) == ("0001.dcm", series.series_instance_uid)
    assert verdict.reason == "1 slice, a volume needs 2 or more; send the whole stack of slices"


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gone.dcm"
    path.symlink_to(tmp_path / "nowhere")
    write_series(tmp_path / "whole", shape=(2, 8, 8))
    assert len(check_data(tmp_path)) == 2


def test_nothing_to_judge_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file in it"):
        check_data(tmp_path)
