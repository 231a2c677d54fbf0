"""One Triton server, spoken to over gRPC: requests, what is wrong with it, and shared memory."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    KeepAliveOptions,
)
from tritonclient.utils import InferenceServerException

from wetread.infer.description import TensorSpec
from wetread.infer.shared_regions import Region, Regions, output_offset

_LOOPBACK = ("127.", "localhost", "[::1]")
_POLLING_SECONDS = 0.05
# For questions about a model; a forward has its own time-out.
_SHORT_SECONDS = 10.0
_READY_SECONDS = 2.0
_HEALING_SECONDS = 60.0
# The first time a GPU may build an engine.
_LOADING_SECONDS = 900.0
# The configuration in triton_models/ names the weights of each version by this.
SHA256_PARAMETER = "onnx_sha256:"
_NOTHING = np.array([np.nan], np.float32)
# What gRPC can carry in one message.
MAXIMUM_MESSAGE_BYTES = 2**31 - 1


class Kind(enum.Enum):
    """What came in the place of an answer, and so what may be done."""

    BUSY = "its queue is full"
    GONE = "it cannot be reached"
    ABSENT = "it does not serve this network"
    SICK = "the network's process there has died"
    FORGOTTEN = "it does not know the shared memory"
    LATE = "no answer in time"
    REFUSED = "it does not take the request"
    TOO_LARGE = "the request or its answer is too large"
    DENIED = "it does not let this gateway in"
    BROKEN = "it failed"
    STOPPED = "the request was cancelled"


class TritonError(Exception):
    """An answer that is none."""

    def __init__(self, kind: Kind, endpoint: str, said: str) -> None:
        super().__init__(
            f"{endpoint}: {kind.value}: {said}" if said else f"{endpoint}: {kind.value}"
        )
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Call:
    """One request: which network, in which version and weights, and what shape the answer has."""

    network: str
    version: str
    weights_sha256: str
    input: TensorSpec
    output: TensorSpec
    batch: NDArray[np.float32]
    output_shape: tuple[int, ...]

    @property
    def output_bytes(self) -> int:
        """Of the answer."""
        return int(np.prod(self.output_shape)) * 4


def weights_of(config: Mapping[str, Any], version: str) -> str:
    """The SHA-256 of a version's weights, as its configuration has it; empty if it does not say."""
    found = config.get("parameters", {}).get(f"{SHA256_PARAMETER}{version}", {})
    return str(found.get("string_value", ""))


