"""Networks run in this process, by OpenVINO on the CPU."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from wetread.errors import InferenceError, InferenceUnavailableError, ModelContractError
from wetread.infer.base import Alive, is_alive

_ALIVE_SECONDS = 0.2


def newest_version(repository: Path, network: str) -> Path:
    """The `model.onnx` of the highest numeric version folder of `network`.

    Raises InferenceError if there is none.
    """
    versions = [
        folder
        for folder in (repository / network).glob("*")
        if folder.name.isdecimal() and (folder / "model.onnx").is_file()
    ]
    if not versions:
        raise InferenceError(
            f"network {network}: no {repository / network}/<version>/model.onnx",
            hint="build it: wetread models build",
        )
    return max(versions, key=lambda folder: int(folder.name)) / "model.onnx"


class EmbeddedPredictor:
    """The newest version of one network in `repository`, compiled once.

    `threads` is the number of CPU threads, 0 for all cores. Calls from several threads take turns:
    one forward already uses every core, and two at once would double the memory. A forward that
    takes longer than `timeout_seconds` is given up.

    Raises InferenceError if the model is missing or OpenVINO cannot read it.
    """

    def __init__(
        self, network: str, repository: Path, *, threads: int = 0, timeout_seconds: float = 600.0
    ) -> None:
        self.network = network
        self.timeout_seconds = timeout_seconds
        self.path = newest_version(repository, network)
        self._lock = threading.Lock()
        self._compiled: Any = self._compile(threads)
        self._input = self._compiled.input(0).get_partial_shape()

    @property
    def weights_sha256(self) -> str:
        """Of the ONNX file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def batch_hint(self) -> int:
        """One image already uses every core."""
        return 1

    def predict(self, batch: NDArray[np.float32], alive: Alive = is_alive) -> NDArray[np.float32]:
        """One forward, see `Predictor.predict`; computed in float32."""
        self._check(batch)
        with self._lock:
            if self._compiled is None:
                raise InferenceError(f"network {self.network} is closed", hint="open it again")
            return self._forward(np.ascontiguousarray(batch), alive)

    def close(self) -> None:
        """Free the compiled network."""
        with self._lock:
            self._compiled = None

    def _forward(self, batch: NDArray[np.float32], alive: Alive) -> NDArray[np.float32]:
        # A request holds the buffers of all layers (hundreds of MB at 256³), so it does not outlive
        # the call; making one costs nothing measurable.
        request = self._compiled.create_infer_request()
        in_time = False
        try:
            request.start_async([batch], share_inputs=True)
            in_time = self._wait(request, alive)
        except (RuntimeError, MemoryError) as error:
            raise InferenceUnavailableError(
                f"network {self.network}: OpenVINO failed on shape {batch.shape}: {error}",
                hint="free memory on this machine, or lower [workers] jobs",
            ) from error
        finally:
            if not in_time:
                request.cancel()
        if not in_time:
            raise InferenceUnavailableError(
                f"network {self.network}: no answer after {self.timeout_seconds:g} s "
                f"on shape {batch.shape}",
                hint="raise the model's timeout_seconds, or give it more threads",
            )
        output: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        return output

    def _wait(self, request: Any, alive: Alive) -> bool:
        """Whether it ended in time. Raises what `alive` raises."""
        deadline = time.monotonic() + self.timeout_seconds
        while (left := deadline - time.monotonic()) > 0:
            if request.wait_for(math.ceil(1000 * min(left, _ALIVE_SECONDS))):
                return True
            alive()
        return False

    def _compile(self, threads: int) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            core = openvino.Core()
            return core.compile_model(core.read_model(self.path), "CPU", settings)
        except RuntimeError as error:
            raise InferenceError(
                f"network {self.network}: OpenVINO cannot load {self.path}: {error}",
                hint="build it again: wetread models build",
            ) from error

    def _check(self, batch: NDArray[np.float32]) -> None:
        wanted = f"network {self.network} takes float32 of shape {self._input}"
        if batch.dtype != np.float32:
            raise ModelContractError(
                f"{wanted}, got {batch.dtype}", hint="the bundle's inferer must give float32"
            )
        if not self._input.compatible(openvino.PartialShape(list(batch.shape))):
            raise ModelContractError(
                f"{wanted}, got {list(batch.shape)}",
                hint="the bundle's inference.json and export.json must agree; build again",
            )
