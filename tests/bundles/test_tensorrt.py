"""NVIDIA's own parser takes the networks, and an engine is built for the shapes that they get.

It is TensorRT-RTX, which needs no GPU to build for one; Triton's TensorRT shares its parser. That
an engine runs, and how fast, is not tried.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from wetread.errors import InferenceError
from wetread.infer.base import no_progress
from wetread.infer.description import NetworkSpec, load_networks
from wetread.models.export import build_models
from wetread.models.forms import build_form
from wetread.models.original import is_trained
from wetread.models.serving import profile_for
from wetread.models.targets import Precision
from wetread.triton.configs import Profile, shape_text

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
REPOSITORY = ROOT / ".cache" / "triton_models"
PACKAGES = ROOT / ".cache" / "tensorrt-rtx"


def networks() -> Iterator[Any]:
    for configs in sorted((ROOT / "bundles").glob("*/configs")):
        if is_trained(configs.parent):
            for name, spec in load_networks(configs.parent).items():
                yield pytest.param(configs.parent, spec, id=name)


def engine(onnx: Path, spec: NetworkSpec, profile: Profile) -> dict[str, Any]:
    """What TensorRT says of a file. Raises InferenceError with its objections."""
    if not PACKAGES.is_dir():
        pytest.fail(f"{PACKAGES} is not there: run `make test`, which fetches it")
    shapes = (profile.shortest, profile.usual, profile.longest)
    ranges = [spec.input.name, *map(shape_text, shapes)] if profile.is_dynamic else []
    done = subprocess.run(
        [sys.executable, ROOT / "tests/tensorrt_build.py", PACKAGES, onnx, *ranges],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InferenceError(done.stdout + done.stderr)
    # TensorRT writes there, too.
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    return found


def ports(spec: NetworkSpec) -> list[list[Any]]:
    return [[port.name, list(port.shape), "FLOAT"] for port in (spec.input, spec.output)]


@pytest.mark.parametrize(("bundle", "spec"), list(networks()))
def test_every_trained_network_becomes_an_engine(bundle: Path, spec: NetworkSpec) -> None:
    built = {each.network: each for each in build_models(bundle, REPOSITORY, no_progress)}
    found = engine(built[spec.name].path, spec, profile_for(bundle, spec))
    assert found["ports"] == ports(spec)
    assert found["bytes"] > 100_000


def test_so_does_a_network_in_half_precision(tmp_path: Path) -> None:
    """Its own types say so: TensorRT is told nothing of it."""
    bundle = ROOT / "bundles" / "multimodal_fusion"
    [built] = build_form(bundle, tmp_path, Precision.FP16, None, no_progress)
    [spec] = load_networks(bundle).values()
    found = engine(built.forms["fp16"].path, spec, profile_for(bundle, spec))
    assert found["ports"] == ports(spec)


def test_shapes_that_the_network_cannot_have_are_refused() -> None:
    """So it is the network, and not only the file, that the others are about."""
    bundle = ROOT / "bundles" / "multimodal_fusion"
    [built] = build_models(bundle, REPOSITORY, no_progress)
    [spec] = load_networks(bundle).values()
    wrong = Profile((1, 3, 24, 32, 28), (1, 3, 24, 32, 28), (4, 3, 24, 32, 28))
    with pytest.raises(InferenceError, match="profile"):
        engine(built.path, spec, wrong)
