"""When a process is killed: at every boundary between steps, and whenever chance wants it."""

from __future__ import annotations

import random
from collections.abc import Callable

from faults.ward import Ward
from phantom import PhantomSeries

Look = Callable[[Ward, PhantomSeries], bool]


def _at(stage: str) -> Look:
    return lambda ward, study: ward.stage(study) == stage


MOMENTS: dict[str, Look] = {
    "images arrive": _at("arriving"),
    "the study is complete": _at("complete"),
    "the job waits": _at("job queued"),
    "the job runs": _at("job running"),
    "a result lies in the spool, the job still runs": lambda ward, study: any(
        ward.result_files(study)
    ),
    "results wait for delivery": _at("0 of 3 delivered"),
    "one of three is delivered": _at("1 of 3 delivered"),
    "two of three are delivered": _at("2 of 3 delivered"),
    "everything is delivered": _at("3 of 3 delivered"),
}


def random_kill(ward: Ward, moments: random.Random, usual_seconds: float) -> str:
    """Start what does not run, send a study, and kill one process within the time that it takes.

    Gives how far the study had come.
    """
    ward.start()
    study = ward.send_a_study()
    ward.gateway.wait_until_it_listens()
    moments.choice(ward.processes).kill_after(moments.uniform(0.0, usual_seconds))
    return ward.stage(study)