class Endpoint:
    """A server by its URL, `grpc://host:port` or `grpcs://host:port` with TLS.

    `shared_memory`: only a server on this host is asked to use it, and the plain path is taken from
    then on if it cannot. Safe to use from several threads.
    """

    def __init__(
        self, url: str, *, token: str = "", root_certificates: str | None = None,
        shared_memory: bool = True,
    ) -> None:  # fmt: skip
        self.url = url
        scheme, _, address = url.partition("://")
        self._client = InferenceServerClient(
            address,
            ssl=scheme == "grpcs",
            root_certificates=root_certificates,
            keepalive_options=KeepAliveOptions(keepalive_time_ms=30_000),
        )
        self._headers = {"authorization": f"Bearer {token}"} if token else None
        self._shares_memory = shared_memory and address.startswith(_LOOPBACK)
        self._regions = Regions(self._forget)
        self._registered: set[str] = set()
        # The server has them open still, though nobody else does.
        self._abandoned: set[str] = set()
        self._lock = threading.Lock()
        self._healing = threading.Lock()
        self._healed_at: dict[str, float] = {}
        # Networks and versions whose weights are known to be the right ones.
        self._known: set[tuple[str, str]] = set()
        self.in_flight = 0
        self.resting_until = 0.0

    @property
    def shares_memory(self) -> bool:
        """Whether requests go through shared memory."""
        return self._shares_memory

    def is_ready(self) -> bool:
        """Whether it says so itself, within a few seconds."""
        try:
            return bool(self._client.is_server_ready(self._headers, client_timeout=_READY_SECONDS))
        except InferenceServerException:
            return False

    def model(self, network: str) -> tuple[list[str], dict[str, Any]]:
        """The versions that are served, and the configuration. Raises TritonError."""
        shared = {"headers": self._headers, "client_timeout": _SHORT_SECONDS, "as_json": True}
        try:
            metadata = self._client.get_model_metadata(network, **shared)
            config = self._client.get_model_config(network, **shared)
        except InferenceServerException as error:
            raise self._error(error) from error
        return list(metadata.get("versions", [])), dict(config["config"])

    def ask(self, call: Call, seconds: float, stopped: threading.Event) -> NDArray[np.float32]:
        """The answer, within `seconds`. `stopped` ends the request. Raises TritonError."""
        with self._lock:
            self.in_flight += 1
        try:
            self._check_weights(call)
            return self._ask(call, seconds, stopped)
        except TritonError as error:
            if error.kind in (Kind.GONE, Kind.ABSENT):
                # What comes back may be another server.
                self._known.clear()
            raise
        finally:
            with self._lock:
                self.in_flight -= 1

    def _check_weights(self, call: Call) -> None:
        if (call.network, call.version) in self._known:
            return
        versions, config = self.model(call.network)
        found = weights_of(config, call.version) if call.version in versions else ""
        if found != call.weights_sha256:
            what = (
                f"version {call.version} with the weights {call.weights_sha256[:12]} is not there"
            )
            raise TritonError(Kind.ABSENT, self.url, what)
        self._known.add((call.network, call.version))

    def _ask(self, call: Call, seconds: float, stopped: threading.Event) -> NDArray[np.float32]:
        region = self._region(call) if self._shares_memory else None
        if region is None:
            return self._received(call, self._send(call, None, seconds, stopped))
        is_free = False
        try:
            answer = self._send(call, region, seconds, stopped)
            found = self._read(call, answer, region)
            is_free = True
        except TritonError as error:
            if error.kind is Kind.FORGOTTEN:
                self._registered.discard(region.name)
            raise
        finally:
            # Else the server may still be at it: nobody else gets this memory.
            (self._regions.give_back if is_free else self._regions.remove)(region)
        return found

    def _region(self, call: Call) -> Region | None:
        """Shared memory that the server knows, or None for good if it cannot."""
        try:
            region = self._regions.take(output_offset(call.batch.nbytes) + call.output_bytes)
        except OSError:
            # /dev/shm is full just now: this request goes the plain way.
            return None
        if region.name in self._registered:
            return region
        try:
            self._client.register_system_shared_memory(
                region.name, region.key, region.size,
                headers=self._headers, client_timeout=_SHORT_SECONDS,
            )  # fmt: skip
        except InferenceServerException as error:
            region.remove()
            found = self._error(error)
            if found.kind in (Kind.GONE, Kind.LATE):
                raise found from error
            # It is on another machine, or may not open our memory.
            self._shares_memory = False
            return None
        self._registered.add(region.name)
        return region

    def _forget(self, region: Region) -> None:
        if region.name in self._registered:
            self._registered.discard(region.name)
            self._abandoned.add(region.name)
            self._unregister_abandoned()

    def _unregister_abandoned(self) -> None:
        """Let the server give back what it can; a request that was given up may still use some."""
        for name in tuple(self._abandoned):
            try:
                self._client.unregister_system_shared_memory(
                    name, headers=self._headers, client_timeout=_SHORT_SECONDS
                )
            except InferenceServerException as error:
                kind = self._error(error).kind
                if kind is Kind.BUSY:
                    continue
                # A server that is gone, or was, has let go of it.
                if kind not in (Kind.GONE, Kind.LATE, Kind.FORGOTTEN):
                    raise
            self._abandoned.discard(name)

    def _send(
        self, call: Call, region: Region | None, seconds: float, stopped: threading.Event
    ) -> Any:
        source = InferInput(call.input.name, list(call.batch.shape), "FP32")
        wanted = InferRequestedOutput(call.output.name)
        if region is None:
            largest = max(call.batch.nbytes, call.output_bytes)
            if largest > MAXIMUM_MESSAGE_BYTES:
                what = f"{largest} bytes, gRPC carries {MAXIMUM_MESSAGE_BYTES}"
                raise TritonError(Kind.TOO_LARGE, self.url, what)
            source.set_data_from_numpy(call.batch)
        else:
            size = call.batch.nbytes
            region.write(call.batch, 0)
            # A server that writes nothing says so nowhere.
            region.write(_NOTHING, output_offset(size))
            region.write(_NOTHING, output_offset(size) + call.output_bytes - _NOTHING.nbytes)
            source.set_shared_memory(region.name, size)
            wanted.set_shared_memory(region.name, call.output_bytes, output_offset(size))
        done = threading.Event()
        came: list[Any] = []

        def keep(result: Any, error: InferenceServerException | None) -> None:
            came.append(error or result)
            done.set()

        context = self._client.async_infer(
            call.network, [source], keep, call.version, [wanted],
            client_timeout=seconds, headers=self._headers,
        )  # fmt: skip
        while not done.wait(_POLLING_SECONDS):
            if stopped.is_set():
                context.cancel()
                raise TritonError(Kind.STOPPED, self.url, "")
        if isinstance(came[0], InferenceServerException):
            raise self._error(came[0]) from came[0]
        return came[0]

    def _read(self, call: Call, answer: Any, region: Region) -> NDArray[np.float32]:
        self._check_shape(call, answer)
        found = region.read(call.output_shape, output_offset(call.batch.nbytes))
        if np.isnan(found.flat[[0, -1]]).all():
            raise self._wrong(call, "nothing, or no numbers")
        return found

    def _received(self, call: Call, answer: Any) -> NDArray[np.float32]:
        self._check_shape(call, answer)
        try:
            found = answer.as_numpy(call.output.name)
        except ValueError as error:
            # Fewer bytes than the shape wants.
            raise self._wrong(call, str(error)) from error
        if found is None or found.dtype != np.float32:
            raise self._wrong(call, "no float32")
        # It is a view of the message, which nobody may write to.
        return np.array(found)

    def _check_shape(self, call: Call, answer: Any) -> None:
        output = answer.get_output(call.output.name)
        if output is None or tuple(output.shape) != call.output_shape:
            raise self._wrong(call, f"shape {list(output.shape)}" if output else "nothing")

    def _wrong(self, call: Call, what: str) -> TritonError:
        wanted = f"{call.output_bytes} bytes of shape {list(call.output_shape)}"
        return TritonError(Kind.REFUSED, self.url, f"it gave {what}, expected {wanted}")

    def load(self, network: str) -> None:
        """Load the newest version that lies in the server's repository. Raises TritonError."""
        self._change(self._client.load_model, network, _LOADING_SECONDS)

    def heal(self, network: str) -> None:
        """Unload and load a network whose process has died, at most once a minute.

        Triton says that such a network is ready, and does not start it again by itself.
        Raises TritonError if it does not come back.
        """
        with self._healing:
            last = self._healed_at.get(network)
            if last is not None and time.monotonic() - last < _HEALING_SECONDS:
                return
            self._healed_at[network] = time.monotonic()
            self._change(self._client.unload_model, network, _HEALING_SECONDS)
            self._change(self._client.load_model, network, _HEALING_SECONDS)

    def _change(self, change: Callable[..., None], network: str, seconds: float) -> None:
        try:
            change(network, headers=self._headers, client_timeout=seconds)
        except InferenceServerException as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Remove the shared memory and end the connection.

        A server is waited for that still computes what was given up, but not for long.
        """
        self._regions.close()
        deadline = time.monotonic() + _SHORT_SECONDS
        while self._abandoned and time.monotonic() < deadline:
            time.sleep(_POLLING_SECONDS)
            self._unregister_abandoned()
        self._client.close()

    def _error(self, error: InferenceServerException) -> TritonError:
        said = str(error.message())
        return TritonError(_kind(str(error.status()).rpartition(".")[2], said), self.url, said)


# What Triton says, in its own words, where the status alone does not tell.
_WORDS = (
    ("exceeds maximum queue size", Kind.BUSY),
    ("request timeout expired", Kind.BUSY),
    ("unknown model", Kind.ABSENT),
    ("is not at ready state", Kind.ABSENT),
    ("unknown version", Kind.ABSENT),
    ("stub process", Kind.SICK),
    ("in use", Kind.BUSY),
    ("shared memory region", Kind.FORGOTTEN),
)
_STATUSES = {
    "UNAVAILABLE": Kind.GONE,
    "NOT_FOUND": Kind.ABSENT,
    "DEADLINE_EXCEEDED": Kind.LATE,
    "INVALID_ARGUMENT": Kind.REFUSED,
    "RESOURCE_EXHAUSTED": Kind.REFUSED,
    "CANCELLED": Kind.STOPPED,
    "UNAUTHENTICATED": Kind.DENIED,
    "PERMISSION_DENIED": Kind.DENIED,
}


def _kind(status: str, said: str) -> Kind:
    lowered = said.lower()
    for words, kind in _WORDS:
        if words in lowered:
            return kind
    return _STATUSES.get(status, Kind.BROKEN)
