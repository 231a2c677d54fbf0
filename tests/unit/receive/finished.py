"""A spool and a ledger with studies that were read and delivered, as far as a test wants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conftest import Clock
from wetread.config import Config, RetentionConfig, parse_config
from wetread.ledger import DeliveryRecord, Failure, JobRecord, Ledger, NewJob, ResultRecord
from wetread.receive.accept import Arrival, Intake
from wetread.receive.retention import Retention
from wetread.receive.spool import Spool
from wetread.study import Completion, ReceivedInstance

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
STUDY = "1.2.3"
QUIET_SECONDS = 120.0


def element(group: int, number: int, vr: str, text: str) -> bytes:
    value = text.encode() + (b"\0" if len(text) % 2 else b"")
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr.encode()
    return head + len(value).to_bytes(2, "little") + value


def data_set(study: str, number: int) -> bytes:
    """The least that names an instance, in explicit little endian."""
    return b"".join(
        (
            element(0x0008, 0x0016, "UI", CT),
            element(0x0008, 0x0018, "UI", f"{study}.1.{number}"),
            element(0x0008, 0x0060, "CS", "CT"),
            element(0x0020, 0x000D, "UI", study),
            element(0x0020, 0x000E, "UI", f"{study}.1"),
        )
    )


@dataclass
class Ward:
    """What a gateway has on its disk."""

    spool: Spool
    ledger: Ledger
    clock: Clock

    @classmethod
    def on(cls, folder: Path, ledger: Ledger, clock: Clock) -> Ward:
        return cls(Spool(folder / "spool", 0), ledger, clock)

    def config(self, **retention: object) -> Config:
        return parse_config(
            {
                "retention": retention,
                "destinations": {"ris": {"kind": "hl7", "host": "ris", "port": 2575}},
                "spool": {"path": str(self.spool.path)},
                "assembly": {"study_quiet_seconds": QUIET_SECONDS},
            }
        )

    def retention(self, open_studies: frozenset[str] = frozenset(), **set_to: object) -> Retention:
        where = (self.ledger, self.spool, lambda: open_studies, self.clock)
        return Retention(self.config(**set_to), *where)

    def settings(self, **retention: object) -> RetentionConfig:
        return self.config(**retention).retention

    def receive(self, study: str = STUDY, images: int = 3) -> list[ReceivedInstance]:
        """As a sender brings it; the file of each, as it is recorded."""
        intake = Intake(self.spool, self._record, lambda: datetime.fromtimestamp(self.clock(), UTC))
        return [self._accept(intake, study, number) for number in range(images)]

    def _accept(self, intake: Intake, study: str, number: int) -> ReceivedInstance:
        with self.spool.new_body() as body:
            body.write(data_set(study, number))
            return intake.accept(
                body, Arrival("CT_ROOM1", "WETREAD", EXPLICIT, CT, f"{study}.1.{number}")
            )

    def _record(self, instance: ReceivedInstance, spooled: object) -> None:
        self.ledger.studies.record_instance(
            instance, sha256=spooled.sha256, size_bytes=spooled.size_bytes
        )

    def complete(self, study: str = STUDY, generation: int = 1) -> None:
        done = Completion("quiet", 0.0, datetime.fromtimestamp(self.clock(), UTC))
        self.ledger.studies.mark_complete(study, generation, done)

    def queue(self, study: str = STUDY) -> JobRecord:
        self.complete(study)
        job = NewJob(f"j{study}", f"{study}.1", "rule", "brain", ("pacs",), 100)
        self.ledger.studies.record_decision(study, 1, {}, [job])
        return self.ledger.jobs.get(job.job_id)

    def read(self, study: str = STUDY, destinations: tuple[str, ...] = ("pacs",)) -> None:
        """Read, with a result in the spool; to be delivered there."""
        job = self.queue(study)
        self.ledger.jobs.start(job)
        path = self.spool.results_folder / job.job_id / f"{study}.9.dcm"
        path.parent.mkdir()
        path.write_bytes(b"a result")
        written = ResultRecord(
            f"{study}.9", job.job_id, 1, 1, "SEG", "1.2", study, f"{study}.1", f"{study}.8",
            "brain", path, "0", job.created_at,
        )  # fmt: skip
        kinds = dict.fromkeys(destinations, ("SEG",))
        self.ledger.jobs.finish(job, "Brain 1.0 mL", {}, [written], kinds)

    def fail(self, study: str = STUDY) -> None:
        job = self.queue(study)
        self.ledger.jobs.start(job)
        self.ledger.jobs.fail(job, Failure("GeometryError", "gap of 10 mm"))

    def delivery(self, study: str = STUDY) -> DeliveryRecord:
        [found] = self.ledger.deliveries.list(job_id=f"j{study}")
        return found

    def deliver(self, study: str = STUDY) -> None:
        self.ledger.deliveries.delivered(self.delivery(study), "0000: stored")

    def finish(self, study: str = STUDY) -> list[ReceivedInstance]:
        """Received, read and delivered now."""
        found = self.receive(study)
        self.read(study)
        self.deliver(study)
        return found

    def files(self) -> set[Path]:
        """Every file of a study or a job."""
        folders = (self.spool.received_folder, self.spool.results_folder)
        return {path for folder in folders for path in folder.rglob("*") if path.is_file()}

    def folders(self) -> list[Path]:
        """Every folder of a study or a job."""
        return [
            *self.spool.received_folder.iterdir(),
            *self.spool.results_folder.iterdir(),
        ]

    def counted_on(self) -> set[Path]:
        """The images that the ledger says are there."""
        studies = {each.study_instance_uid for each in self.ledger.studies.newest(100)}
        return set().union(*map(self.ledger.removals.recorded_paths, studies))
