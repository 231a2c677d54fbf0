"""Reads a whole volume: the bundle beside it, with the networks that this server has.

This file is copied to `<bundle>_reading/<version>/model.py` and runs in the server's own Python,
which has wetread. The networks are asked within the server, so the requests of several clients meet
in their queues.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from wetread.config import EmbeddedModel
from wetread.errors import InputError, ModelContractError, WetreadError
from wetread.infer.base import Alive, is_alive
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.description import NetworkSpec, load_networks
from wetread.infer.subjects import volume_of_modalities
from wetread.results import SegmentationResult
from wetread.triton.served import BUNDLE_FOLDER


class ServedNetwork:
    """One network of this server, in the version that the reading was written for."""

    batch_hint = 1

    def __init__(self, spec: NetworkSpec, version: int, weights_sha256: str) -> None:
        self.spec = spec
        self.version = version
        self.weights_sha256 = weights_sha256

    def predict(self, batch: NDArray[np.float32], alive: Alive = is_alive) -> NDArray[np.float32]:
        """See `wetread.infer.base.Predictor`."""
        alive()
        request = pb_utils.InferenceRequest(
            model_name=self.spec.name,
            model_version=self.version,
            requested_output_names=[self.spec.output.name],
            inputs=[pb_utils.Tensor(self.spec.input.name, batch)],
        )
        response = request.exec()
        if response.has_error():
            raise ModelContractError(
                f"network {self.spec.name}: {response.error().message()}",
                hint="is it loaded, in that version?",
            )
        output = pb_utils.get_output_tensor_by_name(response, self.spec.output.name)
        found: NDArray[np.float32] = output.as_numpy().copy()
        return found

    def close(self) -> None:
        """Nothing is held."""


class TritonPythonModel:
    """What the backend calls: once `initialize`, then `execute` with the requests that came."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle. Parameter `networks`: version and SHA-256 of each, as JSON."""
        config = json.loads(args["model_config"])
        versions = json.loads(config["parameters"]["networks"]["string_value"])
        bundle = Path(args["model_repository"]) / args["model_version"] / BUNDLE_FOLDER
        specs = load_networks(bundle)
        self._model: BundleModel = open_model(
            args["model_name"],
            EmbeddedModel(bundle=bundle),
            Path(args["model_repository"]).parent,
            lambda name: ServedNetwork(specs[name], **versions[name]),
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in their order; an error of one is no error of another."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        def progress(_stage: str, _fraction: float) -> None:
            if request.is_cancelled():
                raise CancelledError("nobody waits for it")

        try:
            result = self._model.read(self._volume(request), progress)
        except CancelledError as error:
            return _refused(error, pb_utils.TritonError.CANCELLED)
        except InputError as error:
            return _refused(error, pb_utils.TritonError.INVALID_ARG)
        except WetreadError as error:
            return _refused(error, pb_utils.TritonError.INTERNAL)
        check = result.input_check
        outputs = {
            "warning": _text("" if check is None or check.is_like_training else check.text),
            "model": _text(json.dumps(_identity(self._model))),
        }
        if isinstance(result, SegmentationResult):
            outputs["labelmap"] = result.labelmap.astype(np.uint16)
        else:
            outputs["probabilities"] = np.array(list(result.probabilities.values()), np.float32)
        tensors = [pb_utils.Tensor(name, values) for name, values in outputs.items()]
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse([each for each in tensors if each.name() in wanted])

    def _volume(self, request: Any) -> highdicom.Volume:
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        affine = pb_utils.get_input_tensor_by_name(request, "affine")
        placed = np.eye(4) if affine is None else affine.as_numpy()
        modalities = self._model.modalities
        try:
            if modalities:
                return volume_of_modalities(image, placed, modalities)
            return highdicom.Volume(image, placed, coordinate_system="PATIENT")
        except ValueError as error:
            raise InputError(
                f"affine: {error}", hint="4 x 4, from (slice, row, column) to mm in LPS"
            ) from error

    def finalize(self) -> None:
        """Close the bundle."""
        self._model.close()


class CancelledError(WetreadError):
    """The client has gone."""


def _identity(model: BundleModel) -> dict[str, str]:
    identity = model.identity
    return {
        "name": identity.name,
        "version": identity.version,
        "weights_sha256": identity.weights_sha256,
    }


def _text(text: str) -> NDArray[np.object_]:
    return np.array([text.encode()], np.object_)


def _refused(error: WetreadError, code: Any) -> Any:
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))
