"""DICOM over TLS with dcmtk on the other side, and what is refused."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI, Response
from structlog.testing import capture_logs

from gateway import eventually
from network import neighbours
from network.certificates import OPENSSL, Authority, Pair, make_authority
from network.conftest import Recorder
from network.neighbours import data_set_bytes, free_port, storescu, write_small_ct
from wetread.config import DicomDestination, DicomwebDestination, ListenerConfig
from wetread.deliver.base import Destination
from wetread.deliver.registry import open_destination
from wetread.dicom.network import Peer, echo
from wetread.dicom.tls import calling_context
from wetread.errors import ConfigError, DestinationUnavailableError
from wetread.receive.accept import Record
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool, SpooledFile
from wetread.study import ReceivedInstance

HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def gateway(authority: Authority) -> Pair:
    return authority.issue("gateway.hospital")


@pytest.fixture(scope="module")
def scanner(authority: Authority) -> Pair:
    return authority.issue("scanner.hospital")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate of the same name, signed by somebody else."""
    other = make_authority(tmp_path_factory.mktemp("elsewhere"), "elsewhere")
    return other.issue("scanner.hospital")


Door = Callable[..., Listener]


@pytest.fixture
def door(gateway: Pair, authority: Authority, spool: Spool, recorder: Recorder) -> Iterator[Door]:
    """Opens a listener with TLS; `authority` must have signed its callers unless told otherwise."""
    opened: list[Listener] = []

    def open_door(
        client_ca_file: Path | None = authority.own.certificate, record: Record = recorder
    ) -> Listener:
        config = ListenerConfig(
            port=0,
            accept_calling_ae_titles=("*",),
            certificate_file=gateway.certificate,
            key_file=gateway.key,
            client_ca_file=client_ca_file,
        )
        listener = Listener(config, spool, record)
        listener.start()
        opened.append(listener)
        return listener

    yield open_door
    for listener in opened:
        listener.stop()


def dcmtk_options(own: Pair, authority: Authority) -> tuple[str, ...]:
    return ("+tls", str(own.key), str(own.certificate), "+cf", str(authority.own.certificate))


def caller(listener: Listener, tls: ssl.SSLContext | None, name: str = "gateway.hospital") -> Peer:
    return Peer("gateway", HERE, listener.port, "WETREAD", "MR1", 5.0, tls, name)


class TestReceiving:
    def test_dcmtk_with_a_certificate_stores(self, door, authority, scanner, recorder, tmp_path):
        path = write_small_ct(tmp_path)
        sent = storescu(door().port, [path], *dcmtk_options(scanner, authority))
        assert sent.returncode == 0, sent.stderr
        [spooled] = recorder.files
        assert data_set_bytes(spooled.path) == data_set_bytes(path)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_both_versions(self, door, authority, scanner, version):
        tls = calling_context(authority.own.certificate, scanner.certificate, scanner.key)
        tls.minimum_version = tls.maximum_version = version
        assert "answers a C-ECHO" in echo(caller(door(), tls))

    def test_older_versions_are_refused(self, door):
        server = f"{HERE}:{door().port}"
        asked = neighbours.run(
            *(OPENSSL, "s_client", "-connect", server, "-tls1_1"),
            *("-cipher", "ALL:@SECLEVEL=0"),
        )
        assert asked.returncode != 0
        assert "alert protocol version" in asked.stderr

    def test_a_caller_without_a_certificate_is_refused_and_told_why(self, door, authority):
        with capture_logs() as logs, pytest.raises(DestinationUnavailableError) as told:
            echo(caller(door(), calling_context(authority.own.certificate)))
        assert "certificate required" in str(told.value)
        eventually(lambda: any(each["event"] == "TLS handshake failed" for each in logs))
        failure = next(each for each in logs if each["event"] == "TLS handshake failed")
        assert failure["address"] == HERE
        assert failure["reason"] == "peer did not return a certificate"

    def test_a_certificate_of_another_authority_is_refused(self, door, authority, stranger):
        tls = calling_context(authority.own.certificate, stranger.certificate, stranger.key)
        with pytest.raises(DestinationUnavailableError, match="unknown ca"):
            echo(caller(door(), tls))

    def test_none_is_needed_where_no_authority_is_named(self, door, authority):
        listener = door(client_ca_file=None)
        assert echo(caller(listener, calling_context(authority.own.certificate)))

    def test_without_tls_nobody_is_heard(self, door, recorder, tmp_path):
        sent = storescu(door().port, [write_small_ct(tmp_path)])
        assert sent.returncode != 0
        assert recorder.instances == []

    def test_silent_sockets_hold_up_nobody(self, door, authority, scanner):
        listener = door()
        silent = [socket.create_connection((HERE, listener.port)) for _ in range(50)]
        tls = calling_context(authority.own.certificate, scanner.certificate, scanner.key)
        assert echo(caller(listener, tls))
        for each in silent:
            each.close()

    def test_an_instance_on_its_way_when_the_door_closes_is_answered_in_tls(
        self, door, authority, scanner, recorder, tmp_path
    ):
        def close_and_record(instance: ReceivedInstance, spooled: SpooledFile) -> None:
            listener._connections.hang_up()
            recorder(instance, spooled)

        listener = door(record=close_and_record)
        path = write_small_ct(tmp_path)
        sent = storescu(listener.port, [path], *dcmtk_options(scanner, authority))
        assert "Received Store Response (Success)" in sent.stdout + sent.stderr
        assert len(recorder.instances) == 1


