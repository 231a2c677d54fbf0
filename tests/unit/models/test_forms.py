"""A form of fewer bits is served if it agrees with the network in torch, and refused if not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from conftest import ROOT
from labelled import write_labelled
from tiny_classifier import NAME, write_tiny_classifier
from tiny_model import TinyModel
from wetread.errors import ConfigError, ModelContractError
from wetread.infer.base import no_progress
from wetread.models.calibration import batches_of
from wetread.models.export import build_models, check_model
from wetread.models.forms import build_form
from wetread.models.record import BuiltModel, read_record
from wetread.models.reduced import onnx_runtime
from wetread.models.targets import Precision

from .conftest import SHAPE, SmallBundle

pytestmark = pytest.mark.timeout(60)


def with_form(small: SmallBundle, precision: Precision) -> BuiltModel:
    [built] = build_form(small.path, small.repository, precision, None, no_progress)
    return built


def config_of(repository: Path, network: str, file: str = "config.pbtxt") -> Any:
    text = (repository / network / file).read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def weights_of(config: Any) -> Mapping[str, str]:
    """By version."""
    found = {key: value.string_value for key, value in config.parameters.items()}
    key = "onnx_sha256:"
    return {k.removeprefix(key): v for k, v in found.items() if k.startswith(key)}


def gpu(small: SmallBundle) -> Any:
    return config_of(small.repository, "small")


def test_half_precision_takes_and_gives_float32(small: SmallBundle) -> None:
    built = with_form(small, Precision.FP16)
    form = built.forms["fp16"]
    assert form.path == small.onnx.with_name("model_fp16.onnx")
    graph = onnx.load(form.path).graph
    ports = [port.type.tensor_type.elem_type for port in (graph.input[0], graph.output[0])]
    assert ports == [onnx.TensorProto.FLOAT] * 2
    assert {each.data_type for each in graph.initializer} == {onnx.TensorProto.FLOAT16}
    assert graph.name == f"small_{built.torch_sha256[:16]}_fp16"
    onnx.checker.check_model(form.path)


def test_half_precision_answers_nearly_the_same(small: SmallBundle) -> None:
    form = with_form(small, Precision.FP16).forms["fp16"]
    batch = np.random.default_rng(3).random(SHAPE, np.float32)
    half, whole = (onnx_runtime(path)(batch) for path in (form.path, small.onnx))
    difference = np.abs(half - whole).mean()
    assert 1e-6 < difference < 1e-2
    assert 1e-6 < form.figures.mean_difference < 1e-2
    assert form.figures.agreement >= 0.99


def test_the_record_keeps_the_form_with_its_figures(small: SmallBundle) -> None:
    built = with_form(small, Precision.FP16)
    assert read_record(small.onnx.parent) == built
    assert "fp16: agreement " in built.summary
    assert check_model(small.path, small.repository) == [built]
    # It is current: nothing is built again, and the form stays.
    assert small.build() == [built]


def test_a_gpu_is_given_half_precision_and_a_cpu_is_not(small: SmallBundle) -> None:
    built = with_form(small, Precision.FP16)
    assert gpu(small).default_model_filename == "model_fp16.onnx"
    assert weights_of(gpu(small)) == {"1": built.forms["fp16"].sha256}
    cpu = config_of(small.repository, "small", "configs/cpu.pbtxt")
    assert cpu.parameters["onnx_file"].string_value == "model.onnx"
    assert weights_of(cpu) == {"1": built.onnx_sha256}


def test_a_form_is_served_once_every_kept_version_has_it(small: SmallBundle) -> None:
    """The server serves one file name for all versions."""
    small.build()
    small.train(seed=2)
    with_form(small, Precision.FP16)
    assert small.versions() == ["1", "2"]
    assert gpu(small).default_model_filename == "model.onnx"
    small.train(seed=3)
    built = with_form(small, Precision.FP16)
    assert gpu(small).default_model_filename == "model_fp16.onnx"
    assert weights_of(gpu(small))["3"] == built.forms["fp16"].sha256


def test_new_weights_have_no_form_of_the_old_ones(small: SmallBundle) -> None:
    with_form(small, Precision.FP16)
    small.train(seed=2)
    [built] = small.build()
    assert built.forms == {}
    assert not small.onnx.with_name("model_fp16.onnx").exists()
    assert gpu(small).default_model_filename == "model.onnx"


def test_fp32_takes_the_forms_away(small: SmallBundle) -> None:
    small.build()
    before = small.files()
    with_form(small, Precision.FP16)
    built = with_form(small, Precision.FP32)
    assert built.forms == {}
    assert small.files() == before
    assert gpu(small).default_model_filename == "model.onnx"


def test_a_form_that_was_changed_is_found_and_not_served(small: SmallBundle) -> None:
    form = with_form(small, Precision.FP16).forms["fp16"]
    form.path.write_bytes(form.path.read_bytes() + b"\0")
    with pytest.raises(ModelContractError, match=r"model_fp16\.onnx is not the file that was"):
        check_model(small.path, small.repository)
    small.build()
    assert gpu(small).default_model_filename == "model.onnx"


def test_what_does_not_fit_into_half_precision_is_refused(small: SmallBundle) -> None:
    """ONNX Runtime alone would not notice: it computes in float32 in between."""
    small.define_odd("TooLargeForHalf")
    [built] = small.build()
    before = small.files()
    with pytest.raises(ModelContractError, match=r"within it reaches \d\.\d+e\+06, .*65504") as e:
        with_form(small, Precision.FP16)
    assert "not installed" in e.value.hint
    assert small.files() == before
    assert read_record(small.onnx.parent) == built


def test_integers_need_images(small: SmallBundle) -> None:
    with pytest.raises(ConfigError, match="calibrated on images") as caught:
        with_form(small, Precision.INT8)
    assert "--data" in caught.value.hint
    assert not small.repository.exists()


def write_halves(folder: Path, *, outlier: bool) -> TinyModel:
    tiny = write_tiny_classifier(folder)
    path = tiny.bundle / "configs/inference.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["network_def"] = {"_target_": "unit.models.networks.Halves", "outlier": outlier}
    path.write_text(json.dumps(content), encoding="utf-8")
    return tiny


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("pictures"), ("above", "below"), train=6, val=4)


def test_integers_that_agree_are_installed(tmp_path: Path, pictures: Path) -> None:
    tiny = write_halves(tmp_path, outlier=False)
    [built] = build_form(tiny.bundle, tiny.repository, Precision.INT8, pictures, no_progress)
    form = built.forms["int8"]
    assert form.figures.agreement >= 0.99
    assert 1e-4 < form.figures.share_of_spread <= 0.05
    graph = onnx.load(form.path).graph
    assert [node.op_type for node in graph.node].count("QuantizeLinear") >= 2
    assert onnx.TensorProto.INT8 in {each.data_type for each in graph.initializer}
    cpu = config_of(tiny.repository, NAME, "configs/cpu.pbtxt")
    assert cpu.parameters["onnx_file"].string_value == "model_int8.onnx"
    assert weights_of(cpu) == {built.version: form.sha256}
    assert config_of(tiny.repository, NAME).default_model_filename == "model.onnx"


def test_the_quantiser_tells_nobody_and_draws_nothing(tmp_path: Path, pictures: Path) -> None:
    """In a process of its own: NNCF is silent by itself where pytest is loaded."""
    tiny = write_halves(tmp_path, outlier=False)
    places = ["--bundles", tiny.bundle.parent, "--repository", tiny.repository]
    command = ["models", "build", tiny.bundle.name, "--precision", "int8", "--data", pictures]
    run = subprocess.run(
        [Path(sys.executable).with_name("wetread"), *command, *places],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "int8: agreement " in run.stdout
    assert "Statistics" not in run.stdout + run.stderr
    # Where who reports would keep its number for this machine.
    assert not (tmp_path / "intel").exists()


def test_integers_that_do_not_agree_are_refused(tmp_path: Path, pictures: Path) -> None:
    """It says by how much; the network in float32 stays what is served."""
    tiny = write_halves(tmp_path, outlier=True)
    [built] = build_models(tiny.bundle, tiny.repository, no_progress)
    message = r"as int8 is not what it is in torch: agreement 0\.\d+, allowed is 0\.99; mean diff"
    with pytest.raises(ModelContractError, match=message):
        build_form(tiny.bundle, tiny.repository, Precision.INT8, pictures, no_progress)
    assert read_record(built.path.parent) == built
    assert not built.path.with_name("model_int8.onnx").exists()
    cpu = config_of(tiny.repository, NAME, "configs/cpu.pbtxt")
    assert cpu.parameters["onnx_file"].string_value == "model.onnx"
    assert list(tiny.repository.glob(".*")) == []


def test_calibration_sees_what_the_network_sees(tmp_path: Path, pictures: Path) -> None:
    """Prepared by the bundle: scaled to 0..1, and of the size that the network takes."""
    tiny = write_halves(tmp_path, outlier=False)
    build_models(tiny.bundle, tiny.repository, no_progress)
    told: list[str] = []
    found = batches_of(
        tiny.bundle, tiny.repository, pictures, "train", lambda stage, _: told.append(stage)
    )
    assert {batch.shape for batch in found[NAME]} == {(1, 1, 64, 64)}
    assert len(found[NAME]) == 12
    assert all(-0.1 < batch.min() < 0.2 and 0.8 < batch.max() < 1.1 for batch in found[NAME])
    assert set(told) == {"read train"}
