"""A whole gateway in this process, with what a test needs to talk to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydicom import Dataset, dcmread

from tiny_model import TinyModel
from wetread.config import Config, parse_config
from wetread.dicom.network import Peer, open_association
from wetread.ledger import DeliveryRecord, DeliveryState, JobRecord, JobState
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool, SpooledFile
from wetread.service import Service
from wetread.study import ReceivedInstance

CALLER = "CT_ROOM1"
Found = TypeVar("Found")


def eventually(look: Callable[[], Found | None], seconds: float = 15.0) -> Found:
    """What `look` gives once it gives something; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def settings(
    folder: Path, tiny: TinyModel, destinations: dict[str, dict[str, Any]], **changes: Any
) -> Config:
    """A gateway with the tiny model, quick to decide; every CT goes to every destination."""
    served = {"backend": "triton", "triton_url": tiny.triton_url} if tiny.triton_url else {}
    document = {
        "listener": {"port": 0, "accept_calling_ae_titles": [CALLER]},
        "spool": {"path": str(folder / "spool"), "min_free_bytes": 0},
        "assembly": {"series_quiet_seconds": 0.3},
        "model_repository": str(tiny.repository),
        "models": {"tiny": {"bundle": str(tiny.bundle), **served}},
        "destinations": destinations,
        "rules": [
            {
                "name": "every CT",
                "when": {"modality": "CT"},
                "run": ["tiny"],
                "send_results_to": list(destinations),
            }
        ],
        **changes,
    }
    return parse_config(document, source=folder / "wetread.toml")


def send(paths: Sequence[Path], port: int, caller: str = CALLER) -> None:
    """C-STORE files in one association; each must be answered with success."""
    peer = Peer("gateway", "127.0.0.1", port, "WETREAD", caller)
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    contexts = {(each.SOPClassUID, each.file_meta.TransferSyntaxUID) for each in headers}
    proposed = [(str(name), [str(syntax)]) for name, syntax in sorted(contexts)]
    with open_association(peer, proposed) as association:
        for path in paths:
            answer = association.send_c_store(path)
            assert answer.get("Status") == 0, (path, answer)


@dataclass
class Gateway:
    """A running service."""

    service: Service

    def send(self, paths: Sequence[Path]) -> None:
        send(paths, self.service.listener.port)

    def job(self, study: str, state: JobState = JobState.DONE, attempt: int = 1) -> JobRecord:
        """The newest job of a study, once it is in `state`."""
        return eventually(lambda: self._job(study, state, attempt))

    def _job(self, study: str, state: JobState, attempt: int) -> JobRecord | None:
        jobs = self.service.ledger.jobs.list(study=study)
        fits = jobs and jobs[0].state == state and jobs[0].attempt == attempt
        return jobs[0] if fits else None

    def deliveries(
        self, job_id: str, state: DeliveryState = DeliveryState.DELIVERED, attempt: int = 1
    ) -> list[DeliveryRecord]:
        """The deliveries of a job's attempt, once there are some and all are in `state`."""

        def look() -> list[DeliveryRecord] | None:
            ledger = self.service.ledger
            written = {
                each.sop_instance_uid
                for each in ledger.jobs.results_of(job_id)
                if each.attempt == attempt
            }
            found = [
                each
                for each in ledger.deliveries.list(job_id=job_id)
                if each.sop_instance_uid in written
            ]
            return found if found and all(each.state == state for each in found) else None

        return eventually(look)


@contextmanager
def running_gateway(config: Config) -> Iterator[Gateway]:
    """The service, started and at the end stopped."""
    with Service(config) as service:
        yield Gateway(service)


class ReceivingAE:
    """A PACS of our own that counts what it gets."""

    title = "PACS"

    def __init__(self, folder: Path) -> None:
        from wetread.config import ListenerConfig

        self.stores: list[tuple[str, str]] = []
        self.files: dict[str, Path] = {}
        self.before_answering: Callable[[], None] = lambda: None
        config = ListenerConfig(ae_title=self.title, port=0, accept_calling_ae_titles=("*",))
        self._listener = Listener(config, Spool(folder, 0), self._record)

    def _record(self, instance: ReceivedInstance, spooled: SpooledFile) -> None:
        self.stores.append((instance.sop_instance_uid, spooled.sha256))
        self.files[instance.sop_instance_uid] = spooled.path
        self.before_answering()

    def __enter__(self) -> ReceivingAE:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()

    @property
    def destination(self) -> dict[str, Any]:
        """Its table under [destinations]."""
        return {
            "kind": "dicom",
            "host": "127.0.0.1",
            "port": self._listener.port,
            "called_ae_title": self.title,
        }

    def objects(self) -> dict[str, Dataset]:
        """What it has, by modality."""
        found = [dcmread(path) for path in self.files.values()]
        return {str(each.Modality): each for each in found}
