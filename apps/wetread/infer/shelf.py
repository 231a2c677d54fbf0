"""The configured models, each opened once, when it is first needed, and kept up to date.

A model whose bundle was promoted or rolled back, or whose networks were built anew, is opened again
beside the one that is in use. Readings under way end on the one that they began with, and the last
of them closes it. One that cannot be opened changes nothing: the former goes on, and it is said
loudly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from wetread import metrics
from wetread.config import ModelConfig, TritonModel
from wetread.errors import (
    ConfigError,
    InferenceError,
    InferenceUnavailableError,
    WetreadError,
    codes_for,
)
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.description import load_networks
from wetread.infer.served import ServedState, served_state
from wetread.results import ModelIdentity

log = structlog.get_logger()

# A switch takes moments; one that waits for Triton to load a network takes longer.
PATIENCE_SECONDS = 30.0
# A version that could not be opened is tried again after so long.
RETRY_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_TRIES = 5


class ModelShelf:
    """Models by their name in the configuration. Safe to use from several threads."""

    def __init__(
        self,
        models: Mapping[str, ModelConfig],
        repository: Path,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = {
            name: _Place(name, config, repository, patience_seconds, clock)
            for name, config in models.items()
        }

    def get(self, name: str) -> BundleModel:
        """The newest version of the model of that name, which a switch may close: see `lend`.

        Raises ConfigError if none is configured, InferenceUnavailableError while a promotion that
        was cut short has not been settled, or as `open_model`.
        """
        return self._place(name).newest().model

    @contextmanager
    def lend(self, name: str) -> Iterator[BundleModel]:
        """The same, which stays open for as long as the block lasts. Raises as `get`."""
        place = self._place(name)
        opened = place.take()
        try:
            yield opened.model
        finally:
            place.give_back(opened)

    def identities(self) -> Mapping[str, ModelIdentity | None]:
        """What each model reads with now; None of one that is not open."""
        return {name: place.identity for name, place in self._places.items()}

    def set_aside(self, name: str) -> None:
        """Open the model anew for the next reading: one hangs at what is open now."""
        self._place(name).set_aside()

    def refresh(self) -> None:
        """Switch every model that is open and of which there is another version."""
        for place in self._places.values():
            place.refresh()

    def close(self) -> None:
        """Release every model."""
        for place in self._places.values():
            place.close()

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            known = ", ".join(sorted(self._places)) or "none"
            raise ConfigError(f"no model {name!r}; known: {known}", hint="see [models]")
        return self._places[name]


class _Opened:
    """A model, what was served when it was opened, and how many readings are at it."""

    def __init__(self, model: BundleModel, networks: tuple[str, ...], state: ServedState) -> None:
        self.model = model
        self.networks = networks
        self.state = state
        self.readings = 0


class _Place:
    """One model: the version in use, and former ones that readings are still at."""

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        repository: Path,
        patience_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._config = config
        self._repository = repository
        self._patience_seconds = patience_seconds
        self._clock = clock
        # Held for moments; opening, which takes seconds, has a lock of its own.
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._newest: _Opened | None = None
        self._former: list[_Opened] = []
        self._refused: tuple[ServedState, float] | None = None

    def newest(self) -> _Opened:
        """The version in use, opened or switched to if need be."""
        self.refresh()
        opened = self._newest
        if opened is not None:
            return opened
        with self._opening:
            opened = self._newest
            if opened is None:
                opened = self._newest = self._open()
            return opened

    @property
    def identity(self) -> ModelIdentity | None:
        opened = self._newest
        return None if opened is None else opened.model.identity

    def take(self) -> _Opened:
        """The version in use, with one reading more."""
        while True:
            opened = self.newest()
            with self._lock:
                if opened is self._newest:
                    opened.readings += 1
                    return opened

    def give_back(self, opened: _Opened) -> None:
        """One reading less; the last one of a former version closes it."""
        with self._lock:
            opened.readings -= 1
            is_last = opened in self._former and not opened.readings
            if is_last:
                self._former.remove(opened)
        if is_last:
            opened.model.close()

    def set_aside(self) -> None:
        """Lend what is open to nobody more; whoever is at it may stay."""
        with self._lock:
            if self._newest is not None and self._newest.readings:
                self._former.append(self._newest)
                self._newest = None

    def refresh(self) -> None:
        """Switch if there is another version. While one thread does, others use what is open."""
        opened = self._newest
        if opened is None or self._other_state(opened) is None:
            return
        if self._opening.acquire(blocking=False):
            try:
                self._switch()
            finally:
                self._opening.release()

    def close(self) -> None:
        with self._lock:
            every = [*self._former, *([self._newest] if self._newest else [])]
            self._newest, self._former = None, []
        for opened in every:
            opened.model.close()

    def _other_state(self, opened: _Opened) -> ServedState | None:
        """What is served now, if it is neither what is open nor what could not be opened."""
        state = served_state(self._config.bundle, self._repository, opened.networks)
        if state is None or state == opened.state:
            return None
        refused, again_at = self._refused or (None, 0.0)
        return None if state == refused and self._clock() < again_at else state

    def _switch(self) -> None:
        former = self._newest
        state = self._other_state(former) if former else None
        if former is None or state is None:
            return
        try:
            opened = self._open()
            self._check_weights(former.model, opened.model)
        except (WetreadError, OSError) as error:
            self._refuse(state, error)
            return
        with self._lock:
            is_idle = not former.readings
            self._newest, self._refused = opened, None
            if not is_idle:
                self._former.append(former)
        if is_idle:
            former.model.close()
        before, after = former.model.identity, opened.model.identity
        log.info(
            "another version of the model is open",
            model=self._name,
            former=before.version,
            version=after.version,
            weights_sha256=after.weights_sha256,
        )

    def _refuse(self, state: ServedState, error: Exception) -> None:
        self._refused = state, self._clock() + RETRY_SECONDS
        metrics.FAILURES.labels("switch", codes_for(error).label).inc()
        log.error(
            "the new version of the model cannot be opened, the former goes on",
            model=self._name,
            reason=str(error),
            hint=getattr(error, "hint", ""),
        )

    def _check_weights(self, former: BundleModel, opened: BundleModel) -> None:
        """Of a model on Triton: a new name must not stand on what former weights found."""
        one, other = former.identity, opened.identity
        is_renamed = one.version != other.version and one.weights_sha256 == other.weights_sha256
        if is_renamed and isinstance(self._config, TritonModel):
            opened.close()
            raise InferenceError(
                f"{self._name}: the bundle is version {other.version}, the servers have the "
                f"weights of {one.version}",
                hint=f"wetread triton load {self._name}; or start again if only words changed",
            )

    def _open(self) -> _Opened:
        """What is served now, all of it from one version."""
        for _ in range(_TRIES):
            networks = tuple(load_networks(self._config.bundle))
            state = self._settled(networks)
            try:
                model = open_model(self._name, self._config, self._repository)
            except (WetreadError, OSError):
                if self._state(networks) == state:
                    raise
                continue
            if self._state(networks) == state:
                return _Opened(model, networks, state)
            model.close()
        raise InferenceUnavailableError(
            f"{self._name}: {self._config.bundle.name} changed {_TRIES} times while it was opened",
            hint="wait until nothing promotes or builds it",
        )

    def _state(self, networks: tuple[str, ...]) -> ServedState | None:
        return served_state(self._config.bundle, self._repository, networks)

    def _settled(self, networks: tuple[str, ...]) -> ServedState:
        """What is served, once no promotion switches."""
        deadline = time.monotonic() + self._patience_seconds
        while (state := self._state(networks)) is None:
            if time.monotonic() > deadline:
                raise InferenceUnavailableError(
                    f"{self._name}: a promotion of {self._config.bundle.name} is under way, or was "
                    "cut short",
                    hint="the next start of the gateway settles it, or the next wetread models "
                    "promote or rollback",
                )
            time.sleep(_LOOK_SECONDS)
        return state
