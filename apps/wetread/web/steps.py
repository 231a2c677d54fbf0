"""A study's five steps, each with how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wetread.web.queries import StudyDetails
from wetread.web.views import DeliveryRow, JobRow


@dataclass(frozen=True, slots=True)
class Step:
    """`tone`: `good`, `busy`, `bad`, or `` as long as nothing of it has begun."""

    name: str
    tone: str
    words: str
    at: datetime | None = None


def steps_of(found: StudyDetails) -> tuple[Step, ...]:
    """Received, complete, routed, read, delivered: of the newest generation."""
    study = found.study
    jobs = [each for each in found.jobs if each.generation == study.generation]
    ids = {each.job_id for each in jobs}
    deliveries = [each for each in found.deliveries if each.job_id in ids]
    images = found.images.get(study.generation, 0)
    received = Step("Received", "good", f"{images} images", study.first_received_at)
    if study.state == "arriving":
        return (received, Step("Complete", "busy", "waits for more"), *_later("Routed"))
    complete = Step("Complete", "good", study.why, study.completed_at)
    if study.state == "failed":
        return (received, complete, Step("Routed", "bad", "failed"), *_later("Read"))
    if study.state == "complete":
        return (received, complete, Step("Routed", "busy", "is being looked at"), *_later("Read"))
    if not jobs:
        return (received, complete, Step("Routed", "good", "to no model"))
    models = ", ".join(dict.fromkeys(each.model for each in jobs))
    routed = Step("Routed", "good", f"to {models}")
    return (received, complete, routed, _read(jobs), _delivered(jobs, deliveries))


def _later(first: str) -> tuple[Step, ...]:
    names = ["Routed", "Read", "Delivered"]
    return tuple(Step(name, "", "") for name in names[names.index(first) :])


def _read(jobs: list[JobRow]) -> Step:
    states = [each.state for each in jobs]
    words = f"{states.count('done')} of {len(jobs)}"
    ended = max((each.finished_at for each in jobs if each.finished_at), default=None)
    if "failed" in states:
        return Step("Read", "bad", f"{words}, {states.count('failed')} failed")
    if "running" in states or "queued" in states:
        return Step("Read", "busy", words)
    return Step("Read", "good" if "done" in states else "", words, ended)


def _delivered(jobs: list[JobRow], deliveries: list[DeliveryRow]) -> Step:
    counted = [each for each in deliveries if each.state != "cancelled"]
    states = [each.state for each in counted]
    words = f"{states.count('delivered')} of {len(counted)}"
    if "dead" in states:
        return Step("Delivered", "bad", f"{words}, {states.count('dead')} dead")
    if "pending" in states:
        return Step("Delivered", "busy", words)
    if not counted:
        return Step(
            "Delivered", "", "" if any(not each.destinations for each in jobs) else "nothing yet"
        )
    last = max((each.delivered_at for each in counted if each.delivered_at), default=None)
    return Step("Delivered", "good", words, last)
