"""An ONNX network in half precision, by ONNX Runtime's converter, or in 8-bit integers, by NNCF."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as failures
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from wetread.errors import InferenceError

Batch = NDArray[np.float32]

# The largest finite number of half precision.
HALF_MAXIMUM = 65504.0
# Convolutions and matrix products are worth 8 bits. These stay in float32: it costs little time,
# and the answers are twice as near.
_KEPT = [
    "Add",
    "BatchNormalization",
    "Concat",
    "Div",
    "GlobalAveragePool",
    "InstanceNormalization",
    "LayerNormalization",
    "Mul",
    "ReduceMean",
    "Relu",
    "Resize",
    "Sigmoid",
    "Sub",
]
_FAILURES = (
    failures.Fail,
    failures.RuntimeException,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.NotImplemented,
)


def write_half(source: Path, target: Path) -> None:
    """Weights and all between in half precision; input and output stay float32."""
    model = onnx.load(source)
    with warnings.catch_warnings():
        # Of weights that half precision rounds to its limits; what comes of it is judged.
        warnings.simplefilter("ignore")
        half = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    # The converter puts the casts of the inputs behind what reads them.
    half.topological_sort()
    half.model.graph.name = f"{model.graph.name}_fp16"
    onnx.save(half.model, target)


def write_integers(source: Path, target: Path, input_name: str, batches: Sequence[Batch]) -> None:
    """Convolutions and matrix products in 8-bit integers, in the range that `batches` show.

    They are for the CPU: without an offset, and without a sign where none is needed. Weights have a
    scale for each channel. Raises InferenceError if it cannot be done.
    """
    shown = nncf.Dataset([{input_name: batch} for batch in batches])
    with _quiet():
        try:
            integers = nncf.quantize(
                onnx.load(source),
                shown,
                preset=nncf.QuantizationPreset.PERFORMANCE,
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(types=_KEPT, validate=False),
            )
        except (*_FAILURES, nncf.InternalError, nncf.UnsupportedModelError, ValueError) as error:
            raise InferenceError(
                f"{source} cannot be quantised: {error}", hint="serve it in float32"
            ) from error
    integers.graph.name = f"{integers.graph.name}_int8"
    onnx.save(integers, target)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser draws bars where answers go, and gives advice without being asked."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def largest_value(source: Path, batches: Sequence[Batch]) -> float:
    """The largest number, without its sign, that the network computes on the way.

    ONNX Runtime has no half precision on the CPU: it rounds to it here and there and goes on in
    float32, so a value that is beyond half precision passes there unseen, and is none on a GPU.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    floats = [
        info.name
        for info in (*model.graph.value_info, *model.graph.output)
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    ]
    del model.graph.output[:]
    for name in floats:
        for operator in ("ReduceMin", "ReduceMax"):
            output = f"{operator} of {name}"
            model.graph.node.append(onnx.helper.make_node(operator, [name], [output], keepdims=0))
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [])
            )
    run = _session(model.SerializeToString())
    return max(abs(float(value)) for batch in batches for value in run(batch))


def onnx_runtime(source: Path) -> Callable[[Batch], Batch]:
    """The network's one output, by ONNX Runtime on the CPU.

    It, and what it gives, raise InferenceError if the network cannot be run.
    """
    run = _session(str(source))
    return lambda batch: run(batch)[0]


def _session(model: str | bytes) -> Callable[[Batch], list[Any]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with _told():
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: Batch) -> list[Any]:
        with _told():
            found: list[Any] = session.run(None, {name: batch})
        return found

    return run


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise InferenceError(f"ONNX Runtime: {error}", hint="check the operators") from error
