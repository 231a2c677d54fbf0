"""A Triton server of our own on this machine, started and stopped with everything that it makes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from wetread.errors import ConfigError, InferenceError, InferenceUnavailableError
from wetread.infer.base import Progress, no_progress
from wetread.triton.environment import Environment, open_environment

CONFIG_NAME = "cpu"
START_SECONDS = 60.0
LOAD_SECONDS = 300.0
EXIT_SECONDS = 10
# A model of a whole pipeline imports torch and MONAI before it answers.
_STUB_SECONDS = 120
_LOADS_AT_ONCE = 2
# Linux tells the server to stop when the thread that started it is gone, killed or not.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "INT")
_POLL_SECONDS = 0.05
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
_AN_ERROR = re.compile(r"E\d{4} |error: ")
_NO_GPU = "CudaDriverHelper"
_LISTENING = "0A"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def served_models(repository: Path) -> list[str]:
    """The models of a repository that have a configuration for the CPU, by name.

    Raises ConfigError if there is none.
    """
    configs = sorted(repository.glob(f"*/configs/{CONFIG_NAME}.pbtxt"))
    if not configs:
        raise ConfigError(
            f"no model in {repository.absolute()} has a configs/{CONFIG_NAME}.pbtxt",
            hint="build them: wetread models build",
        )
    return [config.parent.parent.name for config in configs]


class TritonServer:
    """`tritonserver` with some models of a repository; within `with` it runs.

    It is in a session of its own, under explicit control, and bound to `host` alone; a port of 0 is
    one that is free. A model that cannot be loaded stands with Triton's reason in `failed` and does
    not keep the others from being served; how long the others took is in `seconds`. `log` is added
    to. `progress` is told each model that is there; an error that it raises stops the server.

    Raises ConfigError if the repository or the environment is not there or a port is taken, and
    InferenceError if the server ends by itself or loads none of the models.
    """

    def __init__(
        self,
        repository: Path,
        models: Sequence[str],
        environment: Path,
        *,
        log: Path,
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        progress: Progress = no_progress,
    ) -> None:
        self.repository = repository
        self.models = tuple(models)
        self.environment = environment
        self.log = log
        self.host = host
        self.ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
        self.seconds: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._id = ""
        self._log_start = 0

    def __enter__(self) -> TritonServer:
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
    def pid(self) -> int:
        """Of the server, which leads the process group of its stubs; it must run."""
        return self._running.pid

    @property
    def grpc_url(self) -> str:
        """Host and port, as tritonclient wants them."""
        return self._url("grpc")

    @property
    def http_url(self) -> str:
        """Host and port, as tritonclient wants them."""
        return self._url("http")

    @property
    def metrics_url(self) -> str:
        """The whole URL of the Prometheus metrics."""
        return f"http://{self._url('metrics')}/metrics"

    def start(self) -> None:
        """Start it and load the models; see the class."""
        if self._process is not None:
            raise InferenceError("this Triton server runs already", hint="stop it first")
        if not self.repository.is_dir():
            raise ConfigError(
                f"no model repository {self.repository.absolute()}",
                hint="build one: wetread models build",
            )
        environment = open_environment(self.environment)
        self.ports = _free_ports(self.host, self.ports)
        self._id = f"wetread-{uuid.uuid4().hex[:12]}"
        self.seconds, self.failed = {}, {}
        self._launch(environment)
        try:
            self._wait_until_up()
            self._load_models()
        except BaseException:
            # Nobody has been served yet; a stub that still starts would be waited for.
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it and its stubs, and remove what they left in shared memory."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(EXIT_SECONDS + 5)
        self._clean_up(process)

    def kill(self) -> None:
        """End it at once, as a crash would, and clean up behind it."""
        process, self._process = self._process, None
        if process is not None:
            self._clean_up(process)

    def restart(self) -> None:
        """Stop, and start again on the same ports with the models that it was made with."""
        self.stop()
        self.start()

    def check(self) -> None:
        """Raise InferenceUnavailableError with its last words if it has ended by itself."""
        code = self._running.poll()
        if code is not None:
            raise InferenceUnavailableError(
                f"the Triton server ended with {code}: {self._last_words()}",
                hint=f"its whole log is {self.log}",
            )

    def is_ready(self, model: str) -> bool:
        """Whether this model answers; the state of the others does not count."""
        with self._client() as client:
            return bool(client.is_model_ready(model))

    def load(self, model: str, load_seconds: float = LOAD_SECONDS) -> None:
        """Load a model, or what is new of it. Raises InferenceError with Triton's reason."""
        with self._client() as client:
            try:
                client.load_model(model, client_timeout=load_seconds)
                ready = client.is_model_ready(model)
            except InferenceServerException as error:
                reason = _one_line(error.message())
                raise InferenceError(
                    f"Triton cannot load {model}: {reason}", hint=f"its log is {self.log}"
                ) from error
        if not ready:
            raise InferenceError(
                f"Triton loaded {model}, which is not ready", hint=f"its log is {self.log}"
            )

    def unload(self, model: str, unload_seconds: float = 30.0) -> None:
        """Unload a model and wait until its process is gone. Raises InferenceError otherwise."""
        deadline = time.monotonic() + unload_seconds
        with self._client() as client:
            client.unload_model(model)
            while time.monotonic() < deadline:
                index = client.get_model_repository_index().models
                states = {each.state for each in index if each.name == model}
                if states <= {"UNAVAILABLE", ""}:
                    return
                time.sleep(_POLL_SECONDS)
        raise InferenceError(
            f"Triton still unloads {model} after {unload_seconds:g} s",
            hint=f"its log is {self.log}",
        )

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise InferenceError("this Triton server does not run", hint="start it")
        return self._process

    def _url(self, door: str) -> str:
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"[{host}]:{self.ports[door]}" if ":" in host else f"{host}:{self.ports[door]}"

    @contextlib.contextmanager
    def _client(self) -> Iterator[InferenceServerClient]:
        client = InferenceServerClient(self.grpc_url)
        try:
            yield client
        finally:
            client.close()

    def _launch(self, environment: Environment) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_ENDS_WITH_US, environment.server, *self._arguments(environment)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment.variables,
                # What a terminal sends to the command must not reach the server by itself.
                start_new_session=True,
            )

    def _arguments(self, environment: Environment) -> list[str]:
        doors = [
            argument
            for door, port in self.ports.items()
            for argument in (f"--{door}-address={self.host}", f"--{door}-port={port}")
        ]
        return [
            *doors,
            f"--model-repository={self.repository.absolute()}",
            f"--model-config-name={CONFIG_NAME}",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            f"--backend-directory={environment.backends}",
            # By its name a region in shared memory is known to be this server's.
            f"--backend-config=python,shm-region-prefix-name={self._id}-",
            f"--backend-config=python,stub-timeout-seconds={_STUB_SECONDS}",
            # A request that is kept for reuse keeps its volume: 190 MB each at 256³.
            "--grpc-infer-allocation-pool-size=0",
            f"--exit-timeout-secs={EXIT_SECONDS}",
            "--allow-gpu-metrics=false",
        ]

    def _wait_until_up(self) -> None:
        """Until this process itself listens at every door; one that was taken ends it."""
        deadline = time.monotonic() + START_SECONDS
        while not _listens(self.pid, set(self.ports.values())):
            self.check()
            self._progress("start", 0.0)
            if time.monotonic() > deadline:
                raise InferenceUnavailableError(
                    f"the Triton server does not listen after {START_SECONDS:g} s",
                    hint=f"its log is {self.log}",
                )
            time.sleep(_POLL_SECONDS)

    def _load_models(self) -> None:
        pool = ThreadPoolExecutor(_LOADS_AT_ONCE)
        try:
            waiting = {pool.submit(self._timed_load, model): model for model in self.models}
            while waiting:
                done, _ = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                self.check()
                for future in done:
                    model = waiting.pop(future)
                    try:
                        self.seconds[model] = future.result()
                    except InferenceError as error:
                        self.failed[model] = error.message
                here = len(self.models) - len(waiting)
                self._progress(f"{here} of {len(self.models)} models", here / len(self.models))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if self.models and not self.seconds:
            raise InferenceError(
                f"Triton serves none of {len(self.models)} models: "
                + "; ".join(self.failed[model] for model in sorted(self.failed)),
                hint=f"its log is {self.log}",
            )

    def _timed_load(self, model: str) -> float:
        started = time.perf_counter()
        self.load(model)
        return time.perf_counter() - started

    def _last_words(self) -> str:
        """Its errors since it was started, else its last line."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if _AN_ERROR.match(line) and _NO_GPU not in line]
        return "; ".join(errors[-3:]) or (lines or ["it said nothing"])[-1]

    def _clean_up(self, process: subprocess.Popen[bytes]) -> None:
        """End what is left of its group, then remove what the group held in shared memory."""
        deadline = time.monotonic() + EXIT_SECONDS
        while time.monotonic() < deadline:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            process.poll()
            time.sleep(_POLL_SECONDS)
        process.wait()
        for region in _SHARED_MEMORY.glob(f"{self._id}-*"):
            region.unlink(missing_ok=True)


def _free_ports(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """A port for each door: the wanted one, which must be free, or for 0 one that is.

    They are held together until all are found, so that none is given twice.
    """
    found: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for door, port in wanted.items():
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            probe = held.enter_context(socket.socket(family))
            # Connections of a server that was just stopped do not keep a port from the next one.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ConfigError(
                    f"the {door} port {port} of {host} cannot be had: {error.strerror}",
                    hint=f"end what listens there, or give another --{door}-port",
                ) from error
            found[door] = int(probe.getsockname()[1])
    return found


def _listens(pid: int, ports: set[int]) -> bool:
    """Whether that process listens on all of these ports, see proc(5)."""
    process = Path(f"/proc/{pid}")
    found: dict[str, int] = {}
    try:
        sockets = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
        for table in ("tcp", "tcp6"):
            for line in (process / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    found[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    except OSError:
        # It has ended, or just closed one of its files.
        return False
    return ports <= {port for socket_name, port in found.items() if socket_name in sockets}


def _one_line(text: str) -> str:
    return " ".join(text.split())
