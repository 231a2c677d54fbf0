"""Traces of a running gateway at a real receiver, which is away at first and busy then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import REGISTRY
from pydicom import dcmread

from gateway import Gateway, ReceivingAE, eventually, running_gateway, settings
from network.neighbours import free_port
from otlp import Receiver, receiving, value_of
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from wetread.audit import events
from wetread.config import Config
from wetread.ledger import DeliveryState, JobRecord, JobState, Ledger, ledger_url

pytestmark = pytest.mark.timeout(90)
STEPS = ["load", "preprocess", "forward", "postprocess", "encode"]


@dataclass
class Told:
    """A study that went well but for a dead destination, a study with a gap, and what came."""

    good: PhantomSeries
    gap: PhantomSeries
    config: Config
    receiver: Receiver

    def spans(self, series: PhantomSeries) -> list[Span]:
        """Those of one study, the root first."""
        every = self.receiver.spans()
        uid = series.study_instance_uid
        [root] = [each for each in every if value_of(each, "wetread.study_instance_uid") == uid]
        return [root, *(e for e in every if e.trace_id == root.trace_id and e is not root)]


def failures() -> float:
    labels = {"stage": "traces", "error": "destination_unavailable"}
    return REGISTRY.get_sample_value("wetread_failures_total", labels) or 0.0


def look_at(gateway: Gateway, study: str) -> None:
    """Something more in the trail of a study whose trace is out."""
    gateway.service.ledger.trail.record(events.asked("wait no longer", "study", study, study))


def follow_to_the_end(gateway: Gateway, receiver: Receiver) -> None:
    trail = gateway.service.ledger.trail
    eventually(lambda: not trail.waiting(f"traces {receiver.endpoint}"))


def run_both(gateway: Gateway, good: PhantomSeries, gap: PhantomSeries) -> None:
    """Everything happens, whatever becomes of the traces."""
    gateway.send([*good.paths, *gap.paths])
    job = gateway.job(good.study_instance_uid)
    gateway.job(gap.study_instance_uid, JobState.FAILED)
    book = gateway.service.ledger.deliveries
    ended = [DeliveryState.DELIVERED] * 3 + [DeliveryState.DEAD] * 3
    eventually(
        lambda: Counter(each.state for each in book.list(job_id=job.job_id)) == Counter(ended)
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tiny_ct: TinyModel) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("traces")
    good = write_series(folder / "good", shape=(6, 16, 16), seed="good")
    gap = write_series(folder / "gap", shape=(6, 16, 16), seed="gap", fault="gap")
    port = free_port()
    dead = {"kind": "dicom", "host": "127.0.0.1", "port": free_port(), "called_ae_title": "NOBODY"}
    dead |= {"first_retry_seconds": 0.2, "max_retry_seconds": 0.4, "max_attempts": 2}
    traces = {"endpoint": f"http://127.0.0.1:{port}", "retry_seconds": 0.2}
    with ReceivingAE(folder / "pacs") as pacs:
        destinations = {"pacs": pacs.destination, "dead": dead}
        config = settings(folder, tiny_ct, destinations, traces=traces)
        before = failures()
        with running_gateway(config) as gateway:
            run_both(gateway, good, gap)
            eventually(lambda: failures() > before)
        with receiving(port) as receiver:
            receiver.status = 503
            for _ in range(2):
                with running_gateway(config) as gateway:
                    eventually(lambda: receiver.refused)
                    receiver.status = 200
                    follow_to_the_end(gateway, receiver)
                    look_at(gateway, good.study_instance_uid)
                    follow_to_the_end(gateway, receiver)
            yield Told(good, gap, config, receiver)


def kept(told: Told, series: PhantomSeries) -> JobRecord:
    with closing(Ledger(ledger_url(told.config))) as ledger:
        [job] = ledger.jobs.list(study=series.study_instance_uid)
        return job


def test_each_study_is_one_trace_although_the_collector_was_away(told: Told) -> None:
    spans = told.receiver.spans()
    assert len({each.span_id for each in spans}) == len(spans)
    assert Counter(each.name for each in spans if not each.parent_span_id) == {"study": 2}
    assert len({each.trace_id for each in spans}) == 2
    names = Counter(each.name for each in told.spans(told.good))
    assert names == {
        **dict.fromkeys(["study", "receive", "assemble", "route", "job", "queue", "read"], 1),
        **dict.fromkeys(STEPS, 1),
        "deliver": 6,
    }


def test_every_span_lies_within_its_parent(told: Told) -> None:
    spans = {each.span_id: each for each in told.receiver.spans()}
    for each in spans.values():
        assert each.start_time_unix_nano <= each.end_time_unix_nano
        if each.parent_span_id:
            parent = spans[each.parent_span_id]
            assert parent.trace_id == each.trace_id
            assert parent.start_time_unix_nano <= each.start_time_unix_nano
            # The steps of a reading are timed by another clock than it is.
            assert each.end_time_unix_nano <= parent.end_time_unix_nano + 50_000_000


def test_the_times_are_those_of_the_ledger(told: Told) -> None:
    job = kept(told, told.good)
    spans = {each.name: each for each in told.spans(told.good)}
    assert spans["job"].start_time_unix_nano == round(job.created_at * 1e9)
    assert spans["read"].start_time_unix_nano == round(job.started_at * 1e9)
    assert spans["read"].end_time_unix_nano == round(job.finished_at * 1e9)
    steps = [spans[name] for name in STEPS]
    lengths = [(each.end_time_unix_nano - each.start_time_unix_nano) / 1e9 for each in steps]
    assert lengths == pytest.approx([job.seconds[name] for name in STEPS], abs=1e-5)
    for one, next_one in pairwise(steps):
        assert one.end_time_unix_nano == next_one.start_time_unix_nano
    assert value_of(spans["study"], "wetread.instances") == 6
    assert value_of(spans["job"], "wetread.model") == "tiny"
    assert value_of(spans["job"], "wetread.rule") == "every CT"


def test_a_dead_destination_is_an_error_of_its_deliveries_alone(told: Told) -> None:
    spans = told.spans(told.good)
    seen = Counter(
        (
            value_of(each, "wetread.destination"),
            each.status.code,
            value_of(each, "error.type"),
            value_of(each, "wetread.attempts"),
        )
        for each in spans
        if each.name == "deliver"
    )
    error = "DestinationUnavailableError"
    assert seen == {("pacs", 0, None, 1): 3, ("dead", 2, error, 2): 3}
    wrong = {each.name for each in spans if each.status.code == 2}
    assert wrong == {"study", "deliver"}


def test_a_failed_job_names_the_class_of_its_error_and_no_step(told: Told) -> None:
    spans = {each.name: each for each in told.spans(told.gap)}
    assert set(spans) == {"study", "receive", "assemble", "route", "job", "queue", "read"}
    for name in ("study", "job", "read"):
        assert (spans[name].status.code, spans[name].status.message) == (2, "GeometryError")
    assert value_of(spans["job"], "wetread.state") == "failed"


def test_nothing_of_the_patient_is_in_what_was_sent(told: Told) -> None:
    sent = b"".join(told.receiver.taken)
    assert told.good.study_instance_uid.encode() in sent
    patient = dcmread(told.good.paths[0], stop_before_pixels=True)
    for value in (str(patient.PatientID), *str(patient.PatientName).split("^")):
        assert value
        assert value.encode() not in sent
    assert b"gap of" not in sent
    assert str(told.config.spool.path).encode() not in sent
