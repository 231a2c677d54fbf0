"""What trtexec is told, and what is made of its answers, with a stand-in for it.

The stand-in's engine is the ONNX file, which ONNX Runtime runs: nothing here is about a GPU.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from wetread.errors import ConfigError, InferenceError, ModelContractError, StorageError
from wetread.infer.base import no_progress
from wetread.models import plans
from wetread.models.forms import build_form
from wetread.models.plans import Builder, build_plans, find_builder
from wetread.models.record import BuiltModel, read_record
from wetread.models.targets import Precision
from wetread.triton.configs import CONTAINER, CONTAINER_TAG

from .conftest import SmallBundle

pytestmark = pytest.mark.timeout(60)
FREE: dict[str, Any] = {
    "input": {"shape": [-1, 1, 12, 10, 8]},
    "output": {"shape": [-1, 2, 12, 10, 8]},
}
TRTEXEC = """#!{python}
import json, os, shutil, sys
from pathlib import Path
given = dict(each.lstrip("-").partition("=")[::2] for each in sys.argv[1:])
with open({log!r}, "a") as file:
    file.write(json.dumps(given) + "\\n")
{fault}
if "onnx" in given:
    shutil.copy(given["onnx"], given["saveEngine"])
    sys.exit()
import numpy, onnxruntime
session = onnxruntime.InferenceSession(given["loadEngine"])
[port] = session.get_inputs()
name, _, path = given["loadInputs"].partition(":")
shape = given["shapes"].split(":")[1].split("x") if "shapes" in given else port.shape
batch = numpy.fromfile(path, numpy.float32).reshape([int(each) for each in shape])
found = session.run(None, {{name: batch}})[0]
{change}
lengths = ".".join(str(each) for each in found.shape)
found.tofile("y.output." + lengths + ".Float.raw")
batch.tofile(name + ".input." + ".".join(shape if "shapes" in given else []) + "Float.raw")
"""
NVIDIA_SMI = "#!/bin/sh\nprintf '{lines}'\n"


class StandIn:
    """A folder with a trtexec that notes what it is told, and an nvidia-smi."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls"
        folder.mkdir()
        self.write()
        self.write_gpu("8.6\\n")

    def write(self, *, fault: str = "", change: str = "") -> None:
        text = TRTEXEC.format(python=sys.executable, log=str(self.log), fault=fault, change=change)
        self._program("trtexec", text)

    def write_gpu(self, lines: str) -> None:
        self._program("nvidia-smi", NVIDIA_SMI.format(lines=lines))

    def calls(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def _program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    found = StandIn(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{found.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", CONTAINER_TAG.removesuffix("-py3"))
    return found


Build = Callable[[], BuiltModel]


@pytest.fixture
def build(small: SmallBundle, stand_in: StandIn, tmp_path: Path) -> Build:
    def built() -> BuiltModel:
        found = find_builder()
        builder = Builder(found.trtexec, found.capability, tmp_path / "cache")
        [one] = build_plans(small.path, small.repository, builder, no_progress)
        return one

    return built


def plan_config(small: SmallBundle) -> Any:
    path = small.repository / "small" / "configs" / "tensorrt.pbtxt"
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def test_a_plan_is_built_of_every_shape_in_the_profile(
    small: SmallBundle, stand_in: StandIn, build: Build, tmp_path: Path
) -> None:
    small.declare(**FREE)
    build()
    first = stand_in.calls()[0]
    assert Path(first["onnx"]) == small.onnx
    assert Path(first["saveEngine"]).name == "model_sm86.plan"
    assert first["minShapes"] == "x:1x1x12x10x8"
    assert first["optShapes"] == "x:2x1x12x10x8"
    assert first["maxShapes"] == "x:4x1x12x10x8"
    assert first["timingCacheFile"] == str(tmp_path / "cache/small/trtexec_sm86.timing")
    assert {"stronglyTyped", "noTF32", "skipInference"} <= set(first)
    assert "fp16" not in first
    assert first["memPoolSize"] == "workspace:4096"


def test_a_network_of_one_shape_is_given_none(
    small: SmallBundle, stand_in: StandIn, build: Build
) -> None:
    build()
    for call in stand_in.calls():
        assert not {"minShapes", "optShapes", "maxShapes", "shapes"} & set(call)


def test_a_plan_is_asked_the_fixed_inputs(
    small: SmallBundle, stand_in: StandIn, build: Build
) -> None:
    """None is out of the profile, where it would take nothing."""
    small.declare(**FREE)
    build()
    asked = [call for call in stand_in.calls() if "loadEngine" in call]
    assert [call["shapes"] for call in asked] == ["x:2x1x12x10x8", "x:1x1x12x10x8", "x:4x1x12x10x8"]
    assert {call["loadInputs"].partition(":")[0] for call in asked} == {"x"}
    assert all(call["iterations"] == "1" and "dumpRawBindingsToFile" in call for call in asked)


def test_a_plan_that_agrees_is_installed_and_served(small: SmallBundle, build: Build) -> None:
    built = build()
    form = built.forms["sm86"]
    assert form.path == small.onnx.with_name("model_sm86.plan")
    assert form.is_whole
    assert form.figures.agreement >= 0.999
    assert read_record(small.onnx.parent) == built
    config = plan_config(small)
    assert dict(config.cc_model_filenames) == {"8.6": "model_sm86.plan"}
    assert list(config.version_policy.specific.versions) == [1]
    assert config.parameters["onnx_sha256:1"].string_value == built.onnx_sha256
    assert list(small.repository.glob(".*")) == []


def test_plans_for_two_kinds_of_gpu_lie_beside_each_other(
    small: SmallBundle, stand_in: StandIn, build: Build
) -> None:
    build()
    stand_in.write_gpu("12.0\\n12.0\\n")
    assert set(build().forms) == {"sm86", "sm120"}
    assert dict(plan_config(small).cc_model_filenames) == {
        "8.6": "model_sm86.plan",
        "12.0": "model_sm120.plan",
    }


def test_new_weights_are_not_served_by_plans_of_the_old(small: SmallBundle, build: Build) -> None:
    """Without its own plan the newest version is served from ONNX."""
    build()
    small.train(seed=2)
    small.build()
    assert not (small.repository / "small/configs/tensorrt.pbtxt").exists()
    build()
    assert list(plan_config(small).version_policy.specific.versions) == [1, 2]


def test_a_plan_is_made_of_half_precision_if_there_is_one(
    small: SmallBundle, stand_in: StandIn, build: Build
) -> None:
    build_form(small.path, small.repository, Precision.FP16, None, no_progress)
    built = build()
    assert Path(stand_in.calls()[0]["onnx"]).name == "model_fp16.onnx"
    assert built.forms["sm86"].figures.mean_difference > 1e-6
    assert set(built.forms) == {"fp16", "sm86"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("found = found[:, ::-1].copy()", "as a TensorRT plan is not what it is in torch: agreem"),
        ("found[0, 0, 0] = numpy.nan", "gives NaN or infinite values as a TensorRT plan"),
        ("found = found.astype(numpy.float16)", r"has 3840 bytes, which are no \[1, 2, 12, 10, 8"),
        ("sys.exit()", "wrote 0 outputs of small, not one"),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_not_installed(
    small: SmallBundle, stand_in: StandIn, build: Build, change: str, message: str
) -> None:
    [former] = small.build()
    before = small.files()
    stand_in.write(change=change)
    with pytest.raises(ModelContractError, match=message):
        build()
    assert small.files() == before
    assert read_record(small.onnx.parent) == former


def test_what_trtexec_says_is_told(small: SmallBundle, stand_in: StandIn, build: Build) -> None:
    stand_in.write(fault="print('[I] reading'); print('[E] [TRT] no such operator'); sys.exit(1)")
    with pytest.raises(
        InferenceError, match=r"failed on small: \[E\] \[TRT\] no such op"
    ) as caught:
        build()
    assert "--onnx=" in caught.value.hint
    assert list(small.repository.glob(".*")) == []


def test_a_build_without_end_is_ended(
    small: SmallBundle, stand_in: StandIn, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.write(fault="import time; time.sleep(60)")
    monkeypatch.setattr(plans, "_LONGEST_SECONDS", 0.5)
    with pytest.raises(InferenceError, match="failed on small: no end after 0 s"):
        build()


def test_a_cache_that_cannot_be_written_is_named(
    small: SmallBundle, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot make .*cache/small"):
        build()


def test_without_trtexec_it_is_said_where_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="there is no trtexec here") as caught:
        find_builder()
    assert CONTAINER in caught.value.message
    assert "deploy/README.md" in caught.value.hint


def test_plans_of_another_release_are_not_begun(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton would not load them."""
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "24.01")
    with pytest.raises(ConfigError, match=r"built inside .*: this is release 24\.01"):
        find_builder()


@pytest.mark.parametrize(("lines", "seen"), [("", "none"), ("8.6\\n9.0\\n", "8.6, 9.0")])
def test_there_must_be_one_kind_of_gpu(stand_in: StandIn, lines: str, seen: str) -> None:
    stand_in.write_gpu(lines)
    with pytest.raises(ConfigError, match=f"compute capabilities here: {seen}"):
        find_builder()
