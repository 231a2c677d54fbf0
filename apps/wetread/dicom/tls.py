"""TLS for DICOM connections: BCP 195 RFC 8996, 9325 profile (PS3.15 B.12), TLS 1.2 and 1.3."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from wetread.errors import ConfigError

# RFC 9325 4.2: forward secrecy and authenticated encryption; those of TLS 1.3 are so by themselves.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ALERT_SECONDS = 1.0


def listening_context(
    certificate_file: Path, key_file: Path, ca_file: Path | None
) -> ssl.SSLContext:
    """For a door: with `ca_file`, callers must show a certificate that it vouches for.

    Raises ConfigError for a file that cannot be read, and for a key of another certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _keep_to_profile(context)
    _load_own(context, certificate_file, key_file)
    if ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authority(context, ca_file)
    return context


def calling_context(
    ca_file: Path | None, certificate_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """For calling out: the peer's certificate and its name are checked, always.

    Without `ca_file`, the authorities of this machine vouch for it. Raises as `listening_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _keep_to_profile(context)
    if ca_file is None:
        context.load_default_certs()
    else:
        _load_authority(context, ca_file)
    if certificate_file is not None:
        _load_own(context, certificate_file, key_file or certificate_file)
    return context


def handshake_failure(
    host: str, port: int, context: ssl.SSLContext, certificate_name: str, seconds: float
) -> str | None:
    """What a handshake with that server fails on, in words; None if TLS is not at fault."""
    try:
        with (
            socket.create_connection((host, port), timeout=seconds) as connection,
            context.wrap_socket(connection, server_hostname=certificate_name) as secured,
        ):
            # In TLS 1.3 a server refuses our certificate only after the handshake.
            secured.settimeout(_ALERT_SECONDS)
            secured.recv(1)
    except ssl.SSLError as error:
        return reason_of(error)
    except OSError:
        return None
    return None


def reason_of(error: ssl.SSLError) -> str:
    """The words of an error of TLS, without the library's own places."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()


def _keep_to_profile(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)


def _load_own(context: ssl.SSLContext, certificate_file: Path, key_file: Path) -> None:
    try:
        # An empty password: a key that has one is an error, not a question on a terminal.
        context.load_cert_chain(certificate_file, key_file, password="")
    except ssl.SSLError as error:
        raise ConfigError(
            f"{certificate_file} and {key_file} are no certificate and its key: {reason_of(error)}",
            hint="both in PEM, the key without a password, belonging together",
        ) from error
    except OSError as error:
        raise _unreadable(error, f"{certificate_file} or {key_file}") from error


def _load_authority(context: ssl.SSLContext, ca_file: Path) -> None:
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{ca_file} holds no certificate of an authority: {reason_of(error)}",
            hint="name a file in PEM",
        ) from error
    except OSError as error:
        raise _unreadable(error, str(ca_file)) from error


def _unreadable(error: OSError, names: str) -> ConfigError:
    return ConfigError(
        f"cannot read {names}: {error.strerror}", hint="check the path and who may read it"
    )
