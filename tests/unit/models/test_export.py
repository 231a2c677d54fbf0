"""A network goes to ONNX once, and only if it answers as in torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch

from wetread.errors import InferenceError, ModelContractError
from wetread.infer.embedded import EmbeddedPredictor
from wetread.models.export import check_model, list_models
from wetread.models.record import read_record

from .conftest import CONV, NETWORK, SHAPE, SmallBundle

pytestmark = pytest.mark.timeout(60)
Change = Callable[[SmallBundle], object]
ANY = [1, 1, -1, -1, -1]
FREE: dict[str, Any] = {"input": {"shape": ANY}, "output": {"shape": [1, 2, -1, -1, -1]}}


FILES = [
    "small/1/build.json",
    "small/1/model.onnx",
    "small/1/model.py",
    "small/config.pbtxt",
    "small/configs/cpu.pbtxt",
]


def record(small: SmallBundle) -> dict[str, Any]:
    return json.loads(small.onnx.with_name("build.json").read_text(encoding="utf-8"))


def answer(small: SmallBundle, batch: np.ndarray) -> np.ndarray:
    predictor = EmbeddedPredictor(NETWORK, small.repository)
    output = predictor.predict(batch)
    predictor.close()
    return output


def cut_in_half(small: SmallBundle, name: str) -> None:
    path = small.onnx.with_name(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def add_a_byte(small: SmallBundle) -> None:
    small.onnx.write_bytes(small.onnx.read_bytes() + b"\0")


def test_the_exported_network_answers_as_in_torch(small: SmallBundle) -> None:
    state = small.train(seed=4)
    small.build()
    batch = np.random.default_rng(8).random(SHAPE, np.float32)
    wanted = torch.nn.functional.conv3d(
        torch.from_numpy(batch), state["weight"], state["bias"], padding=1
    )
    assert np.allclose(answer(small, batch), wanted.numpy(), atol=1e-5)


def test_the_record_says_what_was_built(small: SmallBundle) -> None:
    [built] = small.build()
    assert small.files() == FILES
    assert built.path == small.onnx
    assert record(small) == {
        "network": "small",
        "version": "1",
        "path": "model.onnx",
        "onnx_sha256": hashlib.sha256(small.onnx.read_bytes()).hexdigest(),
        "torch_sha256": built.torch_sha256,
        "figures": asdict(built.figures),
        "forms": {},
    }
    assert built.figures.agreement >= 0.999
    assert 0 <= built.figures.mean_difference < 1e-5
    assert 0 <= built.figures.share_of_spread < 1e-4


def test_the_summary_is_one_line_of_figures(small: SmallBundle) -> None:
    [built] = small.build()
    figures = r"against torch: agreement 1\.00000, mean difference \d\.\de-\d\d"
    [found] = re.findall(rf"^version 1, sha256 (\w{{12}}), {figures}$", built.summary)
    assert built.onnx_sha256.startswith(found)


def test_progress_names_the_network_and_ends_with_all(small: SmallBundle) -> None:
    small.build()
    assert small.progress == [("small", 0.0), ("done", 1.0)]


def test_ports_have_the_declared_names_and_shapes(small: SmallBundle) -> None:
    small.declare(input={"name": "image"}, output={"name": "probability"})
    small.build()
    model = openvino.Core().read_model(small.onnx)
    assert (model.input(0).get_names(), model.output(0).get_names()) == ({"image"}, {"probability"})
    assert list(model.input(0).shape) == SHAPE


def test_an_axis_of_any_length_takes_any(small: SmallBundle) -> None:
    small.declare(
        input={"shape": [-1, 1, -1, -1, -1]},
        output={"shape": [-1, 2, -1, -1, -1]},
    )
    small.build()
    assert answer(small, np.ones((3, 1, 5, 17, 30), np.float32)).shape == (3, 2, 5, 17, 30)


def test_what_is_current_is_left_as_it_is(small: SmallBundle) -> None:
    first = small.build()
    before = small.onnx.stat()
    assert small.build() == first
    after = small.onnx.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_bundle_that_was_moved_is_not_built_again(small: SmallBundle) -> None:
    small.build()
    before = small.onnx.stat().st_ino
    moved = small.path.rename(small.path.with_name("elsewhere"))
    SmallBundle(moved, small.repository).build()
    assert small.onnx.stat().st_ino == before


CHANGES: dict[str, Change] = {
    "another byte": add_a_byte,
    "a file cut": lambda small: cut_in_half(small, "model.onnx"),
    "no file": lambda small: small.onnx.unlink(),
    "a record cut": lambda small: cut_in_half(small, "build.json"),
    "no record": lambda small: small.onnx.with_name("build.json").unlink(),
    "other weights": lambda small: small.train(seed=2),
    "other layers": lambda small: small.define({**CONV, "padding_mode": "circular"}),
    "input renamed": lambda small: small.declare(input={"name": "image"}),
    "output renamed": lambda small: small.declare(output={"name": "logits"}),
    "any length": lambda small: small.declare(**FREE),
    "another opset": lambda small: small.declare(opset=17),
}
# What leaves the version before as one that can still be served.
KEPT = {"other weights", "other layers", "another opset"}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_not_current_is_built_again(small: SmallBundle, what: str) -> None:
    """Under the next number, and then it is as declared, and current."""
    small.build()
    CHANGES[what](small)
    [built] = small.build()
    assert (built.version, small.onnx) == ("2", built.path)
    assert small.versions() == (["1", "2"] if what in KEPT else ["2"])
    assert check_model(small.path, small.repository) == [built]
    wanted = 17 if what == "another opset" else 18
    assert [each.version for each in onnx.load(small.onnx).opset_import] == [wanted]
    before = small.onnx.stat()
    assert small.build() == [built]
    assert small.onnx.stat() == before


def test_two_versions_are_kept(small: SmallBundle) -> None:
    """The answers of the one before are still those of its weights."""
    for seed in range(1, 12):
        small.train(seed)
        small.build()
    assert small.versions() == ["10", "11"]
    assert [each.version for each in list_models(small.repository)] == ["10", "11"]
    former = read_record(small.repository / NETWORK / "10")
    assert former.is_whole
    assert former.torch_sha256 != read_record(small.onnx.parent).torch_sha256


def test_weights_of_before_are_a_version_of_their_own(small: SmallBundle) -> None:
    """So that the highest number always is what was built last."""
    [first] = small.build()
    small.train(seed=2)
    small.build()
    small.train(seed=1)
    [third] = small.build()
    assert (third.version, third.torch_sha256) == ("3", first.torch_sha256)
    assert small.versions() == ["2", "3"]


def test_the_graph_is_named_by_its_weights(small: SmallBundle) -> None:
    """ONNX Runtime keeps TensorRT engines by it: one of other weights must not be taken."""
    names = []
    for seed in (1, 2):
        small.train(seed)
        [built] = small.build()
        names.append(onnx.load(built.path).graph.name)
        assert names[-1] == f"small_{built.torch_sha256[:16]}"
    assert names[0] != names[1]


def test_other_weights_give_another_network(small: SmallBundle) -> None:
    [first] = small.build()
    small.train(seed=2)
    [second] = small.build()
    assert first.torch_sha256 != second.torch_sha256
    assert first.onnx_sha256 != second.onnx_sha256


REFUSED = [
    ("Shifted", {}, r"as ONNX is not what it is in torch: agreement 0\.\d+, allowed is 0\.999"),
    ("Paler", {}, r"not what it is in torch: mean difference 0\.00\d+, allowed is 0\.001$"),
    ("NotANumber", {}, "gives NaN or infinite values"),
    ("TwoAnswers", {}, "gives tuple, not one tensor of float32"),
    ("Half", {}, "gives torch.float16, not one tensor of float32"),
    ("OneLength", FREE, r"does not run as ONNX on \[1, 1, 96, 96, 96\]"),
    ("NoSuchOperator", {}, "cannot be written as ONNX: .*bessel_j0"),
    (
        "OneChannelShifted",
        {"output": {"shape": SHAPE}},
        r"not what it is in torch: agreement 0\.98\d+, allowed is 0\.999$",
    ),
]


@pytest.mark.parametrize(("name", "declared", "message"), REFUSED, ids=[n for n, _, _ in REFUSED])
def test_a_network_that_cannot_be_trusted_is_not_installed(
    small: SmallBundle, name: str, declared: dict[str, Any], message: str
) -> None:
    small.define_odd(name)
    small.declare(**declared)
    with pytest.raises(ModelContractError, match=f"^network small.*{message}") as caught:
        small.build()
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert list(small.repository.iterdir()) == []


@pytest.mark.parametrize("declared", [{}, FREE], ids=["one length", "any length"])
def test_the_same_network_without_the_fault_is_installed(
    small: SmallBundle, declared: dict[str, Any]
) -> None:
    """So it is the fault that the refusals above are about."""
    small.define_odd("Whole")
    small.declare(**declared)
    [built] = small.build()
    assert built.figures.agreement >= 0.999


def test_a_refused_network_leaves_the_former_in_place(small: SmallBundle) -> None:
    [former] = small.build()
    content = small.onnx.read_bytes()
    small.define_odd("Shifted")
    with pytest.raises(ModelContractError):
        small.build()
    assert small.files() == FILES
    assert small.onnx.read_bytes() == content
    assert list_models(small.repository) == [former]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"input": {"shape": [1, 3, 12, 10, 8]}}, r"does not take \[1, 3, 12, 10, 8\] in torch"),
        ({"output": {"shape": [1, 3, 12, 10, 8]}}, r"gives \[1, 2, 12, 10, 8\], export\.json says"),
    ],
)
def test_shapes_that_the_network_has_not_are_refused(
    small: SmallBundle, declared: dict[str, Any], message: str
) -> None:
    """Also after it was built with those that it has."""
    small.build()
    small.declare(**declared)
    with pytest.raises(ModelContractError, match=message) as caught:
        small.build()
    assert "configs/export.json" in caught.value.hint


def test_the_check_gives_the_record(small: SmallBundle) -> None:
    built = small.build()
    assert check_model(small.path, small.repository) == built


def test_a_network_that_is_not_built_is_named_by_the_check(small: SmallBundle) -> None:
    with pytest.raises(InferenceError, match="network small: no ") as caught:
        check_model(small.path, small.repository)
    assert "wetread models build" in caught.value.hint


def test_a_file_that_was_changed_is_found_by_the_check(small: SmallBundle) -> None:
    small.build()
    add_a_byte(small)
    with pytest.raises(ModelContractError, match=r"model\.onnx is not the file that was built"):
        check_model(small.path, small.repository)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"network": "small", "path": 3}'])
def test_a_record_that_is_none_is_named_by_the_check(
    small: SmallBundle, content: str | None
) -> None:
    small.build()
    path = small.onnx.with_name("build.json")
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InferenceError, match=f"{path}: not a build record"):
        check_model(small.path, small.repository)


@pytest.mark.parametrize(
    "declared",
    [
        {"output": {"shape": [1, 4, 12, 10, 8]}},
        {"input": {"shape": [1, 1, 12, 10, 9]}},
        {"input": {"name": "image"}},
        {"output": {"name": "probability"}},
    ],
)
def test_a_bundle_that_was_changed_since_is_found_by_the_check(
    small: SmallBundle, declared: dict[str, Any]
) -> None:
    small.build()
    small.declare(**declared)
    with pytest.raises(ModelContractError, match="has other inputs or outputs"):
        check_model(small.path, small.repository)


def test_the_list_has_every_network_by_name(small: SmallBundle) -> None:
    [built] = small.build()
    copy = small.repository / "another"
    copy.mkdir()
    small.onnx.parent.rename(copy / "1")
    small.build()
    assert [each.path.parent.parent.name for each in list_models(small.repository)] == [
        "another",
        "small",
    ]
    assert list_models(small.repository)[1] == built


def test_a_folder_without_networks_lists_none(small: SmallBundle) -> None:
    assert list_models(small.repository) == []
    (small.repository / "hand_made" / "1").mkdir(parents=True)
    (small.repository / "hand_made" / "1" / "model.onnx").write_bytes(b"")
    assert list_models(small.repository) == []
