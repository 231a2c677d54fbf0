"""Networks that a Triton server runs: the predictor with `backend = "triton"`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.config import TritonModel
from wetread.errors import (
    ConfigError,
    InferenceError,
    InferenceUnavailableError,
    ModelContractError,
)
from wetread.files import secret_in
from wetread.infer.base import Alive, is_alive
from wetread.infer.description import NetworkSpec
from wetread.infer.triton_endpoint import (
    SHA256_PARAMETER,
    Call,
    Endpoint,
    Kind,
    TritonError,
    weights_of,
)

# A server that is gone is left alone for so long, and then asked again.
_REST_SECONDS = 1.0
# How long a request waits for any server to come back, before the job is put off.
PATIENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_ALIVE_SECONDS = 0.2
_UNBATCHED = 1
# Of a free axis in the trial question, where the server has no warm-up.
_TRIAL_LENGTH = 64

# After these another try can do no harm and may help.
_TRY_AGAIN = {Kind.BUSY, Kind.GONE, Kind.ABSENT, Kind.SICK, Kind.FORGOTTEN}
_HINTS = {
    Kind.BUSY: "start more servers, or lower max_in_flight and [workers] jobs",
    Kind.GONE: "is Triton running there? check triton_url and the network between",
    Kind.ABSENT: "load it there; wetread models build writes what Triton serves",
    Kind.SICK: "unloading and loading it did not help; see Triton's log",
    Kind.FORGOTTEN: "see Triton's log",
    Kind.LATE: "raise the model's timeout_seconds, or give Triton more room",
    Kind.REFUSED: "the bundle and what Triton serves must agree: wetread models build",
    Kind.TOO_LARGE: "let the bundle's inferer take smaller windows, or run Triton on this host",
    Kind.DENIED: "check token_file and ca_file of the model",
    Kind.BROKEN: "see Triton's log",
}


class TritonServers:
    """The servers of one model, which stand in for each other.

    A request goes to the one with the fewest in flight that is not resting after a failure; one
    with other weights of the same version does not answer it. At most `max_in_flight` requests are
    under way. Every answer can be asked for again without harm, so one that a server failed to give
    is asked of another, or of the same again, for as long as patience and time-out allow; one that
    came too late is not.

    Raises ConfigError for a token that cannot be read, or that would go over the wire in the clear.
    """

    def __init__(self, config: TritonModel, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.timeout_seconds = config.timeout_seconds
        self.max_in_flight = config.max_in_flight
        self._patience_seconds = patience_seconds
        self._endpoints = _endpoints(config)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(self.max_in_flight, "triton")

    @property
    def urls(self) -> str:
        """All of them, for a person."""
        return ", ".join(each.url for each in self._endpoints)

    def ready(self) -> Mapping[str, bool]:
        """Which servers say that they are, by URL."""
        return {each.url: each.is_ready() for each in self._endpoints}

    @property
    def share_memory(self) -> bool:
        """Whether all of them take requests through shared memory."""
        return all(each.shares_memory for each in self._endpoints)

    def start(self, call: Call, stopped: threading.Event) -> Future[NDArray[np.float32]]:
        """Ask once there is room. See `ask` for what the future raises."""
        return self._threads.submit(self.ask, call, stopped)

    def ask(self, call: Call, stopped: threading.Event) -> NDArray[np.float32]:
        """The answer of one of the servers. Raises InferenceError, see `TritonPredictor`."""
        deadline = time.monotonic() + self.timeout_seconds
        patience = time.monotonic() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            endpoint = self._chosen()
            try:
                return endpoint.ask(call, max(0.001, deadline - time.monotonic()), stopped)
            except TritonError as error:
                self._take_in(endpoint, call, error)
                limit = deadline if error.kind is Kind.BUSY else min(deadline, patience)
                if error.kind not in _TRY_AGAIN or time.monotonic() + pause > limit:
                    raise _for_a_person(call.network, error) from error
                is_soon = error.kind is Kind.FORGOTTEN or not self._all_rest()
            if stopped.wait(0 if is_soon else pause):
                raise _for_a_person(call.network, TritonError(Kind.STOPPED, endpoint.url, ""))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _chosen(self) -> Endpoint:
        with self._lock:
            now = time.monotonic()
            return min(self._endpoints, key=lambda each: (each.resting_until > now, each.in_flight))

    def _all_rest(self) -> bool:
        now = time.monotonic()
        return all(each.resting_until > now for each in self._endpoints)

    def _take_in(self, endpoint: Endpoint, call: Call, error: TritonError) -> None:
        """What a failed request says about its server."""
        if error.kind is Kind.SICK:
            try:
                endpoint.heal(call.network)
            except TritonError as worse:
                raise _for_a_person(call.network, worse) from worse
        if error.kind in (Kind.BUSY, Kind.GONE, Kind.ABSENT, Kind.SICK):
            endpoint.resting_until = time.monotonic() + _REST_SECONDS

    def model(self, network: str) -> tuple[list[str], dict[str, Any]]:
        """Versions and configuration, from the first server that has them.

        Raises InferenceUnavailableError if none has, ModelContractError and so on as `ask`.
        """
        first, *others = self._endpoints
        try:
            return first.model(network)
        except TritonError as error:
            for endpoint in others:
                with suppress(TritonError):
                    return endpoint.model(network)
            raise _for_a_person(network, error) from error

    def load(self, network: str) -> dict[str, list[str]]:
        """Let every server load what is newest of a network: the versions each has, by its URL.

        Requests for the version before are answered all the while. Raises InferenceError, see
        `TritonPredictor`, at the first server that cannot.
        """
        try:
            for endpoint in self._endpoints:
                endpoint.load(network)
            return {each.url: each.model(network)[0] for each in self._endpoints}
        except TritonError as error:
            raise _for_a_person(network, error) from error

    def close(self) -> None:
        """End the connections; requests that wait are given up."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for endpoint in self._endpoints:
            endpoint.close()


