"""The spool: safe names, one file for each distinct data set, nothing half written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread.errors import InputError, StorageError
from wetread.receive.body import Body
from wetread.receive.header import part10_header
from wetread.receive.spool import InstanceUids, Spool

UIDS = InstanceUids("1.2", "1.2.3", "1.2.3.4")
HEADER = part10_header(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.4",
    transfer_syntax_uid="1.2.840.10008.1.2",
    source_ae_title="CT1",
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, 0)


def body(spool: Spool, *chunks: bytes) -> Body:
    filled = spool.new_body()
    for chunk in chunks:
        filled.write(chunk)
    return filled


def test_place_and_content(spool, tmp_path):
    """<study>/<series>/<sop>.dcm holds the header and the data set."""
    stored = spool.store(UIDS, HEADER, body(spool, b"data", b"set"))
    assert stored.path == tmp_path / "received" / "1.2" / "1.2.3" / "1.2.3.4.dcm"
    assert stored.path.read_bytes() == HEADER + b"dataset"
    assert stored.size_bytes == 7


def test_same_data_set_under_another_header(spool):
    """The file meta information does not make another object."""
    first = spool.store(UIDS, HEADER, body(spool, b"same"))
    other = HEADER.replace(b"CT1 ", b"CT22")
    again = spool.store(UIDS, other, body(spool, b"sa", b"me"))
    assert (again.path, again.sha256, again.is_new) == (first.path, first.sha256, False)


def test_room_is_checked_first(spool):
    """Too little room: StorageError, and not even a folder."""
    spool.min_free_bytes = 1 << 62
    with pytest.raises(StorageError, match="bytes free"):
        spool.store(UIDS, HEADER, body(spool, b"x"))
    assert list(spool.received_folder.iterdir()) == []


def test_stale_parts_are_removed(tmp_path):
    """What a crash left behind is gone after the next start; whole files stay."""
    folder = tmp_path / "received" / "1" / "2"
    folder.mkdir(parents=True)
    (folder / ".3.dcm.77.abcd.part").write_bytes(b"half")
    (folder / "3.dcm").write_bytes(b"whole")
    Spool(tmp_path, 0)
    assert [path.name for path in folder.iterdir()] == ["3.dcm"]


def test_unusable_folder(tmp_path):
    """A file where the spool should be is an error with a hint, not a trace."""
    (tmp_path / "spool").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot use the spool"):
        Spool(tmp_path / "spool", 0)


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[0-9./\\]{0,70}", fullmatch=True)))
def test_no_uid_leaves_the_folder(uid):
    """Any text as a UID either is refused or stays inside its own place."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), 0)
        for uids in (
            InstanceUids(uid, "1", "1"),
            InstanceUids("1", uid, "1"),
            InstanceUids("1", "1", uid),
        ):
            try:
                path = spool.path_of(uids)
            except InputError:
                continue
            assert path.resolve().relative_to(spool.received_folder.resolve()).parts == (
                uids.study_instance_uid,
                uids.series_instance_uid,
                f"{uids.sop_instance_uid}.dcm",
            )


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(0, 60))
def test_body_gives_back_what_it_took(chunks, memory_bytes):
    """In memory or in a file, the bytes are the same."""
    whole = b"".join(chunks)
    with (
        tempfile.TemporaryDirectory() as folder,
        Body(Path(folder), lambda _size: None, memory_bytes) as body,
    ):
        for chunk in chunks:
            body.write(chunk)
        assert b"".join(bytes(chunk) for chunk in body.chunks()) == whole
        assert body.head(7) == whole[:7]
        assert body.open().read() == whole
        assert body.size_bytes == len(whole)
        assert list(Path(folder).iterdir()) == []