def destination(port: int, **settings: object) -> Destination:
    config = DicomDestination.model_validate(
        {"kind": "dicom", "host": HERE, "port": port, "called_ae_title": "DCMTK", "tls": True}
        | {"timeout_seconds": 5, "certificate_name": "pacs.hospital"}
        | settings
    )
    return open_destination("pacs", config)


class TestDelivering:
    @pytest.fixture
    def pacs(self, authority: Authority, tmp_path: Path) -> Iterator[neighbours.Storescp]:
        """Dcmtk's receiver, which wants a certificate of its callers."""
        options = (*dcmtk_options(authority.issue("pacs.hospital"), authority), "-rc")
        with neighbours.dcmtk_storescp(tmp_path, *options) as running:
            yield running

    def test_dcmtk_takes_the_same_data_set(self, pacs, authority, gateway, tmp_path):
        path = write_small_ct(tmp_path)
        to = destination(
            pacs.port,
            ca_file=authority.own.certificate,
            certificate_file=gateway.certificate,
            key_file=gateway.key,
        )
        assert to.send(path).status == "0000"
        [stored] = pacs.folder.iterdir()
        assert data_set_bytes(stored) == data_set_bytes(path)

    def test_a_pacs_of_another_name_is_not_sent_to(self, pacs, authority, gateway, tmp_path):
        to = destination(
            pacs.port,
            ca_file=authority.own.certificate,
            certificate_file=gateway.certificate,
            key_file=gateway.key,
            certificate_name="archive.hospital",
        )
        with pytest.raises(DestinationUnavailableError) as told:
            to.send(write_small_ct(tmp_path))
        assert "no TLS as archive.hospital: the certificate is refused: Hostname" in str(told.value)
        assert list(pacs.folder.iterdir()) == []

    def test_a_pacs_that_nobody_vouches_for_is_not_sent_to(self, pacs, stranger, tmp_path):
        to = destination(pacs.port, ca_file=stranger.certificate)
        with pytest.raises(DestinationUnavailableError, match="the certificate is refused"):
            to.send(write_small_ct(tmp_path))

    def test_one_that_does_not_listen_is_no_matter_of_tls(self, authority, tmp_path):
        to = destination(free_port(), ca_file=authority.own.certificate)
        with pytest.raises(DestinationUnavailableError, match="cannot be reached"):
            to.send(write_small_ct(tmp_path))

    def test_https_is_checked_against_the_named_authority(self, authority, stranger):
        with serving_https(authority.issue("localhost")) as url:
            assert "HTTP 204" in dicomweb(url, authority.own.certificate).test()
            with pytest.raises(DestinationUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                dicomweb(url, stranger.certificate).test()


def dicomweb(url: str, ca_file: Path) -> Destination:
    settings = {"kind": "dicomweb", "url": url, "ca_file": ca_file}
    return open_destination("web", DicomwebDestination.model_validate(settings))


@contextmanager
def serving_https(own: Pair) -> Iterator[str]:

    app = FastAPI()
    app.add_api_route("/studies", lambda: Response(status_code=204))
    with neighbours.http_serving(
        app, ssl_certfile=str(own.certificate), ssl_keyfile=str(own.key)
    ) as url:
        yield url.replace(f"http://{HERE}", "https://localhost")


class TestFiles:
    def test_a_key_of_another_certificate(self, gateway, scanner):
        with pytest.raises(ConfigError, match=r"gateway.hospital.pem and .*scanner.hospital.key"):
            calling_context(None, gateway.certificate, scanner.key)

    def test_a_file_that_is_not_there(self, gateway, tmp_path):
        with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.pem: No such file"):
            calling_context(tmp_path / "nowhere.pem")
        with pytest.raises(ConfigError, match="cannot read"):
            calling_context(None, tmp_path / "nowhere.pem", gateway.key)

    def test_an_authority_that_is_no_certificate(self, tmp_path):
        (tmp_path / "ca.pem").write_text("nothing", encoding="utf-8")
        with pytest.raises(ConfigError, match="holds no certificate of an authority"):
            calling_context(tmp_path / "ca.pem")

    def test_half_of_it(self, gateway):
        with pytest.raises(ValueError, match="certificate_file and key_file go together"):
            ListenerConfig(certificate_file=gateway.certificate)
        with pytest.raises(ValueError, match="client_ca_file needs"):
            ListenerConfig(client_ca_file=gateway.certificate)
        with pytest.raises(ValueError, match="tls is not true"):
            destination(1, tls=False)
