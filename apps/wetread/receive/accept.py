"""What happens to every data set that arrives, by whichever door: identify, spool, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from wetread import metrics
from wetread.dicom.network import TRANSFER_SYNTAXES
from wetread.errors import UnsupportedSeriesError, WetreadError, codes_for
from wetread.receive.body import Body
from wetread.receive.header import Identity, identify, part10_header
from wetread.receive.part10 import FileMeta
from wetread.receive.spool import Spool, SpooledFile
from wetread.study import ReceivedInstance

log = structlog.get_logger()

# Of the Defined Terms of Modality (PS3.3 C.7.3.1.1.1); a file may say whatever it likes.
MODALITIES = frozenset(
    [
        *("CR", "CT", "DX", "ES", "GM", "IO", "KO", "MG", "MR", "NM", "OP", "OPT", "OT", "PR"),
        *("PT", "PX", "REG", "RF", "RTDOSE", "RTPLAN", "RTSTRUCT", "SEG", "SM", "SR", "US", "XA"),
    ]
)

Record = Callable[[ReceivedInstance, SpooledFile], None]


def now_utc() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a data set came: who sent it to whom, in which transfer syntax, announced as what.

    `sop_class_uid` and `sop_instance_uid` are those of the command or of the file meta;
    `study_instance_uid` is set where the door is that of one study. Metrics call the caller
    `counted_as`.
    """

    calling_ae_title: str
    called_ae_title: str
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = ""
    counted_as: str = metrics.OTHER


def arrival_of_file(meta: FileMeta, caller: str, study_instance_uid: str = "") -> Arrival:
    """How a DICOM file came that no association announced: by its own file meta information.

    Raises UnsupportedSeriesError for a transfer syntax that the standard does not have.
    """
    if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise UnsupportedSeriesError(
            f"unknown transfer syntax {meta.transfer_syntax_uid}",
            hint="send it in a transfer syntax of PS3.5 Annex A",
        )
    return Arrival(
        calling_ae_title=caller,
        called_ae_title="",
        transfer_syntax_uid=meta.transfer_syntax_uid,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        study_instance_uid=study_instance_uid,
        counted_as=caller,
    )


class Intake:
    """The one path from bytes to a recorded instance."""

    def __init__(self, spool: Spool, record: Record, now: Callable[[], datetime] = now_utc) -> None:
        self.spool = spool
        self._record = record
        self._now = now

    def accept(self, body: Body, arrival: Arrival) -> ReceivedInstance:
        """Spool the data set and record it; on return it is durable and may be acknowledged.

        Raises InputError if the data set does not name itself or is not what was announced,
        StorageError if the spool is full, and whatever `record` raises.
        """
        identity = identify(body, arrival.transfer_syntax_uid)
        _check_announced(identity, arrival)
        header = part10_header(
            sop_class_uid=identity.sop_class_uid,
            sop_instance_uid=identity.uids.sop_instance_uid,
            transfer_syntax_uid=arrival.transfer_syntax_uid,
            source_ae_title=arrival.calling_ae_title,
        )
        # Retention must not remove a file that was found to be there and is not recorded yet.
        with self.spool.study_locks.adding(identity.uids.study_instance_uid):
            spooled = self.spool.store(identity.uids, header, body)
            instance = self._instance(identity, arrival, spooled)
            self._record(instance, spooled)
            # Another machine may have removed the same file before it was recorded.
            self.spool.publish(spooled.path)
        modality = identity.modality if identity.modality in MODALITIES else metrics.OTHER
        metrics.INSTANCES_RECEIVED.labels(arrival.counted_as, modality).inc()
        metrics.RECEIVED_BYTES.labels(arrival.counted_as).inc(body.size_bytes)
        return instance

    def _instance(
        self, identity: Identity, arrival: Arrival, spooled: SpooledFile
    ) -> ReceivedInstance:
        return ReceivedInstance(
            path=spooled.path,
            study_instance_uid=identity.uids.study_instance_uid,
            series_instance_uid=identity.uids.series_instance_uid,
            sop_instance_uid=identity.uids.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            transfer_syntax_uid=arrival.transfer_syntax_uid,
            calling_ae_title=arrival.calling_ae_title,
            called_ae_title=arrival.called_ae_title,
            received_at=self._now(),
        )


def _check_announced(identity: Identity, arrival: Arrival) -> None:
    """PS3.4 B.2.3: a data set that is not of the announced class or instance is refused."""
    pairs: tuple[tuple[str, str, str], ...] = (
        ("SOP Instance UID", identity.uids.sop_instance_uid, arrival.sop_instance_uid),
        ("SOP Class UID", identity.sop_class_uid, arrival.sop_class_uid),
    )
    study = identity.uids.study_instance_uid
    if arrival.study_instance_uid:
        pairs += (("Study Instance UID", study, arrival.study_instance_uid),)
    for name, found, announced in pairs:
        if found != announced:
            raise UnsupportedSeriesError(
                f"{name} is {found}, announced as {announced}",
                hint="ask the sender to correct the object",
            )


def count_refusal(error: BaseException, arrival: Arrival) -> None:
    """Log and count an instance that was answered with a failure."""
    codes = codes_for(error)
    metrics.INSTANCES_REFUSED.labels(arrival.counted_as, codes.label).inc()
    log.warning(
        "instance refused",
        calling_ae_title=arrival.calling_ae_title,
        sop_instance_uid=arrival.sop_instance_uid,
        error=codes.label,
        reason=str(error) if isinstance(error, WetreadError) else type(error).__name__,
        exc_info=not isinstance(error, WetreadError),
    )
