"""A gateway in a process of its own that can be killed and started again at once.

Importing wetread takes seconds, so one server process imports it and forks a gateway for each
start. `kill` is SIGKILL: nothing in the gateway can tidy up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian

from gateway import CALLER
from phantom import CT
from wetread.config import Config, parse_config
from wetread.dicom.network import Peer, open_association
from wetread.errors import WetreadError

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["wetread.service"])


def _serve(document: dict[str, Any], source: Path, log: Path, doors: bool) -> None:
    from wetread.errors import WetreadError, codes_for
    from wetread.logs import configure_logs
    from wetread.service import Service

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    configure_logs()
    try:
        with Service(parse_config(document, source=source), doors=doors):
            time.sleep(3600)
    except WetreadError as error:
        print(f"error: {error}", flush=True)  # noqa: T201 - as the command line does
        os._exit(codes_for(error).exit_code)


class KillableGateway:
    """`wetread serve` for one configuration, again and again on the same spool and ledger.

    Without `doors` it is `wetread work`. What it says is in `log`.
    """

    def __init__(
        self,
        config: Config,
        source: Path,
        *,
        name: str = "gateway",
        doors: bool = True,
        jobs: int = 1,
    ) -> None:
        workers = config.workers.model_copy(update={"name": name, "jobs": jobs})
        named = config.model_copy(update={"workers": workers})
        self._document = named.model_dump(mode="json", exclude_defaults=True)
        self._source = source
        self._doors = doors
        self._port = config.listener.port
        self.name = name
        self.log = source.with_name(f"{name}.log")
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Start it; it may not listen yet."""
        arguments = (self._document, self._source, self.log, self._doors)
        self._process = _FORKS.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()

    def pause(self) -> None:
        """SIGSTOP: it stands still, and does not know it."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.exitcode is None

    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.exitcode

    def wait_until_it_listens(self, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                assert self._process is None or self._process.exitcode is None, "it ended by itself"
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"nothing listens on port {self._port} after {seconds} s")

    def kill(self) -> None:
        """SIGKILL, if it runs, and wait until the system has taken everything back."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def kill_after(self, seconds: float) -> None:
        """Kill it that much later."""
        time.sleep(seconds)
        self.kill()

    def kill_when(self, look: Callable[[], object], seconds: float = 30.0) -> None:
        """Kill it as soon as `look` gives something."""
        deadline = time.monotonic() + seconds
        while not look():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.002)
        self.kill()


class PersistentSender(threading.Thread):
    """A modality that sends a study again and again until each image was answered with success."""

    def __init__(self, paths: Sequence[Path], port: int) -> None:
        super().__init__(daemon=True)
        self.waiting = list(paths)
        self._peer = Peer("gateway", "127.0.0.1", port, "WETREAD", CALLER)
        self._contexts = [(CT, [ExplicitVRLittleEndian])]

    def run(self) -> None:
        while self.waiting:
            try:
                self._send_what_waits()
            except WetreadError:
                time.sleep(0.05)

    def _send_what_waits(self) -> None:
        with open_association(self._peer, self._contexts) as association:
            for path in tuple(self.waiting):
                try:
                    answer = association.send_c_store(path)
                except RuntimeError:  # the association ended under way
                    return
                if answer.get("Status") != 0x0000:
                    return
                self.waiting.remove(path)
