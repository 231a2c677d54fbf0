"""Whether a server's answer is the one that the network gives in this process."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from wetread.errors import InferenceError, ModelContractError
from wetread.infer.base import Progress, no_progress
from wetread.infer.description import NetworkSpec, TensorSpec
from wetread.infer.embedded import EmbeddedPredictor
from wetread.infer.fixed_input import fixed_input
from wetread.triton.configs import ONNX_FILE
from wetread.triton.server import TritonServer

# Of a batch axis and of other axes that the network leaves open.
_LENGTHS = (2, 96)
_ANSWER_SECONDS = 300.0
# Root of the summed squares of the difference, as a share of that of the answer. The same ONNX in
# float32 comes within 1e-5; an answer of zeros is at 1. A form of fewer bits was judged when it was
# built, and here has only to be the same network.
MAXIMUM_DIFFERENCE = 0.01
MAXIMUM_DIFFERENCE_OF_FORMS = 0.3


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What became of a model: ready, or `reason` why not.

    `difference` is that of `check_parity`, None for a whole pipeline; `seconds` it took to load.
    """

    name: str
    seconds: float | None = None
    difference: float | None = None
    reason: str = ""

    @property
    def state(self) -> str:
        """One word for a person."""
        return "failed" if self.reason else "ready"

    @property
    def figures(self) -> tuple[str, str]:
        """Seconds and difference, as text; empty where there is none."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        return seconds, "" if self.difference is None else f"{self.difference:.1e}"


def check_models(server: TritonServer, progress: Progress = no_progress) -> list[ServedModel]:
    """Compare each network of a running server; one that differs is unloaded.

    `progress` is told which one is next. Raises InferenceError if no model is left.
    """
    found = []
    for index, model in enumerate(server.models):
        progress(f"compare {model}", index / len(server.models))
        found.append(_checked(server, model))
    if not any(each.state == "ready" for each in found):
        reasons = "; ".join(each.reason for each in found)
        raise InferenceError(
            f"Triton has no model left to serve: {reasons}",
            hint=f"wetread models build; wetread triton install; its log is {server.log}",
        )
    return found


def _checked(server: TritonServer, model: str) -> ServedModel:
    if model in server.failed:
        return ServedModel(model, reason=server.failed[model])
    seconds = server.seconds[model]
    if not is_network(server.repository, model):
        return ServedModel(model, seconds)
    try:
        difference = check_parity(server, served_spec(server, model), server.repository)
    except InferenceError as error:
        server.check()
        server.unload(model)
        return ServedModel(model, seconds, reason=error.message)
    return ServedModel(model, seconds, difference)


def is_network(repository: Path, model: str) -> bool:
    """Whether there is an ONNX file to compare it with; a whole pipeline has none."""
    return any((repository / model).glob("[0-9]*/model.onnx"))


def served_spec(server: TritonServer, model: str) -> NetworkSpec:
    """Names and shapes of a network's input and output, as the server declares them."""
    with closing(InferenceServerClient(server.grpc_url)) as client:
        found = client.get_model_metadata(model)
    source, target = (
        TensorSpec(port.name, tuple(port.shape), "float32")
        for port in (found.inputs[0], found.outputs[0])
    )
    return NetworkSpec(model, "", source, target)


def check_parity(server: TritonServer, spec: NetworkSpec, repository: Path) -> float:
    """How far the server's answer to a fixed input is from that of EmbeddedPredictor.

    0 is the same, 1 as far as an answer of zeros; see `MAXIMUM_DIFFERENCE`.

    Raises ModelContractError if it is further, of another shape, or without a byte, as those of
    the Python backend are under numpy 2; InferenceError if the server gives none.
    """
    batch = fixed_input(spec, _LENGTHS)
    found = _served(server, spec, batch)
    with closing(EmbeddedPredictor(spec.name, repository)) as predictor:
        wanted = predictor.predict(batch)
    if found.shape != wanted.shape:
        raise _other(spec, f"has the shape {list(found.shape)}, not {list(wanted.shape)}")
    if not np.isfinite(found).all():
        raise _other(spec, "has NaN or infinite values")
    size = float(np.linalg.norm(wanted)) or 1.0
    difference = float(np.linalg.norm(found - wanted)) / size
    limit = _limit(server, spec)
    if difference > limit:
        raise _other(spec, f"differs by {difference:.2g}; allowed is {limit:g}")
    return difference


def _limit(server: TritonServer, spec: NetworkSpec) -> float:
    with closing(InferenceServerClient(server.grpc_url)) as client:
        config = client.get_model_config(spec.name).config
    file = config.parameters["onnx_file"].string_value or ONNX_FILE
    return MAXIMUM_DIFFERENCE if file == ONNX_FILE else MAXIMUM_DIFFERENCE_OF_FORMS


def _served(
    server: TritonServer, spec: NetworkSpec, batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    given = InferInput(spec.input.name, list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    wanted = [InferRequestedOutput(spec.output.name)]
    with closing(InferenceServerClient(server.grpc_url)) as client:
        try:
            result = client.infer(
                spec.name, [given], outputs=wanted, client_timeout=_ANSWER_SECONDS
            )
        except InferenceServerException as error:
            raise InferenceError(
                f"Triton gives no answer of {spec.name}: {' '.join(error.message().split())}",
                hint=f"its log is {server.log}",
            ) from error
    answer = result.get_response()
    if not sum(len(content) for content in answer.raw_output_contents):
        raise ModelContractError(
            f"Triton's answer of {spec.name} has not a single byte",
            hint="its Python needs numpy<2; make the environment again: wetread triton install",
        )
    found: NDArray[np.float32] = result.as_numpy(spec.output.name)
    return found


def _other(spec: NetworkSpec, what: str) -> ModelContractError:
    return ModelContractError(
        f"Triton's answer of {spec.name} is another than this network's here: it {what}",
        hint="its Python needs numpy<2 (wetread triton install), and both must have the same "
        "model.onnx (wetread models build)",
    )
