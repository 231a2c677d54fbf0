"""One process among several on one PostgreSQL: alive for the others, or at its end.

A thread renews this process's lease, and strikes off those that have not renewed theirs; another
one lets go on with what the dead were at. A process that finds itself struck off ends at once, as
if killed: whatever it still did, somebody else does by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NoReturn

import structlog

from wetread import metrics
from wetread.config import Config
from wetread.errors import ConfigError, LeaseLostError, LedgerError, codes_for
from wetread.ledger import Worker, Workers
from wetread.receive.assembly import Doors

log = structlog.get_logger()

# So often is a lease renewed within its time.
_RENEWALS = 3
_OWN_NAME = "give each process its own [workers] name"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Lease:
    """The lease of this process. `take`, then `keep`, in the end `give_back`."""

    def __init__(
        self,
        config: Config,
        book: Workers,
        *,
        has_doors: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config.workers
        self._spool = config.spool.path
        self._book = book
        self._has_doors = has_doors
        self._clock = clock
        self.name = config.workers.name or socket.gethostname()
        # Never the same twice: what an earlier process left is told from what this one is at.
        self.executor_id = f"{self.name}:{secrets.token_hex(4)}"
        self._lock: IO[str] | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._shown: Doors | None = None
        # When it was renewed last, and since when that has always come in time.
        self._renewed_at = self._steady_since = 0.0

    def take(self) -> None:
        """Wait for the name, and be alive under it.

        A process of that name that died on this machine has left it at once; one that died
        elsewhere when its lease is over. Raises ConfigError if one is alive.
        """
        file = self._spool / f"worker-{self.name}.lock"
        self._lock = only_process(file, f"works as {self.name!r}", _OWN_NAME)
        first: Worker | None = None
        while (other := self._book.begin(self._me(), self._config.lease_seconds)) is not None:
            if first is not None and other != first:
                self._lock.close()
                raise ConfigError(
                    f"another wetread (process {other.process_id} on {other.host}) works as "
                    f"{self.name!r}",
                    hint=_OWN_NAME,
                )
            if first is None:
                log.warning("waiting for the lease of a former process", name=self.name)
            first = other
            time.sleep(self._beat_seconds)
        self._renewed_at = self._steady_since = self._clock()

    def _me(self) -> Worker:
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
        host, number = socket.gethostname(), os.getpid()
        jobs = self._config.jobs
        return Worker(self.executor_id, self.name, host, boot_id, number, jobs, self._has_doors)

    def keep(self, recover: Callable[[Callable[[], frozenset[str]]], None]) -> None:
        """Go on being alive, and let the work of the dead go on.

        `recover` does that, now and then; it is given whom to ask who is alive.
        """
        # Apart: DBOS waits for a database that is away, and the lease must not wait with it.
        for name, work in (("lease", self._beat), ("takeover", lambda: recover(self._alive))):
            thread = threading.Thread(target=self._repeat, args=(work,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _alive(self) -> frozenset[str]:
        return frozenset(each.executor_id for each in self._book.alive())

    @property
    def _beat_seconds(self) -> float:
        return self._config.lease_seconds / _RENEWALS

    def _repeat(self, work: Callable[[], None]) -> None:
        while True:
            try:
                work()
            except LeaseLostError as error:
                end_process(error)
            except LedgerError as error:
                metrics.FAILURES.labels("lease", codes_for(error).label).inc()
                log.error("the ledger does not answer", reason=str(error))
            if self._stopping.wait(self._beat_seconds):
                return

    def _beat(self) -> None:
        before = self._renewed_at
        self._book.renew(self._config.lease_seconds)
        self._renewed_at = self._clock()
        if self._renewed_at - before > self._config.lease_seconds:
            # Perhaps nobody could renew: the others get their time before they are struck off.
            self._steady_since = self._renewed_at
        if self._renewed_at - self._steady_since >= self._config.lease_seconds:
            for dead in self._book.strike_off():
                metrics.WORKERS_LOST.inc()
                log.error("a worker is dead, its work is taken over", worker=dead.executor_id)

    def doors(self, here: Doors) -> Doors:
        """All doors of all gateways; `here` are those of this process.

        Those of one that starts, or died a moment ago, are closed, and its callers will be back.
        """
        if here != self._shown:
            self._book.show_doors(here.open_since, here.open_callers)
            self._shown = here
        gateways = [each for each in self._book.alive() if each.has_doors]
        closed = [each for each in gateways if each.opened_at is None]
        since = [here.open_since, *(each.opened_at or 0.0 for each in gateways)]
        callers = here.open_callers.union(*(each.open_callers for each in gateways))
        return Doors(callers, time.time() if closed else max(since))

    def stop(self, wait_seconds: float) -> None:
        """Renew it no longer."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(wait_seconds)

    def give_back(self, *, idle: bool) -> None:
        """Let others go on at once; if not `idle`, when the lease is over: something still runs."""
        if idle:
            # Without its database it ends by itself.
            with contextlib.suppress(LedgerError):
                self._book.end()
        if self._lock is not None:
            self._lock.close()


def end_process(error: LeaseLostError) -> NoReturn:
    """End without another word to anybody, as a kill would."""
    log.critical("this process must end", reason=str(error), hint=error.hint)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(codes_for(error).exit_code)


def lock_of(spool: Path) -> Path:
    """The lock file of the one process that works on a spool with SQLite."""
    return spool / "wetread.lock"


def holder_of(path: Path) -> str:
    """The number of the process that holds a lock file; "" if none does."""
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "unknown"
    return ""


def only_process(path: Path, what: str, hint: str) -> IO[str]:
    """Hold a lock file. Raises ConfigError if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ConfigError(f"another wetread (process {owner}) {what}", hint=hint) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
