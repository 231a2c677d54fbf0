"""The annotation server as a process of its own, started and stopped with everything it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from wetread.errors import ConfigError, InferenceUnavailableError
from wetread.infer.base import Progress, no_progress
from wetread.label.environment import APP, LabelEnvironment
from wetread.label.workspace import LabelSettings

START_SECONDS = 180.0
STOP_SECONDS = 10.0
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
_POLL_SECONDS = 0.1
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def url_of(settings: LabelSettings) -> str:
    """Where a server of these settings answers, without a slash at the end."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


class LabelServer:
    """MONAI Label with this project's app; within `with` it runs.

    It is in a session of its own, so that trainings which it started end with it. `log` is added
    to. `progress` is told while it starts; an error that it raises stops the server.

    Raises ConfigError if the port is taken, InferenceUnavailableError if it does not come up.
    """

    def __init__(
        self,
        settings: LabelSettings,
        settings_file: Path,
        environment: LabelEnvironment,
        *,
        log: Path,
        progress: Progress = no_progress,
    ) -> None:
        self.settings = settings
        self.log = log
        self._settings_file = settings_file
        self._environment = environment
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LabelServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return url_of(self.settings)

    @property
    def pid(self) -> int:
        """Of the server, which leads the process group of its tasks; it must run."""
        if self._process is None:
            raise InferenceUnavailableError("the annotation server does not run", hint="start it")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers; see the class."""
        self._check_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(*_ENDS_WITH_US, self._environment.python, APP / "serve.py"),
                    *("--host", self.settings.host, "--port", str(self.settings.port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._variables(),
                cwd=self.settings.folder,
                start_new_session=True,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it and what it started."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it and its tasks at once, as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def check(self) -> None:
        """Raise InferenceUnavailableError with its last words if it has ended by itself."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()] or ["it said nothing"]
            raise InferenceUnavailableError(
                f"the annotation server ended with {code}: {said[-1]}",
                hint=f"its whole log is {self.log}",
            )

    def _variables(self) -> dict[str, str]:
        settings = self.settings
        return {
            **self._environment.variables,
            "PYTHONPATH": str(APP),
            "WETREAD_LABEL_SETTINGS": str(self._settings_file),
            "MONAI_LABEL_APP_DIR": str(settings.app),
            "MONAI_LABEL_STUDIES": settings.studies,
            "MONAI_LABEL_SERVER_PORT": str(settings.port),
            "MONAI_LABEL_SESSION_PATH": str(settings.folder / "sessions"),
            "MONAI_LABEL_DATASTORE_CACHE_PATH": str(settings.folder / "cache"),
            # Its own reload would give every class of the app twice.
            "MONAI_LABEL_RELOAD_APP_LIB": "false",
            "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
            "MONAI_LABEL_TRACKING_ENABLED": "false",
        }

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.settings.host, self.settings.port))
            except OSError as error:
                raise ConfigError(
                    f"the port {self.settings.port} of {self.settings.host} cannot be had: "
                    f"{error.strerror}",
                    hint="end what listens there, or give another --port",
                ) from error

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            self.check()
            self._progress("start", 0.0)
            if time.monotonic() > deadline:
                raise InferenceUnavailableError(
                    f"the annotation server does not answer after {START_SECONDS:g} s",
                    hint=f"its log is {self.log}",
                )
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        """It is asked what it is; that it wants a token is an answer too."""
        try:
            with urllib.request.urlopen(f"{self.url}/info/", timeout=30) as answer:  # noqa: S310
                found: Any = json.load(answer)
                return "models" in found
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)
        except OSError:
            return False
