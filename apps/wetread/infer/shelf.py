"""The configured models, each opened once, when it is first needed, and kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from wetread.config import ModelConfig
from wetread.errors import ConfigError
from wetread.infer.bundle import BundleModel, open_model


class ModelShelf:
    """Models by their name in the configuration. Safe to use from several threads."""

    def __init__(self, models: Mapping[str, ModelConfig], repository: Path) -> None:
        self._configs = models
        self._repository = repository
        self._open: dict[str, BundleModel] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> BundleModel:
        """The model of that name. Raises ConfigError if none is configured, or as `open_model`."""
        with self._lock:
            if name not in self._open:
                if name not in self._configs:
                    known = ", ".join(sorted(self._configs)) or "none"
                    raise ConfigError(f"no model {name!r}; known: {known}", hint="see [models]")
                self._open[name] = open_model(name, self._configs[name], self._repository)
            return self._open[name]

    def close(self) -> None:
        """Release every model."""
        with self._lock:
            for model in self._open.values():
                model.close()
            self._open.clear()
