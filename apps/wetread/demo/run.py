"""The demo itself. A small receiving AE stands for the PACS.

The study is sent to a gateway by C-STORE, read, and its results come back to that AE.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import highdicom
import numpy as np

from wetread.config import (
    AssemblyConfig,
    Conditions,
    Config,
    DicomDestination,
    EmbeddedModel,
    ListenerConfig,
    Rule,
    SpoolConfig,
)
from wetread.demo.head import write_head_series
from wetread.demo.stages import say, stage, tick
from wetread.dicom.files import find_instances, unpacked
from wetread.dicom.network import Peer, open_association
from wetread.dicom.volume import load_volume
from wetread.errors import ConfigError, InputError, WetreadError
from wetread.infer.base import no_progress
from wetread.ledger import DeliveryState, JobRecord, JobState, StudyState
from wetread.models.export import build_models
from wetread.page import PageFacts, write_page
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool
from wetread.service import Service
from wetread.study import ReceivedInstance, Series

MODEL = "brain_mr_extraction"
PACS, SCANNER = "DEMO_PACS", "DEMO_MR"
PATIENCE_SECONDS = 280.0
_POLL_SECONDS = 0.05
_QUIET_SECONDS = 0.5
# What a run leaves behind and the next one removes, but only where this file says whose it is.
_LEFT_BEHIND = ("spool", "pacs", "study")
_MARK = ".wetread-demo"
_NEXT = """\
Not for diagnostic use. To read your own studies: copy deploy/wetread.toml, name your scanners
under [listener] and your PACS under [destinations], then
  wetread check config && wetread check destination pacs && wetread serve"""

Found = TypeVar("Found")


def run_demo(
    *, study: Path | None, head: Path, output: Path, bundles: Path, repository: Path
) -> None:
    """Run the loop and write everything under `output`. Raises WetreadError where it breaks."""
    with ExitStack() as stack:
        given = None if study is None else _one_study(stack.enter_context(unpacked(study)))
        _clear(output, given or ())
        with stage("networks built and checked"):
            build_models(bundles / MODEL, repository, no_progress)
        if given is None:
            with stage(f"Colin27 head written as an MR series to {output / 'study'}"):
                write_head_series(head, output / "study")
        instances = given or _one_study(output / "study")
        pool = stack.enter_context(ThreadPoolExecutor(1))
        with ExitStack() as running:
            pacs = _Pacs(output / "pacs")
            running.callback(pacs.stop)
            config = _config(output / "spool", pacs.port, bundles, repository)
            service = running.enter_context(Service(config))
            with stage(f"{len(instances)} instances sent by C-STORE to {config.listener.ae_title}"):
                _send(instances, service.listener.port)
            job = _follow(service, instances[0].study_instance_uid)
            objects = _named(output, _delivered(service, job, pacs))
            # The page is drawn while the gateway stops.
            page = pool.submit(_write_page, output / "index.html", instances, job, objects)
        with stage("gateway stopped, page written"):
            page.result()
    _say_results(output, job, objects)


def _clear(output: Path, given: Sequence[ReceivedInstance]) -> None:
    """Remove what an earlier demo wrote, and nothing else.

    Raises ConfigError if the folder holds something of another origin, or the study to be sent.
    """
    stale = [output / name for name in _LEFT_BEHIND if (output / name).exists()]
    hint = "give another folder with --output"
    if stale and not (output / _MARK).is_file():
        raise ConfigError(f"{stale[0]} was not made by the demo", hint=hint)
    if given and given[0].path.resolve().is_relative_to(output.resolve()):
        raise ConfigError(f"the study lies in {output}, which the demo clears", hint=hint)
    for folder in stale:
        shutil.rmtree(folder)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / _MARK).touch()
    except OSError as error:
        raise ConfigError(f"cannot write to {output}: {error.strerror}", hint=hint) from error


class _Pacs:
    """A receiving AE that keeps what it gets."""

    def __init__(self, folder: Path) -> None:
        self.received: dict[str, ReceivedInstance] = {}
        config = ListenerConfig(ae_title=PACS, port=0, accept_calling_ae_titles=("WETREAD",))
        self._listener = Listener(
            config,
            Spool(folder, 0),
            lambda instance, _: self.received.update({instance.sop_instance_uid: instance}),
        )
        self._listener.start()
        self.port = self._listener.port

    def stop(self) -> None:
        self._listener.stop()


def _config(spool: Path, pacs_port: int, bundles: Path, repository: Path) -> Config:
    return Config(
        listener=ListenerConfig(port=0, accept_calling_ae_titles=(SCANNER,)),
        spool=SpoolConfig(path=spool.resolve(), min_free_bytes=0),
        assembly=AssemblyConfig(series_quiet_seconds=_QUIET_SECONDS),
        model_repository=repository.resolve(),
        models={MODEL: EmbeddedModel(bundle=(bundles / MODEL).resolve())},
        destinations={
            "pacs": DicomDestination(
                kind="dicom", host="127.0.0.1", port=pacs_port, called_ae_title=PACS
            )
        },
        rules=(
            Rule(
                name="head MR → brain extraction",
                when=Conditions(modality=("MR",), min_instances=20),
                run=(MODEL,),
                send_results_to=("pacs",),
            ),
        ),
    )


def _one_study(folder: Path) -> tuple[ReceivedInstance, ...]:
    instances = find_instances(folder)
    uids = {instance.study_instance_uid for instance in instances}
    if len(uids) != 1:
        raise InputError(f"{folder} holds {len(uids)} studies", hint="give the folder of one study")
    return instances


def _send(instances: Sequence[ReceivedInstance], port: int) -> None:
    peer = Peer("the gateway", "127.0.0.1", port, "WETREAD", SCANNER)
    contexts = sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in instances})
    with open_association(peer, [(name, [syntax]) for name, syntax in contexts]) as association:
        for instance in instances:
            answer = association.send_c_store(instance.path)
            if answer.get("Status") != 0:
                status = answer.get("Status")
                shown = "no answer" if status is None else f"status {status:04X}"
                raise WetreadError(
                    f"{instance.path.name} was not taken: {shown}", hint="see demo.log"
                )


def _wait_for(look: Callable[[], Found | None], missing: str, hint: str) -> Found:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(_POLL_SECONDS)
    raise WetreadError(f"{missing} after {PATIENCE_SECONDS:.0f} s", hint=hint)


def _follow(service: Service, study_instance_uid: str) -> JobRecord:
    """Show each stage as the ledger has it, until the job has ended."""
    started = time.perf_counter()
    hint = "is this machine very busy? try again"
    waited = _wait_for(lambda: _routed(service, study_instance_uid), "not routed", hint)
    tick("routed, with a reason for every condition", time.perf_counter() - started - waited)
    if not service.ledger.jobs.list(study=study_instance_uid):
        raise WetreadError(
            "no series met the demo's rule", hint="it wants MR with at least 20 images"
        )
    jobs = _wait_for(lambda: _ended(service, study_instance_uid), "not read", hint)
    done = [job for job in jobs if job.state == JobState.DONE]
    if not done:
        failure = jobs[0].failure
        raise WetreadError(
            failure.message if failure else f"the job is {jobs[0].state}",
            hint=failure.hint if failure else "",
        )
    for step, seconds in done[0].seconds.items():
        tick(f"read: {step}", seconds)
    return done[0]


def _routed(service: Service, study_instance_uid: str) -> float | None:
    """The seconds that the study waited, once it is routed."""
    record = service.ledger.studies.get(study_instance_uid)
    if record.failure is not None:
        raise WetreadError(record.failure.message, hint=record.failure.hint)
    if record.state != StudyState.ROUTED:
        return None
    waited = record.waited_seconds or 0.0
    tick(f"study complete: {record.completion_reason}", waited)
    return waited


def _ended(service: Service, study_instance_uid: str) -> Sequence[JobRecord] | None:
    jobs = service.ledger.jobs.list(study=study_instance_uid)
    is_open = any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in jobs)
    return None if is_open else jobs


@dataclass(frozen=True, slots=True, order=True)
class _Object:
    """One object that the PACS received."""

    kind: str
    path: Path


def _delivered(service: Service, job: JobRecord, pacs: _Pacs) -> list[_Object]:
    def look() -> list[_Object] | None:
        deliveries = service.ledger.deliveries.list(job_id=job.job_id)
        if any(each.state != DeliveryState.DELIVERED for each in deliveries):
            return None
        return [
            _Object(each.kind, pacs.received[each.sop_instance_uid].path) for each in deliveries
        ]

    started = time.perf_counter()
    found = _wait_for(look, "the results were not delivered", "is a firewall on this machine?")
    kinds = ", ".join(each.kind for each in sorted(found))
    tick(f"{kinds} delivered to {PACS}", time.perf_counter() - started)
    return found


def _named(output: Path, received: Sequence[_Object]) -> list[_Object]:
    """The received files under short names, SEG.dcm and so on."""
    named = []
    for each in sorted(received):
        short = output / f"{each.kind}.dcm"
        shutil.copyfile(each.path, short)
        named.append(_Object(each.kind, short))
    return named


def _say_results(output: Path, job: JobRecord, objects: Sequence[_Object]) -> None:
    say()
    say(f"{job.model} found: {job.outcome}")
    for each in objects:
        say(f"  {each.kind:4} {each.path}")
    say(f"  page {output / 'index.html'}")
    say()
    say(_NEXT)


def _write_page(
    page: Path, sent: Sequence[ReceivedInstance], job: JobRecord, objects: Sequence[_Object]
) -> None:
    """What the PACS has now, drawn from the objects it received."""
    read = [each for each in sent if each.series_instance_uid == job.series_instance_uid]
    source = load_volume(Series(job.study_instance_uid, job.series_instance_uid, tuple(read)))
    segs = [each.path for each in objects if each.kind == "SEG"]
    mask, volumes = source.volume.with_array(np.zeros(source.shape, np.uint8)), {}
    model = job.model
    if segs:
        seg = highdicom.seg.segread(segs[0])
        found = seg.get_volume(combine_segments=True)
        mask = found.match_geometry(source.volume)
        volumes = {
            str(item.SegmentLabel): int((found.array == item.SegmentNumber).sum()) * source.voxel_ml
            for item in seg.SegmentSequence
        }
        algorithm = seg.get_segment_description(1).algorithm_identification
        model = f"{model} {algorithm.version}" if algorithm else model
    facts = PageFacts(
        title="wetread demo",
        model=model,
        volumes_ml=volumes,
        seconds=job.seconds,
        files=[(each.kind, each.path) for each in objects],
    )
    write_page(page, source.volume, mask, facts)
