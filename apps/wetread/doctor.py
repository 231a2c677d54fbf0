"""What would keep a gateway from working, found before a study comes."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from sqlalchemy.engine import make_url

from wetread.checked import Check, Checked, look_at
from wetread.config import Config, TritonModel
from wetread.deliver.peers import archive_peer
from wetread.deliver.registry import open_destination
from wetread.dicom.network import echo
from wetread.errors import ConfigError, StorageError
from wetread.infer.shelf import ModelShelf
from wetread.lease import holder_of, lock_of
from wetread.ledger import Ledger, ledger_url
from wetread.models.manifest import check_seal
from wetread.receive.share import open_share
from wetread.viewer.package import open_viewer

# adjtimex(2): the kernel's clock is not held in step.
_TIME_ERROR = 5
_STRUCT_TIMEX_BYTES = 512


def examine(config: Config) -> list[Checked]:
    """Look at everything that a gateway with these settings needs.

    Nothing is started, sent or removed; destinations are asked as `check destination` asks them,
    and models are opened as `check models` opens them.
    """
    return look_at(_checks(config))


def _checks(config: Config) -> Iterator[Check]:
    yield "Python", _python
    yield "libraries", partial(_libraries, config)
    yield "clock", clock
    yield "spool", partial(_spool, config)
    yield "database", partial(_database, config)
    if config.spool.share is not None:
        yield "bucket", partial(_bucket, config)
    for name, host, port in _ports(config):
        yield f"port of {name}", partial(_port, config, name, host, port)
    for name in config.models:
        yield f"model {name}", partial(_model, config, name)
    for name in config.destinations:
        yield f"destination {name}", partial(_destination, config, name)
    for name, archive in config.archives.items():
        yield f"archive {name}", partial(echo, archive_peer(name, archive))
    if config.viewer.studies:
        yield "viewer", partial(_viewer, config)
    yield "rules", partial(_rules, config)


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _libraries(config: Config) -> str:
    """What the installed wetread asks for, with the extras that these settings need."""
    extras = {"": ""}
    if config.database.is_shared:
        extras["postgres"] = "[database] url names PostgreSQL"
    if config.spool.share is not None:
        extras["s3"] = "[spool.share] names a bucket"
    if any(isinstance(model, TritonModel) for model in config.models.values()):
        extras["triton"] = 'a model has backend = "triton"'
    wanted = [Requirement(each) for each in requires("wetread") or ()]
    counted = 0
    for extra in extras:
        for each in wanted:
            if each.marker is None and extra:
                continue
            if each.marker is not None and not each.marker.evaluate({"extra": extra}):
                continue
            _library(each, extra)
            counted += 1
    return f"{counted} as they should be"


def _library(wanted: Requirement, extra: str) -> None:
    package = f"wetread[{extra}]" if extra else "wetread"
    hint = f"pip install '{package}'"
    try:
        found = version(wanted.name)
    except PackageNotFoundError as error:
        raise ConfigError(f"{wanted.name} is not installed", hint=hint) from error
    if not wanted.specifier.contains(found, prereleases=True):
        raise ConfigError(f"{wanted.name} is {found}, wanted is {wanted.specifier}", hint=hint)


def clock() -> str:
    """Whether the kernel says that its clock is held in step. Raises ConfigError if not."""
    kernel = ctypes.CDLL(None, use_errno=True)
    state = kernel.adjtimex(ctypes.create_string_buffer(_STRUCT_TIMEX_BYTES))
    if state == _TIME_ERROR:
        raise ConfigError(
            "no time server holds this machine's clock in step",
            hint="run chrony or systemd-timesyncd here, or on the host of this container: results, "
            "TLS and leases go by it",
        )
    if state < 0:
        raise ConfigError(
            f"the kernel does not tell of its clock: {os.strerror(ctypes.get_errno())}",
            hint="compare `date` with your time server",
        )
    return "held in step by a time server"


def _spool(config: Config) -> str:
    path = config.spool.path
    place = next(each for each in (path, *path.parents) if each.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise StorageError(
            f"{place} is no folder that this user may write to",
            hint=f"give it to the user who runs wetread, or set another [spool] path than {path}",
        )
    free, least = shutil.disk_usage(place).free, config.spool.min_free_bytes
    if free <= least:
        raise StorageError(
            f"{free / 1e9:.1f} GB free at {path}, and {least / 1e9:.1f} GB must stay free",
            hint="make room, set [retention], or lower [spool] min_free_bytes",
        )
    there = "" if path.exists() else "; made at the first start"
    return f"{(free - least) / 1e9:.1f} GB for studies at {path}{there}"


def _bucket(config: Config) -> str:
    share = open_share(config)
    return "" if share is None else share.test()


def _database(config: Config) -> str:
    url = make_url(ledger_url(config))
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return f"{shown}, made at the first start"
    with closing(Ledger(ledger_url(config))) as ledger:
        jobs = sum(ledger.jobs.counts().values())
    return f"{shown} answers, with {jobs} jobs"


def _ports(config: Config) -> Iterator[tuple[str, str, int]]:
    yield "listener", config.listener.host, config.listener.port
    if config.stow.enabled:
        yield "stow", config.stow.host, config.stow.port
    if config.metrics.port:
        yield "metrics", config.metrics.host, config.metrics.port
    if config.viewer.studies:
        yield "viewer", config.viewer.host, config.viewer.port
    if config.web.enabled:
        yield "web", config.web.host, config.web.port


def _port(config: Config, name: str, host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and (runs := _who_runs(config)):
                return f"{host}:{port} is taken, by {runs}"
            raise ConfigError(
                f"{host}:{port} cannot be had: {error.strerror}", hint=_about_port(error, name)
            ) from error
    return f"{host}:{port} is free"


def _about_port(error: OSError, name: str) -> str:
    if error.errno == errno.EACCES:
        return "a port below 1024 needs root, or the capability CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address; set another [{name}] host"
    return f"stop the program that has it (ss -tlnp), or set another [{name}] port"


def _who_runs(config: Config) -> str:
    """The gateway of these settings that runs now; "" if none does."""
    if config.database.is_shared:
        return "a gateway, if it is one of yours"
    process = holder_of(lock_of(config.spool.path))
    return f"the gateway that runs, process {process}" if process else ""


def _model(config: Config, name: str) -> str:
    model = config.models[name]
    check_seal(model.bundle)
    with closing(ModelShelf({name: model}, config.model_repository)) as shelf:
        identity = shelf.get(name).identity
    where = "on Triton" if isinstance(model, TritonModel) else "in this process"
    return f"version {identity.version}, weights {identity.weights_sha256[:12]}, {where}"


def _destination(config: Config, name: str) -> str:
    return open_destination(name, config.destinations[name], config.deidentify).test()


def _viewer(config: Config) -> str:
    return f"OHIF is in {open_viewer(config.viewer.folder)}"


def _rules(config: Config) -> str:
    if not any(rule.run for rule in config.rules):
        raise ConfigError(
            "no rule runs a model, so no study is read",
            hint="write [[rules]], see deploy/README.md; try them with wetread route",
        )
    if not config.listener.accept_calling_ae_titles:
        raise ConfigError(
            "nobody may send: listener.accept_calling_ae_titles is empty",
            hint='name the senders, or ["*"] for anybody',
        )
    idle = sorted(config.models.keys() - {name for rule in config.rules for name in rule.run})
    rest = f"; no rule runs {', '.join(idle)}" if idle else ""
    return f"{len(config.rules)}, in their order{rest}"
