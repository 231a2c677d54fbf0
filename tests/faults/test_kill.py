"""A gateway that is killed at any moment, started again, ends with one result of each study."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.moments import MOMENTS, random_kill
from faults.ward import Ward, ward_in
from tiny_model import TinyModel

# `make faults` does hundreds, at every moment and on both databases.
KILLS = 3
SOME = [
    "images arrive",
    "the job runs",
    "a result lies in the spool, the job still runs",
    "results wait for delivery",
    "one of three is delivered",
]


@pytest.fixture(params=["sqlite", "postgresql"])
def ward(request: pytest.FixtureRequest, tmp_path: Path, tiny_ct: TinyModel) -> Iterator[Ward]:
    shared = request.param == "postgresql"
    database = request.getfixturevalue("postgres").new_database() if shared else ""
    with ward_in(tmp_path, tiny_ct, database=database) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_random_kills_lose_nothing_and_double_nothing(ward: Ward) -> None:
    """Each kill comes at any time that a study takes, into whatever all studies so far are at."""
    moments = random.Random(20251125)  # noqa: S311 - no secret
    usual_seconds = ward.read_a_study()
    killed_at = [random_kill(ward, moments, usual_seconds) for _ in range(KILLS)]
    ward.finish()
    assert len(set(killed_at)) >= 2, killed_at
    ward.check()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", SOME)
@pytest.mark.parametrize("ward", ["sqlite"], indirect=True)
def test_a_kill_just_when(ward: Ward, moment: str) -> None:
    ward.start()
    study = ward.send_a_study()
    ward.gateway.kill_when(lambda: MOMENTS[moment](ward, study))
    ward.finish()
    ward.check()


@pytest.mark.timeout(120)
def test_an_object_that_was_sent_but_not_answered_is_sent_again_unchanged(ward: Ward) -> None:
    """The destination has the first object when the gateway dies, and gets it twice."""
    killed = threading.Event()

    def kill_once() -> None:
        if not killed.is_set():
            ward.gateway.kill()
            killed.set()

    ward.pacs.before_answering = kill_once
    ward.start()
    ward.send_a_study()
    assert killed.wait(60)
    ward.finish()
    ward.check()
    times = Counter(uid for uid, _ in ward.pacs.stores)
    assert times[ward.pacs.stores[0][0]] == 2