class TritonPredictor:
    """One network in the newest version that the servers had when it was opened.

    A batch that is larger than the server's `max_batch_size` becomes several requests at once,
    which the server may put together again with those of others.

    Opening it asks a trial question, since a dead network on Triton still says that it is ready.

    Raises InferenceUnavailableError if no server has the network, ModelContractError if it is
    another one than `spec`.
    """

    def __init__(self, spec: NetworkSpec, servers: TritonServers) -> None:
        self.spec = spec
        self._servers = servers
        versions, config = servers.model(spec.name)
        if not versions:
            raise InferenceUnavailableError(
                f"network {spec.name} has no version on {servers.urls}", hint=_HINTS[Kind.ABSENT]
            )
        self.version = max(versions, key=int)
        self.weights_sha256 = self._weights(config)
        self._largest = max(_UNBATCHED, int(str(config.get("max_batch_size", 0))))
        self._is_batched = spec.input.shape[0] < 0
        self.predict(_trial(spec, config))

    @property
    def shares_memory(self) -> bool:
        """Whether volumes go through shared memory, to every server."""
        return self._servers.share_memory

    @property
    def batch_hint(self) -> int:
        """So many images at once keep the servers busy."""
        return self._largest * self._servers.max_in_flight if self._is_batched else 1

    def predict(self, batch: NDArray[np.float32], alive: Alive = is_alive) -> NDArray[np.float32]:
        """See `Predictor.predict`.

        Raises ModelContractError for a batch or an answer of another shape than `spec` says, or one
        too large for gRPC; InferenceUnavailableError if no server answers.
        """
        calls = self._calls(batch)
        stopped = threading.Event()
        futures = [self._servers.start(call, stopped) for call in calls]
        try:
            waiting = set(futures)
            while waiting:
                alive()
                done, waiting = wait(waiting, _ALIVE_SECONDS, FIRST_EXCEPTION)
                for each in done:
                    each.result()
        finally:
            stopped.set()
            for each in futures:
                each.cancel()
        return np.concatenate([each.result() for each in futures])

    def close(self) -> None:
        """End the connections, which the networks of one model share."""
        self._servers.close()

    def _calls(self, batch: NDArray[np.float32]) -> list[Call]:
        wanted = f"network {self.spec.name} takes float32 of shape {_text(self.spec.input.shape)}"
        if batch.dtype != np.float32 or not _fits(batch.shape, self.spec.input.shape):
            raise ModelContractError(
                f"{wanted}, got {batch.dtype} of {list(batch.shape)}",
                hint="the bundle's inference.json and export.json must agree; build again",
            )
        size = self._largest if self._is_batched else len(batch)
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        return [self._call(np.ascontiguousarray(part)) for part in parts]

    def _call(self, part: NDArray[np.float32]) -> Call:
        lengths = (part.shape[0], self.spec.output.shape[1], *part.shape[2:])
        shape = tuple(
            length if size < 0 else size
            for size, length in zip(self.spec.output.shape, lengths, strict=False)
        )
        return Call(
            self.spec.name,
            self.version,
            self.weights_sha256,
            self.spec.input,
            self.spec.output,
            part,
            shape,
        )

    def _weights(self, config: Mapping[str, Any]) -> str:
        found = weights_of(config, self.version)
        if not found:
            raise ModelContractError(
                f"network {self.spec.name} on {self._servers.urls} does not say which weights its "
                f"version {self.version} has: no parameter {SHA256_PARAMETER}{self.version}",
                hint="serve what wetread models build wrote",
            )
        return found


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(
        size < 0 or size == length for size, length in zip(wanted, shape, strict=True)
    )


