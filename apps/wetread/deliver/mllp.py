"""Delivery of a report as an HL7 v2 message over MLLP, with or without TLS.

MLLP (HL7 Transport Specification, Release 1): a message between 0x0B and 0x1C 0x0D, and the answer
in the same form on the same connection.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wetread.config import Hl7Destination
from wetread.deliver.base import DeliveryReceipt
from wetread.deliver.oru import control_id, message_of
from wetread.deliver.statements import read_report
from wetread.dicom.tls import calling_context, reason_of
from wetread.errors import DeliveryError, DestinationUnavailableError

_START, _END = b"\x0b", b"\x1c\r"
_MAX_ANSWER_BYTES = 1 << 16
_ACCEPTED = {"AA": "accepted", "CA": "taken in"}
# HL7 table 0357.
_REASONS = {
    "100": "segment sequence error",
    "101": "required field missing",
    "102": "data type error",
    "103": "table value not found",
    "200": "unsupported message type",
    "201": "unsupported event code",
    "202": "unsupported processing id",
    "203": "unsupported version id",
    "204": "unknown key identifier",
    "205": "duplicate key identifier",
    "206": "application record locked",
    "207": "application internal error",
}
_NEVER = {"200", "201", "202", "203"}


class MllpDestination:
    """An HL7 v2 receiver. One connection a message; sent again it has the same control ID.

    Raises ConfigError if the files of TLS cannot be used.
    """

    def __init__(self, name: str, config: Hl7Destination) -> None:
        self.name = name
        self._config = config
        self._place = f"{name} ({config.host}:{config.port})"
        self._tls = None
        if config.tls:
            self._tls = calling_context(config.ca_file, config.certificate_file, config.key_file)

    def send(self, object_path: Path) -> DeliveryReceipt:
        """Send the report as ORU^R01 and wait for its acknowledgement.

        AA and CA are a delivery. AE and CE mean that the message itself is at fault: DeliveryError.
        AR and CR mean that it may be taken later (HL7 v2.5.1 2.9.2.2): DestinationUnavailableError,
        unless the receiver does not know this kind of message.
        """
        started = time.perf_counter()
        report = read_report(object_path)
        message = message_of(report, self._config)
        answer = self._exchanged(message.encode("utf-8"))
        status = self._judge(answer, control_id(report))
        seconds = time.perf_counter() - started
        meaning = _ACCEPTED[status]
        return DeliveryReceipt(self.name, report.sop_instance_uid, status, meaning, seconds)

    def test(self) -> str:
        """Connect and send nothing: MLLP has no question that asks for nothing."""
        with self._connected():
            return f"{self._place} takes connections" + (" by TLS" if self._tls else "")

    def _exchanged(self, message: bytes) -> str:
        with self._connected() as connection:
            connection.sendall(_START + message + _END)
            return _answer_on(connection, self._config.timeout_seconds)

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        config = self._config
        address = (config.host, config.port)
        try:
            with socket.create_connection(address, config.timeout_seconds) as connection:
                if self._tls is None:
                    yield connection
                    return
                name = config.certificate_name or config.host
                with self._tls.wrap_socket(connection, server_hostname=name) as secured:
                    yield secured
        except OSError as error:
            reason = reason_of(error) if isinstance(error, ssl.SSLError) else str(error)
            raise DestinationUnavailableError(
                f"{self._place} gives no answer: {reason}",
                hint="check host, port and certificates, and that the receiver runs; "
                "the message is sent again with the same control ID",
                stage="deliver",
            ) from error

    def _judge(self, answer: str, sent: str) -> str:
        segments = [each.split("|") for each in answer.split("\r")]
        rows = {each[0]: each + [""] * 9 for each in reversed(segments)}
        status, about = rows.get("MSA", [""] * 9)[1:3]
        if about != sent:
            raise DestinationUnavailableError(
                f"{self._place} answered, but not to message {sent}",
                hint="look at the receiver's log; the message is sent again",
                stage="deliver",
            )
        if status in _ACCEPTED:
            return status
        # Only the code: the receiver's own words may quote the patient.
        code = (rows.get("ERR", [""] * 9)[3] or rows["MSA"][6]).split("^")[0]
        raise self._refusal(status, code, sent)

    def _refusal(self, status: str, code: str, sent: str) -> DeliveryError:
        reason = f", error {code}: {_REASONS[code]}" if code in _REASONS else ""
        text = f"{self._place} answered {status[:2]!r} to message {sent}{reason}"
        if status in ("AR", "CR") and code not in _NEVER:
            return DestinationUnavailableError(
                text, hint="look at the receiver's log; the message is sent again", stage="deliver"
            )
        return DeliveryError(
            text, hint="look for the control ID in the receiver's log", stage="deliver"
        )


def _answer_on(connection: socket.socket, timeout_seconds: float) -> str:
    """The first whole answer. Raises OSError if there is none in time."""
    deadline = time.monotonic() + timeout_seconds
    received = b""
    while _END not in received:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(4096)
        received += chunk
        if not chunk or len(received) > _MAX_ANSWER_BYTES:
            raise ConnectionError("the connection ended before the acknowledgement did")
    return received.partition(_END)[0].lstrip(_START).decode("utf-8", "replace")
