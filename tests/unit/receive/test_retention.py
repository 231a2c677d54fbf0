"""Local copies go when nobody needs them, all of a study, and the ledger is never ahead of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Clock
from unit.receive.finished import QUIET_SECONDS, STUDY, Ward, data_set
from wetread.errors import LedgerError, StorageError
from wetread.ledger import Failure, FinishedStudy, Ledger
from wetread.receive import retention as module
from wetread.receive.retention import DAY_SECONDS, RetentionThread, choose
from wetread.receive.spool import Spool

OTHER = "1.2.4"


@pytest.fixture
def ward(tmp_path: Path, ledger: Ledger, clock: Clock) -> Ward:
    return Ward.on(tmp_path, ledger, clock)


def test_a_study_goes_when_its_days_are_over_and_not_before(ward: Ward, clock: Clock) -> None:
    ward.receive()
    ward.read()
    clock.advance(5 * DAY_SECONDS)
    ward.deliver()
    clock.advance(7 * DAY_SECONDS - 1)
    keeper = ward.retention(keep_days=7)
    assert list(keeper.remove_expired()) == []
    assert len(ward.files()) == 4
    clock.advance(1)
    assert [each.study.study_instance_uid for each in keeper.remove_expired()] == [STUDY]
    assert ward.files() == set()
    assert ward.folders() == []
    assert list(keeper.remove_expired()) == []


def test_the_ledger_keeps_what_was_there_and_when_it_went(ward: Ward, clock: Clock) -> None:
    ward.finish()
    clock.advance(10 * DAY_SECONDS)
    list(ward.retention(keep_days=7).remove_expired())
    last = ward.ledger.studies.history(STUDY)[-1]
    assert (last.at, last.stage) == (clock(), "retain")
    assert last.event == "removed from the spool: 3 images, 1 results; finished 10.0 days ago"
    [removal] = ward.ledger.removals.of_study(STUDY)
    assert (removal.began_at, removal.ended_at) == (clock(), clock())
    assert ward.ledger.removals.removed_results_of(f"j{STUDY}") == {f"{STUDY}.9"}
    [result] = ward.ledger.jobs.results_of(f"j{STUDY}")
    assert result.sop_instance_uid == f"{STUDY}.9"
    assert ward.delivery().answer == "0000: stored"


def arriving(ward: Ward) -> None:
    ward.receive()


def waiting_for_its_turn(ward: Ward) -> None:
    ward.receive()
    ward.complete()


def job_queued(ward: Ward) -> None:
    ward.receive()
    ward.queue()


def job_running(ward: Ward) -> None:
    ward.receive()
    ward.ledger.jobs.start(ward.queue())


def delivery_pending(ward: Ward) -> None:
    ward.receive()
    ward.read()


def dead_letter(ward: Ward) -> None:
    ward.receive()
    ward.read()
    ward.ledger.deliveries.failed(ward.delivery(), Failure("StoreRefusedError", "C000"), None)


def nowhere_else(ward: Ward) -> None:
    ward.receive()
    ward.read(destinations=())


def failed_where_only_the_finished_go(ward: Ward) -> None:
    ward.receive()
    ward.fail()


@pytest.mark.parametrize(
    "state",
    [
        arriving,
        waiting_for_its_turn,
        job_queued,
        job_running,
        delivery_pending,
        dead_letter,
        nowhere_else,
        failed_where_only_the_finished_go,
    ],
)
def test_a_study_stays_for_whatever_is_open(
    ward: Ward, clock: Clock, state: Callable[[Ward], None]
) -> None:
    state(ward)
    before = ward.files()
    clock.advance(1000 * DAY_SECONDS)
    ward.finish(OTHER)
    clock.advance(DAY_SECONDS)
    removed = list(ward.retention(keep_days=1, max_spool_bytes=1).remove_expired())
    assert [each.study.study_instance_uid for each in removed] == [OTHER]
    assert ward.files() == before


def test_a_study_stays_while_its_association_is_open(ward: Ward, clock: Clock) -> None:
    ward.finish()
    clock.advance(DAY_SECONDS)
    assert list(ward.retention(frozenset({STUDY}), keep_days=1).remove_expired()) == []
    assert len(list(ward.retention(keep_days=1).remove_expired())) == 1


def test_what_is_sent_again_is_not_removed_meanwhile(ward: Ward, clock: Clock) -> None:
    """Were it removed when half of it has come again, the other half would be read alone."""
    ward.finish()
    clock.advance(10 * DAY_SECONDS)
    ward.receive(images=1)
    clock.advance(QUIET_SECONDS - 1)
    full = {"keep_days": 0, "max_spool_bytes": 1}
    assert list(ward.retention(**full).remove_expired()) == []
    clock.advance(1)
    assert len(list(ward.retention(**full).remove_expired())) == 1


def test_a_failed_study_has_days_of_its_own(ward: Ward, clock: Clock) -> None:
    ward.receive()
    ward.fail()
    clock.advance(30 * DAY_SECONDS)
    assert list(ward.retention(keep_days=1, keep_failed_days=31).remove_expired()) == []
    [gone] = ward.retention(keep_failed_days=30).remove_expired()
    assert gone.reason == "finished with a failure 30.0 days ago"


def test_a_message_is_no_copy_of_a_result(ward: Ward, clock: Clock) -> None:
    ward.receive()
    ward.read(destinations=("ris",))
    ward.deliver()
    clock.advance(2 * DAY_SECONDS)
    assert list(ward.retention(keep_days=1).remove_expired()) == []
    assert len(ward.files()) == 4


def test_a_study_that_no_model_wanted_goes_too(ward: Ward, clock: Clock) -> None:
    ward.receive()
    ward.complete()
    ward.ledger.studies.record_decision(STUDY, 1, {}, [])
    clock.advance(DAY_SECONDS)
    assert len(list(ward.retention(keep_days=1).remove_expired())) == 1


def finished(study: str, at: float = 0.0, failed: bool = False) -> FinishedStudy:
    return FinishedStudy(study, at, failed, 1, 10)


def test_a_full_spool_gives_up_the_oldest_and_no_more_than_it_must(ward: Ward) -> None:
    studies = (finished("a"), finished("b", failed=True), finished("c"), finished("d"))
    sizes = {"a": 10, "b": 10, "c": 10, "d": 10}
    limit = ward.settings(max_spool_bytes=35)
    chosen = choose(studies, sizes, 50, limit, now=0.0)
    assert [each.study.study_instance_uid for each in chosen] == ["a", "c"]
    assert choose(studies, sizes, 35, limit, now=0.0) == ()


def test_what_goes_by_its_days_makes_room_first(ward: Ward) -> None:
    studies = (finished("a", at=0.0), finished("b", at=DAY_SECONDS))
    both = ward.settings(keep_days=1, max_spool_bytes=10)
    chosen = choose(studies, {"a": 10, "b": 10}, 20, both, now=1.5 * DAY_SECONDS)
    assert [each.study.study_instance_uid for each in chosen] == ["a"]


def test_the_size_is_that_of_images_and_results(ward: Ward) -> None:
    ward.finish()
    images = sum(len(data_set(STUDY, number)) for number in range(3))
    assert ward.retention(keep_days=1).outlook().used_bytes == images + len(b"a result")


def test_a_study_that_comes_again_is_new(ward: Ward, clock: Clock) -> None:
    first = ward.finish()
    clock.advance(DAY_SECONDS)
    list(ward.retention(keep_days=1).remove_expired())
    again = ward.receive()
    assert [each.path for each in again] == [each.path for each in first]
    record = ward.ledger.studies.get(STUDY)
    assert (record.generation, record.state) == (2, "arriving")
    assert len(ward.ledger.studies.instances_of(STUDY, 2)) == 3


def test_a_job_whose_images_are_gone_is_not_tried_again(ward: Ward, clock: Clock) -> None:
    ward.finish()
    clock.advance(DAY_SECONDS)
    list(ward.retention(keep_days=1).remove_expired())
    with pytest.raises(LedgerError, match=f"images of job j{STUDY} were removed") as caught:
        ward.ledger.jobs.retry(f"j{STUDY}")
    assert "send the study again" in caught.value.hint


class PowerCutError(Exception):
    """The process ends here."""


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets so many files be removed; the next one is one too many."""
    left = [1000]
    unlink = Path.unlink

    def counted(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".dcm":
            if not left[0]:
                raise PowerCutError
            left[0] -= 1
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", counted)
    return left


@pytest.mark.parametrize("removed", range(4))
def test_no_file_is_missing_that_the_ledger_counts_on(
    ward: Ward, clock: Clock, power: list[int], removed: int
) -> None:
    """Cut short after any number of files, it goes on where it was."""
    ward.finish()
    stays = ward.finish(OTHER)
    clock.advance(DAY_SECONDS)
    ward.receive(OTHER, images=1)
    keeper = ward.retention(keep_days=1)
    power[0] = removed
    with pytest.raises(PowerCutError):
        list(keeper.remove_expired())
    assert len(ward.files()) == 8 - removed
    assert ward.counted_on() == {each.path for each in stays}
    assert ward.counted_on() <= ward.files()
    power[0] = 1000
    keeper.resume()
    assert ward.files() - ward.counted_on() == {
        ward.spool.results_folder / f"j{OTHER}/{OTHER}.9.dcm"
    }
    assert ward.ledger.removals.unfinished() == ()


def test_an_image_that_came_again_before_the_rest_was_removed_stays(
    ward: Ward, clock: Clock, power: list[int]
) -> None:
    ward.finish()
    clock.advance(DAY_SECONDS)
    keeper = ward.retention(keep_days=1)
    power[0] = 1
    with pytest.raises(PowerCutError):
        list(keeper.remove_expired())
    again = ward.receive(images=2)
    power[0] = 1000
    keeper.resume()
    assert ward.files() == {each.path for each in again}


def test_what_no_book_names_goes_with_its_study(ward: Ward, clock: Clock) -> None:
    """A crash came after the file was written and before it was noted."""
    first, *_ = ward.finish()
    for folder in (first.path.parent, ward.spool.results_folder / f"j{STUDY}"):
        (folder / "1.9.9.dcm").write_bytes(b"never noted")
    clock.advance(DAY_SECONDS)
    list(ward.retention(keep_days=1).remove_expired())
    assert ward.folders() == []


def test_a_file_that_cannot_be_removed_is_an_error_and_tried_again(
    ward: Ward, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.finish()
    clock.advance(DAY_SECONDS)
    keeper = ward.retention(keep_days=1)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path), missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(StorageError, match=r"cannot remove .*dcm: Permission denied"):
            list(keeper.remove_expired())
    assert len(ward.ledger.removals.unfinished()) == 1
    assert list(keeper.remove_expired()) == []
    assert ward.files() == set()


def test_a_study_that_somebody_adds_to_is_left_for_the_next_time(ward: Ward, clock: Clock) -> None:
    ward.finish()
    clock.advance(DAY_SECONDS)
    keeper = ward.retention(keep_days=1)
    with Spool(ward.spool.path, 0, in_use=True).study_locks.adding(STUDY):
        assert list(keeper.remove_expired()) == []
    assert len(list(keeper.remove_expired())) == 1


def test_an_image_waits_for_the_removal_of_its_study(
    ward: Ward, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would find the old file there, and lose it."""
    ward.finish()
    clock.advance(DAY_SECONDS)
    sender = threading.Thread(target=ward.receive, kwargs={"images": 1})
    remove = module._remove_files

    def meet_a_sender(paths: list[Path]) -> None:
        sender.start()
        sender.join(0.3)
        assert sender.is_alive()
        remove(paths)

    monkeypatch.setattr(module, "_remove_files", meet_a_sender)
    list(ward.retention(keep_days=1).remove_expired())
    sender.join(10)
    assert ward.files() == ward.counted_on()
    assert len(ward.files()) == 1


def test_a_gateway_that_keeps_everything_ends_what_was_begun(ward: Ward, power: list[int]) -> None:
    ward.finish()
    ward.clock.advance(DAY_SECONDS)
    power[0] = 0
    with pytest.raises(PowerCutError):
        list(ward.retention(keep_days=1).remove_expired())
    power[0] = 1000
    thread = RetentionThread(ward.retention(), ward.settings())
    thread.start()
    thread.stop(10)
    assert ward.ledger.removals.unfinished() == ()
    assert ward.files() == set()
