"""Runs the ONNX file beside it, as a model of Triton's Python backend.

This file is copied to `<network>/<version>/model.py` and runs in the server's own Python, 3.11 or
3.12, which has numpy, and OpenVINO or else ONNX Runtime, and need not have wetread.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# OpenVINO tells its makers of every import, unless it does not find this.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
try:
    import openvino
except ImportError:
    openvino = None

# How often a running forward looks whether anybody still waits for it.
_POLL_MILLISECONDS = 50


class CancelledError(Exception):
    """Nobody waits for the answer any more."""


class TritonPythonModel:
    """What the backend calls: once `initialize`, then `execute` with the requests that came."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the network.

        Parameters of the configuration: `intra_op_threads`, 0 for all; `onnx_file`, which of the
        files beside this one.
        """
        config = json.loads(args["model_config"])
        parameters = config.get("parameters", {})
        file = parameters.get("onnx_file", {}).get("string_value", "model.onnx")
        path = Path(args["model_repository"]) / args["model_version"] / file
        threads = int(parameters.get("intra_op_threads", {}).get("string_value", "0"))
        self._batches = int(config.get("max_batch_size", 0)) > 0
        self._input = config["input"][0]["name"]
        self._output = config["output"][0]["name"]
        runtime = _OpenVino if openvino else _OnnxRuntime
        self._network = runtime(path, self._output, threads)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, in their order; an error of one is no error of another."""
        inputs = [
            pb_utils.get_input_tensor_by_name(request, self._input).as_numpy()
            for request in requests
        ]
        responses: list[Any] = [None] * len(requests)
        for group in self._groups(inputs):
            waiting = [index for index in group if not requests[index].is_cancelled()]
            for index in set(group) - set(waiting):
                responses[index] = _refused("cancelled", pb_utils.TritonError.CANCELLED)
            if waiting:
                answers = self._answers(requests, inputs, waiting)
                for index, answer in zip(waiting, answers, strict=True):
                    responses[index] = answer
        return responses

    def _groups(self, inputs: Sequence[Any]) -> list[list[int]]:
        """Which requests go through the network at once: those of one shape, if it batches."""
        if not self._batches:
            return [[index] for index in range(len(inputs))]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, array in enumerate(inputs):
            groups.setdefault(array.shape[1:], []).append(index)
        return list(groups.values())

    def _answers(
        self, requests: Sequence[Any], inputs: Sequence[Any], group: Sequence[int]
    ) -> list[Any]:
        """The responses of one group; if it fails as a whole, each tries by itself."""
        arrays = [inputs[index] for index in group]
        batch = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        waiting = [requests[index] for index in group]
        try:
            output = self._network.run(np.ascontiguousarray(batch, np.float32), waiting)
        except CancelledError:
            return [_refused("cancelled", pb_utils.TritonError.CANCELLED) for _ in group]
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            if len(group) > 1:
                return [self._answers(requests, inputs, [index])[0] for index in group]
            text = f"shape {list(batch.shape)}: {type(error).__name__}: {error}"
            return [_refused(text, pb_utils.TritonError.INTERNAL)]
        parts = [output]
        if len(arrays) > 1:
            ends = np.cumsum([len(array) for array in arrays])[:-1]
            parts = np.split(output, ends)
        return [pb_utils.InferenceResponse([pb_utils.Tensor(self._output, part)]) for part in parts]


def _refused(text: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))


class _OpenVino:
    """A network on the CPU in float32, as `wetread.infer.embedded` runs it."""

    def __init__(self, path: Path, output: str, threads: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        core = openvino.Core()
        self._compiled = core.compile_model(core.read_model(path), "CPU", settings)
        self._output = output

    def run(self, batch: Any, waiting: Sequence[Any]) -> Any:
        """The answer; given up once all that wait for it are cancelled."""
        # A request holds the buffers of all layers, so it does not outlive the call.
        request = self._compiled.create_infer_request()
        request.start_async([batch], share_inputs=True)
        while not request.wait_for(_POLL_MILLISECONDS):
            if all(each.is_cancelled() for each in waiting):
                request.cancel()
                with contextlib.suppress(RuntimeError):
                    request.wait()
                raise CancelledError
        return request.get_tensor(self._output).data.copy()


class _OnnxRuntime:
    """The same where there is no OpenVINO."""

    def __init__(self, path: Path, output: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._output = output

    def run(self, batch: Any, waiting: Sequence[Any]) -> Any:  # noqa: ARG002
        """The answer; a forward that has begun runs to its end."""
        return self._session.run([self._output], {self._input: batch})[0]
