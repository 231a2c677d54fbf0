"""The file that runs a network inside of Triton, with a stand-in for Triton's own module."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny_classifier
from tiny_classifier import write_tiny_classifier
from wetread.triton.served import NETWORK_FILE


@dataclass
class Tensor:
    name: str
    array: NDArray[np.float32]

    def as_numpy(self) -> NDArray[np.float32]:
        return self.array


@dataclass
class TritonError:
    text: str
    code: str

    INTERNAL = "internal"
    CANCELLED = "cancelled"


@dataclass
class Response:
    output_tensors: list[Tensor] = field(default_factory=list)
    error: TritonError | None = None


@dataclass
class Request:
    """One that is cancelled from its `cancelled_at`th question on."""

    array: NDArray[np.float32]
    cancelled_at: int = sys.maxsize
    asked: int = 0

    def is_cancelled(self) -> bool:
        self.asked += 1
        return self.asked >= self.cancelled_at


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as Triton loads it."""
    utils = ModuleType("triton_python_backend_utils")
    utils.Tensor = Tensor  # type: ignore[attr-defined]
    utils.TritonError = TritonError  # type: ignore[attr-defined]
    utils.InferenceResponse = Response  # type: ignore[attr-defined]
    utils.get_input_tensor_by_name = lambda request, name: Tensor(name, request.array)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    spec = importlib.util.spec_from_file_location("served_network", NETWORK_FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Open = Callable[..., Any]


@pytest.fixture
def opened(served: ModuleType, tmp_path: Path) -> Open:
    """The tiny classifier, loaded; `max_batch_size` is that of its configuration."""
    repository = write_tiny_classifier(tmp_path).repository / tiny_classifier.NAME

    def load(max_batch_size: int = 8, **parameters: str) -> Any:
        config = {
            "max_batch_size": max_batch_size,
            "input": [{"name": "image"}],
            "output": [{"name": "logits"}],
            "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        }
        model = served.TritonPythonModel()
        model.initialize(
            {
                "model_config": json.dumps(config),
                "model_repository": str(repository),
                "model_version": "1",
            }
        )
        return model

    return load


class Counting:
    """In the place of a network: the batches that it got; answers the first pixel of each image.

    It fails on batches of a length in `fails_on`.
    """

    def __init__(self, *fails_on: int) -> None:
        self.fails_on = fails_on
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: NDArray[np.float32], _waiting: list[Request]) -> NDArray[np.float32]:
        self.shapes.append(batch.shape)
        if len(batch) in self.fails_on:
            raise RuntimeError("out of memory")
        return batch.reshape(len(batch), -1)[:, :1]


def images(count: int, value: float, size: int = tiny_classifier.SIZE) -> NDArray[np.float32]:
    return np.full((count, 1, size, size), value, np.float32)


def values(responses: list[Response]) -> list[list[float]]:
    return [response.output_tensors[0].array[:, 0].tolist() for response in responses]


def test_the_network_answers(opened: Open) -> None:
    image = images(1, 0.0)
    image[..., tiny_classifier.SIZE // 2 :, :] = 0.3
    [response] = opened().execute([Request(image)])
    [tensor] = response.output_tensors
    assert tensor.name == "logits"
    assert tensor.array.dtype == np.float32
    np.testing.assert_allclose(tensor.array, [[0, 3]], atol=1e-5)


def test_requests_of_one_shape_go_through_at_once_and_come_apart_again(opened: Open) -> None:
    model = opened()
    model._network = network = Counting()
    sizes = [(1, 1.0, 64), (2, 2.0, 64), (1, 3.0, 32), (1, 4.0, 64)]
    responses = model.execute([Request(images(*each)) for each in sizes])
    assert network.shapes == [(4, 1, 64, 64), (1, 1, 32, 32)]
    assert values(responses) == [[1], [2, 2], [3], [4]]


def test_a_network_that_fixes_its_batch_gets_one_request_at_a_time(opened: Open) -> None:
    model = opened(max_batch_size=0)
    model._network = network = Counting()
    responses = model.execute([Request(images(1, 1.0)), Request(images(1, 2.0))])
    assert network.shapes == [(1, 1, 64, 64)] * 2
    assert values(responses) == [[1], [2]]


def test_a_request_that_fails_takes_no_other_with_it(opened: Open) -> None:
    """Together they are too large, and one of them by itself too."""
    model = opened()
    model._network = Counting(4, 2)
    small, large, other = model.execute(
        [Request(images(count, count)) for count in (1, 2, 1)],
    )
    assert values([small, other]) == [[1], [1]]
    assert large.error.code == TritonError.INTERNAL
    assert "[2, 1, 64, 64]: RuntimeError: out of memory" in large.error.text


def test_what_the_network_cannot_take_is_answered_with_its_reason(opened: Open) -> None:
    [response] = opened().execute([Request(images(1, 0.0, size=32))])
    assert response.error.code == TritonError.INTERNAL
    assert "[1, 1, 32, 32]" in response.error.text


def test_a_cancelled_request_is_left_out_of_the_batch(opened: Open) -> None:
    model = opened()
    model._network = network = Counting()
    gone, there = model.execute([Request(images(1, 1.0), cancelled_at=1), Request(images(1, 2.0))])
    assert network.shapes == [(1, 1, 64, 64)]
    assert gone.error.code == TritonError.CANCELLED
    assert values([there]) == [[2]]


class Unending:
    """In the place of OpenVINO's request: a forward that ends only when it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = False

    def start_async(self, inputs: list[Any], share_inputs: bool) -> None: ...

    def wait_for(self, _milliseconds: int) -> bool:
        return False

    def cancel(self) -> None:
        self.cancelled = True

    def wait(self) -> None:
        assert self.cancelled
        raise RuntimeError("Infer Request was canceled")


def test_a_forward_that_nobody_waits_for_is_given_up(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before the last of those that share it is cancelled."""
    model, forward = opened(), Unending()
    monkeypatch.setattr(
        model._network, "_compiled", type("C", (), {"create_infer_request": lambda _: forward})()
    )
    first, last = Request(images(1, 1.0), cancelled_at=2), Request(images(1, 2.0), cancelled_at=4)
    responses = model.execute([first, last])
    assert [each.error.code for each in responses] == [TritonError.CANCELLED] * 2
    assert forward.cancelled
    assert last.asked == 4


def test_threads_and_file_are_taken_from_the_configuration(
    opened: Open, served: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(served, "_OpenVino", lambda *arguments: given.append(arguments))
    opened(intra_op_threads="2", onnx_file="model_int8.onnx")
    opened()
    (half, output, threads), (whole, _, all_threads) = given
    assert (half.name, output, threads) == ("model_int8.onnx", "logits", 2)
    assert (whole.name, all_threads) == ("model.onnx", 0)


def test_onnx_runtime_answers_the_same_where_there_is_no_openvino(
    opened: Open, served: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(1).random((2, 1, 64, 64), np.float32)
    with_openvino = opened().execute([Request(image)])
    monkeypatch.setattr(served, "openvino", None)
    without = opened(intra_op_threads="1").execute([Request(image)])
    for one, other in zip(with_openvino, without, strict=True):
        np.testing.assert_allclose(
            one.output_tensors[0].array, other.output_tensors[0].array, atol=1e-5
        )


def test_the_file_needs_nothing_of_wetread() -> None:
    text = NETWORK_FILE.read_text(encoding="utf-8")
    assert "import wetread" not in text
    assert "from wetread" not in text
