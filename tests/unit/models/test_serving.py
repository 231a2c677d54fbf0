"""What Triton serves a network by is written beside it, and again when it is out of date."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from wetread.errors import ConfigError, InferenceError
from wetread.infer.description import load_networks
from wetread.models.serving import profile_for, window_of, write_serving

from .conftest import CONV, SmallBundle

pytestmark = pytest.mark.timeout(60)
SERVED = ("config.pbtxt", "configs/cpu.pbtxt", "1/model.py")
FREE: dict[str, Any] = {
    "input": {"shape": [1, 1, -1, -1, -1]},
    "output": {"shape": [1, 2, -1, -1, -1]},
}


def path_of(small: SmallBundle, name: str) -> Path:
    return small.repository / "small" / name


def infer_by(small: SmallBundle, inferer: object) -> None:
    """Write inference.json with that inferer; None leaves it out."""
    path = small.path / "configs/inference.json"
    content = {"imports": ["$import torch"], "network_def": CONV, "inferer": inferer}
    if inferer is None:
        del content["inferer"]
    path.write_text(json.dumps(content), encoding="utf-8")


def sliding(roi: object) -> dict[str, object]:
    return {"_target_": "SlidingWindowInferer", "roi_size": roi, "overlap": 0.25}


@pytest.mark.parametrize("name", SERVED)
def test_what_is_out_of_date_is_written_again(small: SmallBundle, name: str) -> None:
    """By a build that has nothing else to do."""
    [built] = small.build()
    wanted = path_of(small, name).read_text(encoding="utf-8")
    path_of(small, name).write_text("# by hand\n", encoding="utf-8")
    assert small.build() == [built]
    assert path_of(small, name).read_text(encoding="utf-8") == wanted
    path_of(small, name).unlink()
    small.build()
    assert path_of(small, name).read_text(encoding="utf-8") == wanted


@pytest.mark.parametrize("name", SERVED)
def test_what_is_up_to_date_is_left_alone(small: SmallBundle, name: str) -> None:
    small.build()
    before = path_of(small, name).stat()
    small.build()
    after = path_of(small, name).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_window_is_told_to_triton_and_builds_nothing(small: SmallBundle) -> None:
    small.declare(**FREE)
    infer_by(small, sliding([64, 64, 32]))
    [built] = small.build()
    assert "x:1x1x64x64x32" not in path_of(small, "config.pbtxt").read_text(encoding="utf-8")
    assert "dims: [ 1, 1, 64, 64, 32 ]" in path_of(small, "config.pbtxt").read_text("utf-8")
    infer_by(small, sliding([96, 64, 32]))
    assert small.build() == [built]
    assert "dims: [ 1, 1, 96, 64, 32 ]" in path_of(small, "config.pbtxt").read_text("utf-8")


def test_every_version_has_its_own_hash_and_the_one_model_py(small: SmallBundle) -> None:
    [first] = small.build()
    small.train(seed=2)
    [second] = small.build()
    served = resources.files("wetread.triton").joinpath("served/network.py").read_text("utf-8")
    for version in ("1", "2"):
        assert path_of(small, f"{version}/model.py").read_text(encoding="utf-8") == served
    for name in ("config.pbtxt", "configs/cpu.pbtxt"):
        text = path_of(small, name).read_text(encoding="utf-8")
        for built in (first, second):
            key, value = f'"onnx_sha256:{built.version}"', f'"{built.onnx_sha256}"'
            assert f"{{ key: {key} value {{ string_value: {value} }} }}" in text


def test_a_version_that_is_gone_is_told_no_more(small: SmallBundle) -> None:
    for seed in (1, 2, 3):
        small.train(seed)
        small.build()
    text = path_of(small, "config.pbtxt").read_text(encoding="utf-8")
    assert ['"onnx_sha256:' + version + '"' in text for version in "123"] == [False, True, True]


@pytest.mark.parametrize(
    ("inferer", "window"),
    [
        (None, ()),
        ({"_target_": "SimpleInferer"}, ()),
        ({"_target_": "wetread.bundle_components.classification.SliceInferer"}, ()),
        (sliding([48, 64, 32]), (48, 64, 32)),
        (sliding(96), (96, 96, 96)),
        (sliding([48, -1, 0]), (48, 0, 0)),
        (sliding("$[2 * 24, 64, 32]"), (48, 64, 32)),
    ],
)
def test_the_window_is_what_the_inferer_cuts_to(
    small: SmallBundle, inferer: object, window: tuple[int, ...]
) -> None:
    infer_by(small, inferer)
    assert window_of(small.path) == window


def test_only_the_main_network_sees_windows(small: SmallBundle) -> None:
    """The others serve the preprocessing."""
    small.declare(**FREE)
    infer_by(small, sliding(48))
    [spec] = load_networks(small.path).values()
    assert profile_for(small.path, spec).usual == (1, 1, 48, 48, 48)
    small.declare(**FREE, config_id="locator")
    [spec] = load_networks(small.path).values()
    assert profile_for(small.path, spec).usual == (1, 1, 96, 96, 96)


@pytest.mark.parametrize("inferer", [{"_target_": "NoSuchInferer"}, sliding("@nowhere")])
def test_an_inferer_that_is_none_is_a_config_error(small: SmallBundle, inferer: object) -> None:
    infer_by(small, inferer)
    with pytest.raises(ConfigError, match=r"inference\.json: inferer: "):
        window_of(small.path)


def test_nothing_is_written_of_a_network_that_is_not_built(small: SmallBundle) -> None:
    [spec] = load_networks(small.path).values()
    with pytest.raises(InferenceError, match="network small: nothing built in"):
        write_serving(small.path, spec, small.repository)
    assert not small.repository.exists()
