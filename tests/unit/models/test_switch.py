"""A switch that is cut short at any moment leaves one of two whole states, and no mixture."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT
from promotable import NAME, NOW, WIDE, WIDER, Promotable, write_promotable
from wetread.errors import ConfigError, InferenceError, InferenceUnavailableError, StorageError
from wetread.infer.base import no_progress
from wetread.infer.served import JOURNAL, served_state
from wetread.models.candidate import served_identity, served_of
from wetread.models.export import build_models
from wetread.models.history import HISTORY, Action, Entry, read_history
from wetread.models.promote import promote, roll_back
from wetread.models.record import sha256_of
from wetread.models.switch import (
    Change,
    Settled,
    nobody,
    only_promotion,
    remove_leftovers,
    settle,
    switch,
)

pytestmark = pytest.mark.timeout(60)


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def killer(at: str) -> Callable[[str], None]:
    def reached(step: str) -> None:
        if step == at:
            raise Killed

    return reached


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    """Version 0.1.0, built, and a candidate."""
    made = write_promotable(tmp_path_factory.mktemp("before") / "all")
    made.candidate(*WIDE)
    return made


@pytest.fixture(scope="module")
def after(before: Promotable, tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    """The same once the candidate is promoted."""
    made = before.copied_to(tmp_path_factory.mktemp("after") / "all")
    promote(made.proposal(made.bundle.parent.parent / "candidate"), NOW, no_progress)
    return made


def change_of(here: Promotable, after: Promotable) -> Change:
    """The switch from one to the other, without the comparison before it."""
    [entry] = read_history(after.bundle)
    return Change(
        here.bundle,
        here.repository,
        entry,
        files={name: after.bundle / name for name in ("configs/metadata.json", "models/model.pt")},
        versions={NAME: after.repository / NAME / "2"},
        numbers={NAME: "2"},
        is_resealed=True,
    )


def run(here: Promotable, after: Promotable, reached: Callable[[str], None] = nobody) -> None:
    with only_promotion(here.bundle):
        switch(change_of(here, after), reached=reached)


STEPS = (
    "staged",
    "journal",
    f"installed {NAME}",
    "serving",
    "loaded",
    "committed",
    "file configs/metadata.json",
    "file models/model.pt",
    "sealed",
    "reading",
    "recorded",
    "switched",
    "tidied",
)


def test_the_steps_are_those_that_are_tried(
    before: Promotable, after: Promotable, tmp_path: Path
) -> None:
    steps: list[str] = []
    run(before.copied_to(tmp_path / "all"), after, steps.append)
    assert tuple(steps) == STEPS


def is_old(here: Promotable, before: Promotable) -> bool:
    assert here.versions() == ["1"]
    assert read_history(here.bundle) == ()
    return here.files() == before.files()


def is_new(here: Promotable, after: Promotable) -> bool:
    assert here.versions() == ["1", "2"]
    [entry] = read_history(here.bundle)
    assert served_identity(here.bundle, here.repository) == entry.after
    return here.files() == after.files()


def check_whole(here: Promotable) -> None:
    """What is served is what the bundle holds, and nothing lies about."""
    served_of(here.bundle, here.repository)
    assert served_state(here.bundle, here.repository, [NAME]) is not None
    config = (here.repository / NAME / "config.pbtxt").read_text(encoding="utf-8")
    newest = here.repository / NAME / here.versions()[-1] / "model.onnx"
    assert sha256_of(newest) in config


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_after_any_step_leaves_the_old_or_the_new(
    before: Promotable, after: Promotable, tmp_path: Path, step: str
) -> None:
    here = before.copied_to(tmp_path / "all")
    with pytest.raises(Killed):
        run(here, after, killer(step))
    is_between = served_state(here.bundle, here.repository, [NAME]) is None
    assert is_between == (STEPS.index("journal") <= STEPS.index(step) < STEPS.index("switched"))
    settle(here.bundle)
    assert settle(here.bundle) is None
    if STEPS.index(step) < STEPS.index("committed"):
        assert is_old(here, before)
    else:
        assert is_new(here, after)
    check_whole(here)


@pytest.mark.parametrize("step", ["staged", f"installed {NAME}", "file models/model.pt"])
def test_the_next_promotion_settles_what_was_cut_short(
    before: Promotable, after: Promotable, tmp_path: Path, step: str
) -> None:
    here = before.copied_to(tmp_path / "all")
    with pytest.raises(Killed):
        run(here, after, killer(step))
    candidate = here.candidate(*WIDER, "another")
    done = promote(here.proposal(candidate), NOW, no_progress)
    assert done.entry is not None
    assert done.entry.action is Action.PROMOTED
    is_first = STEPS.index(step) < STEPS.index("committed")
    assert [each.number for each in read_history(here.bundle)] == ([1] if is_first else [1, 2])
    assert here.left_aside() == []
    check_whole(here)


@pytest.mark.parametrize("step", STEPS)
def test_a_rollback_that_is_killed_leaves_the_old_or_the_new(
    before: Promotable, after: Promotable, tmp_path: Path, step: str
) -> None:
    here = after.copied_to(tmp_path / "all")
    steps = {name: name for name in STEPS} | {"sealed": "file SHA256SUMS"}
    with pytest.raises(Killed):
        roll_back(here.bundle, here.repository, "me", "", NOW, reached=killer(steps[step]))
    settle(here.bundle)
    if STEPS.index(step) < STEPS.index("committed"):
        assert here.files() == after.files()
        assert here.versions() == ["1", "2"]
    else:
        assert here.files() == before.files()
        assert here.versions() == ["2", "3"]
        former = before.repository / NAME / "1/model.onnx"
        assert sha256_of(here.repository / NAME / "3/model.onnx") == sha256_of(former)
    check_whole(here)


def test_a_rollback_that_was_killed_is_not_followed_by_another(
    before: Promotable, after: Promotable, tmp_path: Path
) -> None:
    """Who asks again gets the one that was asked for."""
    here = after.copied_to(tmp_path / "all")
    promote(here.proposal(here.candidate(*WIDER, "another")), NOW, no_progress)
    with pytest.raises(Killed):
        roll_back(here.bundle, here.repository, "me", "", NOW, reached=killer("committed"))
    entry = roll_back(here.bundle, here.repository, "me", "", NOW)
    assert entry.undoes == 2
    assert here.files() == after.files()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from promotable import NOW, Promotable
from wetread.infer.base import no_progress
from wetread.models.promote import promote

here = Promotable(*map(Path, sys.argv[1:4]))

def reached(step):
    if step == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)

promote(here.proposal(Path(sys.argv[5])), NOW, no_progress, reached=reached)
"""