def _text(shape: Sequence[int]) -> str:
    return "[" + ", ".join("?" if size < 0 else str(size) for size in shape) + "]"


def _trial(spec: NetworkSpec, config: Mapping[str, Any]) -> NDArray[np.float32]:
    """One image of ones, as large as the network is warmed up with on the server.

    Another size could make TensorRT build an engine. The answer to zeros may be zeros, which nobody
    can tell from none.
    """
    warm = config.get("model_warmup") or [{}]
    inputs = warm[0].get("inputs", {}).get(spec.input.name, {})
    lengths = [int(each) for each in inputs.get("dims", [])]
    rank = len(spec.input.shape)
    known = [1] * (rank - len(lengths)) + lengths if lengths else [1] + [_TRIAL_LENGTH] * (rank - 1)
    shape = [
        length if size < 0 else size for size, length in zip(spec.input.shape, known, strict=True)
    ]
    return np.ones(shape, np.float32)


def open_triton(
    config: TritonModel, networks: Mapping[str, NetworkSpec]
) -> dict[str, TritonPredictor]:
    """The predictors of a model's networks, which share servers. Raises as `TritonPredictor`."""
    servers = TritonServers(config)
    try:
        return {name: TritonPredictor(spec, servers) for name, spec in networks.items()}
    except InferenceError:
        servers.close()
        raise


def _endpoints(config: TritonModel) -> list[Endpoint]:
    token = secret_in(config.token_file, "token_file")
    if token and any(url.startswith("grpc://") for url in config.triton_url):
        raise ConfigError(
            f"token_file {config.token_file}: the token would go to {config.triton_url[0]} "
            "in the clear",
            hint="use grpcs:// (TLS)",
        )
    return [
        Endpoint(
            url,
            token=token,
            root_certificates=None if config.ca_file is None else str(config.ca_file),
            shared_memory=config.shared_memory,
        )
        for url in config.triton_url
    ]


def _for_a_person(network: str, error: TritonError) -> InferenceError:
    text, hint = f"network {network} on {error}", _HINTS.get(error.kind, "")
    kinds: dict[Kind, Callable[..., InferenceError]] = {
        Kind.REFUSED: ModelContractError,
        Kind.TOO_LARGE: ModelContractError,
        Kind.DENIED: InferenceError,
    }
    return kinds.get(error.kind, InferenceUnavailableError)(text, hint=hint)
