"""Whatever is sent: it is kept or refused, no worker dies, and nothing is lost in silence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info

import wetread.errors
from gateway import CALLER, Gateway, eventually, running_gateway, settings
from odd_files import KINDS
from phantom import write_series
from tiny_model import TinyModel
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.network import Peer, open_association
from wetread.errors import InputError
from wetread.ledger import JobState, StudyState
from wetread.ledger.records import Failure, ResultRecord

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
]
SUCCESS = 0x0000
# PS3.4 Table B.2-1: the data set does not match its class, for it has not the UIDs that name it.
MISSING = 0xA900


def send_as_they_are(paths: Sequence[Path], port: int) -> dict[Path, int | None]:
    """C-STORE the bytes of files, unread, in one association: the status that each is answered.

    None stands for a file whose class the door does not take.
    """
    metas = {path: read_file_meta_info(path) for path in paths}
    contexts = {(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas.values()}
    proposed = [(str(name), [str(syntax)]) for name, syntax in sorted(contexts)]
    peer = Peer("gateway", "127.0.0.1", port, "WETREAD", CALLER, 120)
    answers: dict[Path, int | None] = {}
    with open_association(peer, proposed) as association:
        taken = {each.abstract_syntax for each in association.accepted_contexts}
        for path, meta in metas.items():
            is_taken = meta.MediaStorageSOPClassUID in taken
            answers[path] = int(association.send_c_store(path).Status) if is_taken else None
    return answers


def sendable(folder: Path) -> list[Path]:
    """The files that a sender can announce: they have the header of a file."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in found if path.read_bytes()[128:144][:8] == b"DICM\x02\0\0\0"]


def put_into_one_study(folder: Path) -> None:
    """Give the files of a kind that can be routed a study that others have, too: it is quicker."""
    try:
        [found, *_] = read_study(find_instances(folder)).series
    except InputError:
        return
    uid = found.study_instance_uid.encode()
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(uid, b"2.25." + b"7" * (len(uid) - 5)))


def everything_ended(gateway: Gateway, studies: Sequence[str]) -> list[Failure]:
    """Wait until each study is read or refused; why, of those that were refused."""
    ledger = gateway.service.ledger

    def look() -> bool:
        records = [ledger.studies.get(uid) for uid in studies]
        jobs = [job for uid in studies for job in ledger.jobs.list(study=uid)]
        return all(
            each.state in (StudyState.ROUTED, StudyState.FAILED) for each in records
        ) and all(job.state in (JobState.DONE, JobState.FAILED) for job in jobs)

    eventually(look, 90.0)
    failures = [ledger.studies.get(uid).failure for uid in studies]
    failures += [job.failure for uid in studies for job in ledger.jobs.list(study=uid)]
    return [each for each in failures if each is not None]


def test_every_odd_file_is_kept_or_refused_and_the_gateway_goes_on(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    for number, kind in enumerate(KINDS.values()):
        kind.write(tmp_path / "sent" / f"{number:02d}")
        put_into_one_study(tmp_path / "sent" / f"{number:02d}")
    anything = {"name": "anything", "when": {}, "run": ["tiny"], "send_results_to": []}
    with running_gateway(settings(tmp_path, tiny_ct, {}, rules=[anything])) as gateway:
        port = gateway.service.listener.port
        answers = send_as_they_are(sendable(tmp_path / "sent"), port)
        assert set(answers.values()) == {SUCCESS, MISSING, None}
        kept = sorted(gateway.service.ledger.studies.newest(1000), key=lambda each: each.generation)
        studies = sorted({each.study_instance_uid for each in kept})
        failures = everything_ended(gateway, studies)
        files = list((tmp_path / "spool" / "received").rglob("*.dcm"))
        assert len(failures) > 20
        assert len(files) == sum(status == SUCCESS for status in answers.values())
        for failure in failures:
            assert issubclass(getattr(wetread.errors, failure.error), InputError)
            assert failure.message
            assert failure.hint
        whole = write_series(tmp_path / "whole", shape=(8, 24, 20), seed="whole")
        gateway.send(whole.paths)
        assert "Ellipsoid" in str(gateway.job(whole.study_instance_uid).outcome)


def test_two_acquisitions_in_one_series_are_two_results(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """Neither replaces the other, and each refers to its own images."""
    KINDS["two acquisitions"].write(tmp_path / "sent")
    paths = sorted((tmp_path / "sent").iterdir())
    study = str(dcmread(paths[0]).StudyInstanceUID)
    with running_gateway(settings(tmp_path, tiny_ct, {})) as gateway:
        gateway.send(paths)
        eventually(
            lambda: len(gateway.service.ledger.jobs.list(study=study, state=JobState.DONE)) == 2
        )
        jobs = gateway.service.ledger.jobs.list(study=study)
        results = [gateway.service.ledger.jobs.results_of(job.job_id) for job in jobs]
    assert {job.stack for job in jobs} == {"Acquisition Number 1", "Acquisition Number 2"}
    assert [each.superseded for group in results for each in group] == [False] * 6
    used = [{str(each.ReferencedSOPInstanceUID) for each in sources(group)} for group in results]
    assert [len(each) for each in used] == [4, 4]
    assert not used[0] & used[1]


def sources(results: Sequence[ResultRecord]) -> Sequence[Dataset]:
    [seg] = [each for each in results if each.kind == "SEG"]
    found: Sequence[Dataset] = (
        dcmread(seg.path).ReferencedSeriesSequence[0].ReferencedInstanceSequence
    )
    return found
