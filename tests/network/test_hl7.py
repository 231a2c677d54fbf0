"""HL7 v2 messages to a receiver of python-hl7 over TCP and TLS, and to ones that fail."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import hl7
import pytest
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from network.certificates import Authority, make_authority
from network.neighbours import free_port
from reports import PATIENT_VALUES, write_report
from wetread.config import Hl7Destination
from wetread.deliver.base import Destination
from wetread.deliver.registry import open_destination
from wetread.errors import DeliveryError, DestinationUnavailableError

NAME = "ris.hospital.example"


@dataclass
class Receiver:
    """Answers each message with the next step of its script; the last one stays in force.

    A step is an acknowledgement code, such as "AA", "AE 204" with its reason, "silence", "hang up"
    or "another", an answer to another message.
    """

    script: list[str] = field(default_factory=lambda: ["AA"])
    messages: list[hl7.Message] = field(default_factory=list)
    port: int = 0

    async def answer(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            writer.close()

    async def _converse(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        message = await reader.readmessage()
        self.messages.append(message)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if step == "silence":
            await reader.read()
        elif step != "hang up":
            writer.writemessage(_answer(message, step))
            await writer.drain()


def _answer(message: hl7.Message, step: str) -> hl7.Message:
    code, _, reason = step.partition(" ")
    if step == "another":
        return hl7.parse(str(message.create_ack("AA")).replace(str(message["MSH.10"]), "ANOTHER"))
    answer = str(message.create_ack(code))
    if reason:
        # Receivers like to say more than is wanted.
        answer += f"ERR|||{reason}|E||||Sørensen is unknown, PAT|7\r"
    return hl7.parse(answer)


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver, loop = Receiver(), asyncio.new_event_loop()
    started = start_hl7_server(receiver.answer, "127.0.0.1", 0, encoding="utf-8", ssl=tls)

    async def start() -> asyncio.Server:
        return await started

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_ended(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _ended() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    # What was closed is let go in the next rounds of the loop.
    await asyncio.sleep(0.05)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def ris(port: int, **settings: object) -> Destination:
    document = {"kind": "hl7", "host": "127.0.0.1", "port": port, "timeout_seconds": 5, **settings}
    return open_destination("ris", Hl7Destination.model_validate(document))


def test_a_report_arrives_and_the_receipt_names_it(receiver: Receiver, tmp_path: Path) -> None:
    path = write_report(tmp_path)
    receipt = ris(receiver.port).send(path)
    assert (receipt.sop_instance_uid, receipt.answer) == (path.stem, "AA: accepted")
    (message,) = receiver.messages
    assert str(message.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert message.unescape(message["PID.F3.R1.C1"]) == "PAT|7"
    assert str(message["PID.F5.R1.C1"]) == "Sørensen"
    assert {str(each[8]) for each in message.segments("OBX")} == {"", "A"}


def test_a_commit_accept_is_a_delivery(receiver: Receiver, tmp_path: Path) -> None:
    receiver.script = ["CA"]
    assert ris(receiver.port).send(write_report(tmp_path)).status == "CA"


@pytest.mark.parametrize("failure", ["hang up", "silence", "another"])
def test_without_its_answer_it_goes_again_under_the_same_control_id(
    receiver: Receiver, tmp_path: Path, failure: str
) -> None:
    receiver.script = [failure, "AA"]
    destination, path = ris(receiver.port, timeout_seconds=0.5), write_report(tmp_path)
    with pytest.raises(DestinationUnavailableError) as caught:
        destination.send(path)
    assert caught.value.retryable
    assert destination.send(path).status == "AA"
    first, second = receiver.messages
    assert str(first) == str(second)
    assert str(first["MSH.F10"]) != ""


@pytest.mark.parametrize(
    ("answer", "is_tried_again", "words"),
    [
        ("AE", False, "answered 'AE'"),
        ("AE 204^Unknown key identifier^HL70357", False, "error 204: unknown key identifier"),
        ("CE 101", False, "required field missing"),
        ("AR", True, "answered 'AR'"),
        ("AR 207", True, "application internal error"),
        ("CR 206", True, "application record locked"),
        ("AR 200", False, "unsupported message type"),
        ("XX", False, "answered 'XX'"),
    ],
)
def test_a_refusal(
    receiver: Receiver, tmp_path: Path, answer: str, is_tried_again: bool, words: str
) -> None:
    """It says what the receiver's code means, and nothing of what it says of the patient."""
    receiver.script = [answer]
    with pytest.raises(DeliveryError, match=words) as caught:
        ris(receiver.port).send(write_report(tmp_path))
    assert caught.value.retryable == is_tried_again
    assert not [each for each in PATIENT_VALUES if each in caught.value.message]


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DestinationUnavailableError, match="refused"):
        ris(free_port()).send(write_report(tmp_path))


@pytest.mark.parametrize("flood", [b"", b"\x0b" + b"x" * 100_000])
def test_what_never_ends_is_no_answer(tmp_path: Path, flood: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_flood, args=(server, flood))
        thread.start()
        with pytest.raises(DestinationUnavailableError):
            ris(server.getsockname()[1], timeout_seconds=0.5).send(write_report(tmp_path))
        thread.join(10)


def _flood(server: socket.socket, content: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(content)
        connection.settimeout(5)
        # To the end, which comes when the other side gives up.
        while _received(connection):
            pass


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except OSError:
        return b""


def test_the_test_connects_and_sends_nothing(receiver: Receiver) -> None:
    assert ris(receiver.port).test() == f"ris (127.0.0.1:{receiver.port}) takes connections"
    with pytest.raises(DestinationUnavailableError):
        ris(free_port()).test()
    assert receiver.messages == []


class TestTls:
    @pytest.fixture
    def secured(self, authority: Authority) -> Iterator[Receiver]:
        """A receiver that wants certificates from the hospital's authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own = authority.issue(NAME)
        context.load_cert_chain(own.certificate, own.key)
        context.load_verify_locations(authority.own.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        with receiving(context) as running:
            yield running

    @pytest.fixture
    def to(self, authority: Authority, secured: Receiver) -> Callable[..., Destination]:
        pair = authority.issue("wetread.hospital.example")
        settings = {
            "tls": True,
            "ca_file": authority.own.certificate,
            "certificate_file": pair.certificate,
            "key_file": pair.key,
            "certificate_name": NAME,
        }
        return lambda **changes: ris(secured.port, **{**settings, **changes})

    def test_both_sides_show_a_certificate(
        self, to: Callable[..., Destination], secured: Receiver, tmp_path: Path
    ) -> None:
        assert to().send(write_report(tmp_path)).status == "AA"
        assert "by TLS" in to().test()
        assert len(secured.messages) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"ca_file": None},
            {"certificate_name": "other.hospital.example"},
            {"certificate_file": None, "key_file": None},
        ],
        ids=["unknown authority", "another name", "no certificate"],
    )
    def test_or_nothing_is_sent(
        self,
        to: Callable[..., Destination],
        secured: Receiver,
        tmp_path: Path,
        change: dict[str, object],
    ) -> None:
        with pytest.raises(DestinationUnavailableError):
            to(**change).send(write_report(tmp_path))
        assert secured.messages == []