def test_a_real_kill_leaves_one_of_the_two(
    before: Promotable, after: Promotable, tmp_path: Path
) -> None:
    """SIGKILL to the process that promotes; the lock falls with it."""
    here = before.copied_to(tmp_path / "all")
    places = [here.bundle, here.repository, here.data]
    candidate = here.bundle.parent.parent / "candidate"
    step = "file configs/metadata.json"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, places), step, str(candidate)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (here.bundle / JOURNAL).exists()
    assert str(settle(here.bundle)) == "finished: promoted 1"
    assert is_new(here, after)
    check_whole(here)
    build_models(here.bundle, here.repository, no_progress)
    assert here.versions() == ["1", "2"]


def test_a_server_that_cannot_load_leaves_all_as_it_was(
    before: Promotable, after: Promotable, tmp_path: Path
) -> None:
    """And the servers are asked to load what is there then."""
    here = before.copied_to(tmp_path / "all")
    seen: list[list[str]] = []

    def load(_network: str) -> None:
        seen.append(here.versions())
        raise InferenceUnavailableError("no server", hint="start it")

    with only_promotion(here.bundle), pytest.raises(InferenceUnavailableError, match="no server"):
        switch(change_of(here, after), load)
    assert seen == [["1", "2"], ["1"]]
    assert is_old(here, before)
    assert here.left_aside() == []
    check_whole(here)


def test_a_switch_that_was_cut_short_waits_for_its_servers(
    before: Promotable, after: Promotable, tmp_path: Path
) -> None:
    """Else a gateway could get the new weights from them under the old name."""
    here = before.copied_to(tmp_path / "all")
    with pytest.raises(Killed):
        run(here, after, killer("loaded"))

    def load(_network: str) -> None:
        raise InferenceError("still no server")

    with pytest.raises(InferenceError, match="still no server"):
        settle(here.bundle, load)
    assert served_state(here.bundle, here.repository, [NAME]) is None
    assert str(settle(here.bundle)) == "undone: promoted 1"
    assert is_old(here, before)


def test_a_promotion_under_way_is_left_alone(
    before: Promotable, after: Promotable, tmp_path: Path
) -> None:
    here = before.copied_to(tmp_path / "all")
    found: list[Settled | None] = []

    def look(step: str) -> None:
        if step == "committed":
            found.append(settle(here.bundle))
            with pytest.raises(ConfigError, match=f"another promotion of {NAME} is under way"):
                run(here, after)

    run(here, after, look)
    assert found == [None]
    assert is_new(here, after)


def test_what_was_staged_must_be_what_is_put_in_place(
    before: Promotable, after: Promotable, tmp_path: Path
) -> None:
    here = before.copied_to(tmp_path / "all")
    with pytest.raises(Killed):
        run(here, after, killer("committed"))
    staged = here.bundle / ".promotions/1/after/models/model.pt"
    staged.write_bytes(b"other weights")
    with pytest.raises(StorageError, match=r"after/models/model\.pt is not what was staged"):
        settle(here.bundle)


def test_a_journal_that_cannot_be_read_is_said(before: Promotable, tmp_path: Path) -> None:
    here = before.copied_to(tmp_path / "all")
    (here.bundle / JOURNAL).parent.mkdir()
    (here.bundle / JOURNAL).write_text("{}")
    with pytest.raises(StorageError, match="is no journal of a promotion"):
        settle(here.bundle)


def test_leftovers_are_removed_and_former_states_are_not(after: Promotable, tmp_path: Path) -> None:
    here = after.copied_to(tmp_path / "all")
    promotions = here.bundle / ".promotions"
    (promotions / "7/before").mkdir(parents=True)
    shutil.copytree(promotions / "1", promotions / "8")
    (promotions / "8/after").mkdir()
    (here.repository / f".promotion-{NAME}-7").mkdir()
    remove_leftovers(here.bundle, here.repository)
    assert here.left_aside() == []
    assert {each.name for each in promotions.glob("[0-9]*")} == {"1"}
    (here.bundle / HISTORY).unlink()
    remove_leftovers(here.bundle, here.repository)
    assert (promotions / "1/before/state.json").is_file()


def test_entries_of_a_history_are_read_back(after: Promotable) -> None:
    [entry] = read_history(after.bundle)
    assert isinstance(entry, Entry)
    assert (entry.by, entry.before.version) == ("the tests", "0.1.0")
