"""OpenVINO runs the newest version of a network, once compiled, and says what it will not take."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiny_model import NETWORK, TinyModel
from wetread.config import EmbeddedModel
from wetread.errors import InferenceError, InferenceUnavailableError, ModelContractError
from wetread.infer.bundle import open_model
from wetread.infer.embedded import EmbeddedPredictor, newest_version

HU = np.linspace(-1000, 1000, 4 * 5 * 6, dtype=np.float32).reshape(1, 1, 4, 5, 6)


@pytest.fixture
def embedded(tiny_ct: TinyModel) -> Iterator[EmbeddedPredictor]:
    predictor = EmbeddedPredictor(NETWORK, tiny_ct.repository, threads=1)
    yield predictor
    predictor.close()


def test_an_answer_outlives_the_next_one(embedded: EmbeddedPredictor) -> None:
    first = embedded.predict(HU)
    kept = first.copy()
    embedded.predict(np.zeros_like(HU) + 120)
    assert np.array_equal(first, kept)
    assert first[0, 1].sum() == ((HU > 100) & (HU < 140)).sum() > 0


def test_a_batch_that_is_not_contiguous_is_read_in_its_order(embedded: EmbeddedPredictor) -> None:
    turned = HU.transpose(0, 1, 4, 3, 2)
    assert np.array_equal(embedded.predict(turned), embedded.predict(HU).transpose(0, 1, 4, 3, 2))


def test_another_shape_breaks_the_contract(embedded: EmbeddedPredictor) -> None:
    message = rf"network {NETWORK} takes float32 of shape .*, got \[1, 3, 4, 5, 6\]"
    with pytest.raises(ModelContractError, match=message):
        embedded.predict(np.repeat(HU, 3, axis=1))


def test_another_type_breaks_the_contract(embedded: EmbeddedPredictor) -> None:
    with pytest.raises(ModelContractError, match="got float64"):
        embedded.predict(HU.astype(np.float64))


def test_a_closed_network_says_so(embedded: EmbeddedPredictor) -> None:
    embedded.close()
    with pytest.raises(InferenceError, match=f"network {NETWORK} is closed"):
        embedded.predict(HU)


def test_the_newest_version_is_the_highest_number(tmp_path: Path, tiny_ct: TinyModel) -> None:
    source = tiny_ct.repository / NETWORK / "1"
    for version in ("2", "10", "9", "draft"):
        shutil.copytree(source, tmp_path / NETWORK / version)
    (tmp_path / NETWORK / "11").mkdir()
    assert newest_version(tmp_path, NETWORK) == tmp_path / NETWORK / "10" / "model.onnx"


def test_a_network_that_was_never_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match=r"network absent: no .*model\.onnx") as caught:
        EmbeddedPredictor("absent", tmp_path)
    assert caught.value.hint == "build it: wetread models build"


def test_a_file_that_is_cut_is_named(tmp_path: Path, tiny_ct: TinyModel) -> None:
    content = (tiny_ct.repository / NETWORK / "1" / "model.onnx").read_bytes()
    cut = tmp_path / NETWORK / "1" / "model.onnx"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(InferenceError, match=f"OpenVINO cannot load {cut}"):
        EmbeddedPredictor(NETWORK, tmp_path)


def test_a_forward_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """And the network works again afterwards."""
    write_slow_network(tmp_path, layers=120)
    batch = np.ones((1, 8, 48, 48, 48), np.float32)
    predictor = EmbeddedPredictor("slow", tmp_path, threads=1, timeout_seconds=0.05)
    with pytest.raises(InferenceUnavailableError, match=r"slow: no answer after 0.05 s") as caught:
        predictor.predict(batch)
    assert "timeout_seconds" in caught.value.hint
    assert caught.value.retryable
    predictor.timeout_seconds = 60.0
    assert predictor.predict(batch).shape == batch.shape
    predictor.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_timeout_are_those_of_the_configuration(
    tiny_ct: TinyModel, threads: int
) -> None:
    """And the arithmetic is float32, whatever the processor would like better."""
    config = EmbeddedModel(bundle=tiny_ct.bundle, threads=threads, timeout_seconds=7.5)
    model = open_model("tiny", config, tiny_ct.repository)
    predictor = model._predictors[NETWORK]
    assert isinstance(predictor, EmbeddedPredictor)
    assert predictor.timeout_seconds == 7.5
    assert predictor._compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert predictor._compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    model.close()


def test_what_is_compiled_is_kept(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """The file may go: it is read once."""
    shutil.copytree(tiny_ct.repository, tmp_path, dirs_exist_ok=True)
    predictor = EmbeddedPredictor(NETWORK, tmp_path)
    first = predictor.predict(HU)
    predictor.path.unlink()
    assert np.array_equal(predictor.predict(HU), first)
    predictor.close()


def write_slow_network(repository: Path, layers: int) -> None:
    """A chain of 3 × 3 × 3 convolutions; one takes some ten milliseconds at 48³."""
    kernel = np.full((8, 8, 3, 3, 3), 1 / 216, np.float32)
    nodes = [
        helper.make_node("Conv", [f"x{each}", "kernel"], [f"x{each + 1}"], pads=[1] * 6)
        for each in range(layers)
    ]
    shape = [1, 8, 48, 48, 48]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    path = repository / "slow" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
