"""The DICOM nodes of the settings, as peers to call."""

from __future__ import annotations

import ssl

from wetread.config import ArchiveConfig, CommitmentCaller, DicomDestination
from wetread.dicom.network import Peer
from wetread.dicom.tls import calling_context

_Node = DicomDestination | CommitmentCaller | ArchiveConfig


def destination_peer(name: str, config: DicomDestination) -> Peer:
    """A destination. Raises ConfigError if the files of TLS cannot be used."""
    return _peer(name, config, config.called_ae_title, config.calling_ae_title)


def sender_peer(title: str, config: CommitmentCaller, own_ae_title: str) -> Peer:
    """A sender that we answer. Raises as `destination_peer`."""
    return _peer(title, config, title, own_ae_title)


def archive_peer(name: str, config: ArchiveConfig) -> Peer:
    """An archive that is asked. Raises as `destination_peer`."""
    return _peer(name, config, config.called_ae_title, config.calling_ae_title)


def _peer(name: str, config: _Node, called: str, own: str) -> Peer:
    return Peer(
        name=name,
        host=config.host,
        port=config.port,
        called_ae_title=called,
        calling_ae_title=own,
        timeout_seconds=config.timeout_seconds,
        tls=_tls_of(config),
        certificate_name=config.certificate_name,
    )


def _tls_of(config: _Node) -> ssl.SSLContext | None:
    if not config.tls:
        return None
    return calling_context(config.ca_file, config.certificate_file, config.key_file)
