"""The audit trail at a real rsyslogd: over UDP, TCP and TLS, up, down and killed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from lxml import etree

from conftest import ROOT
from gateway import eventually
from network.certificates import Authority, make_authority
from network.neighbours import free_port
from wetread.audit import events
from wetread.config import AuditConfig
from wetread.deliver.syslog import SyslogServer
from wetread.errors import DestinationUnavailableError
from wetread.forwarding import Forwarder
from wetread.ledger import Ledger

RSYSLOGD = "/usr/sbin/rsyslogd"
NAME = "siem.hospital.example"
TEMPLATE = r"""
template(name="line" type="list") {
    property(name="pri") constant(value=" ") property(name="msgid") constant(value=" ")
    property(name="app-name") constant(value=" ") property(name="msg") constant(value="\n")
}
ruleset(name="keep") { action(type="omfile" file="%s" template="line") }
"""
INPUTS = {
    "udp": 'module(load="imudp")\ninput(type="imudp" address="127.0.0.1" %s)',
    "tcp": 'module(load="imtcp")\ninput(type="imtcp" address="127.0.0.1" %s)',
    "tls": 'module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" '
    'StreamDriver.AuthMode="x509/certvalid")\ninput(type="imtcp" address="127.0.0.1" %s)',
}


@dataclass
class Rsyslog:
    """An rsyslogd in a folder of its own, on a free port of loopback."""

    folder: Path
    scheme: str
    authority: Authority
    port: int = 0

    def __post_init__(self) -> None:
        self.port = free_port()
        keys = ""
        if self.scheme == "tls":
            own = self.authority.issue(NAME)
            keys = (
                f'global(DefaultNetstreamDriverCAFile="{self.authority.own.certificate}" '
                f'DefaultNetstreamDriverCertFile="{own.certificate}" '
                f'DefaultNetstreamDriverKeyFile="{own.key}")\n'
            )
        entrance = INPUTS[self.scheme] % f'port="{self.port}" ruleset="keep"'
        conf = f'global(workDirectory="{self.folder}" maxMessageSize="64k")\n{keys}'
        conf += TEMPLATE % self.kept + entrance + "\n"
        (self.folder / "rsyslog.conf").write_text(conf)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kept(self) -> Path:
        return self.folder / "kept.log"

    @property
    def config(self) -> AuditConfig:
        keys = {}
        if self.scheme == "tls":
            mine = self.authority.issue("gateway")
            keys = {
                "ca_file": self.authority.own.certificate,
                "certificate_file": mine.certificate,
                "key_file": mine.key,
                "certificate_name": NAME,
            }
        syslog = f"{self.scheme}://127.0.0.1:{self.port}"
        return AuditConfig(syslog=syslog, retry_seconds=0.2, timeout_seconds=5.0, **keys)

    def start(self) -> None:
        files = ["-f", self.folder / "rsyslog.conf", "-i", self.folder / "pid"]
        with (self.folder / "rsyslogd.log").open("ab") as log:
            self._process = subprocess.Popen([RSYSLOGD, "-n", *files], stdout=log, stderr=log)
        eventually(self._listens)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "rsyslogd.log").read_text()
        table = Path("/proc/net/udp" if self.scheme == "udp" else "/proc/net/tcp").read_text()
        return f"0100007F:{self.port:04X}" in table

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def lines(self) -> list[str]:
        return self.kept.read_text().splitlines() if self.kept.exists() else []


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def rsyslog(folder: Path, scheme: str, authority: Authority) -> Iterator[Rsyslog]:
    server = Rsyslog(folder, scheme, authority)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def forwarding(server: Rsyslog, ledger: Ledger) -> Iterator[None]:
    forwarder = Forwarder(server.config, ledger.trail)
    forwarder.start()
    try:
        yield
    finally:
        forwarder.stop(20.0)


def names(lines: list[str]) -> list[str]:
    """Who logged in, in the order in which it was kept."""
    messages = [etree.fromstring(line[line.index("<AuditMessage") :].encode()) for line in lines]
    return [each.find("ActiveParticipant").get("UserID") for each in messages]


@pytest.mark.parametrize("scheme", ["udp", "tcp", "tls"])
def test_rsyslog_keeps_each_event_as_a_valid_audit_message(
    tmp_path: Path, ledger: Ledger, authority: Authority, scheme: str
) -> None:
    people = [f"person{number}" for number in range(5)]
    with rsyslog(tmp_path, scheme, authority) as server:
        server.start()
        with forwarding(server, ledger):
            for name in people:
                ledger.trail.record(events.logged_in(name))
            eventually(lambda: len(server.lines()) == 5)
        lines = server.lines()
    assert names(lines) == people
    schema = etree.RelaxNG(etree.parse(ROOT / "tests/audit_message.rng"))
    for line in lines:
        priority, message_id, program, message = line.split(" ", 3)
        assert (priority, message_id, program) == ("85", "DICOM+RFC3881", "wetread")
        schema.assertValid(etree.fromstring(message.lstrip("\ufeff").encode()))
    assert ledger.trail.waiting(server.config.syslog) == 0


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_what_happened_while_rsyslog_was_down_comes_later_in_order(
    tmp_path: Path, ledger: Ledger, authority: Authority, scheme: str
) -> None:
    with rsyslog(tmp_path, scheme, authority) as server, forwarding(server, ledger):
        for number in range(250):
            ledger.trail.record(events.logged_in(f"person{number}"))
        assert ledger.trail.waiting(server.config.syslog) == 250
        server.start()
        eventually(lambda: not ledger.trail.waiting(server.config.syslog), 30.0)
        eventually(lambda: len(server.lines()) >= 250)
        assert names(server.lines()) == [f"person{number}" for number in range(250)]


def test_nothing_is_lost_when_rsyslog_is_killed_again_and_again(
    tmp_path: Path, ledger: Ledger, authority: Authority
) -> None:
    with rsyslog(tmp_path, "tcp", authority) as server, forwarding(server, ledger):
        for turn in range(4):
            server.start()
            for number in range(40):
                ledger.trail.record(events.logged_in(f"person{turn * 40 + number}"))
                time.sleep(0.005)
            server.stop(signal.SIGKILL)
        server.start()
        eventually(lambda: not ledger.trail.waiting(server.config.syslog), 30.0)
        server.stop()
        whole = [line for line in server.lines() if line.endswith("</AuditMessage>")]
    came = names(whole)
    # One may come twice; in order all the same, once the repetitions are left out.
    first = list(dict.fromkeys(came))
    assert first == [f"person{number}" for number in range(160)]


def test_a_server_with_a_certificate_of_another_authority_gets_nothing(
    tmp_path: Path, ledger: Ledger, authority: Authority
) -> None:
    with rsyslog(tmp_path, "tls", authority) as server:
        server.start()
        other = make_authority(tmp_path / "other", "other").own.certificate
        config = server.config.model_copy(update={"ca_file": other})
        with pytest.raises(DestinationUnavailableError, match="certificate is refused"):
            SyslogServer(config).send([b"x"])
        assert server.lines() == []


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_a_port_where_nobody_listens_is_an_error_by_its_address(scheme: str) -> None:
    address = f"{scheme}://127.0.0.1:{free_port()}"
    with pytest.raises(DestinationUnavailableError, match=f"{address} does not take"):
        SyslogServer(AuditConfig(syslog=address)).send([b"x"] * 3)
