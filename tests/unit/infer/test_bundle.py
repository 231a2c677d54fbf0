"""A bundle reads a volume with its own processing; only the network is ours."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from wetread.config import TritonModel
from wetread.errors import (
    ConfigError,
    InferenceUnavailableError,
    InputError,
    JobCancelledError,
    ModelContractError,
)
from wetread.infer.base import Alive, FakePredictor, is_alive, no_progress
from wetread.infer.bundle import as_ras_image, open_model

Steps = list[tuple[str, float]]
TO_RAS = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None}
BACK = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": True,
}


class Answering(FakePredictor):
    """Gives what a function makes of the batch, and keeps the batch."""

    def __init__(self, answer: Callable[[NDArray[np.float32]], Any]) -> None:
        super().__init__(threshold=0.5)
        self.answer = answer
        self.seen: list[NDArray[np.float32]] = []

    def predict(self, batch: NDArray[np.float32], alive: Alive = is_alive) -> NDArray[np.float32]:
        self.seen.append(batch.copy())
        return np.asarray(self.answer(super().predict(batch, alive)), np.float32)


def windows_of(*roi: int, overlap: Any = 0.25) -> Callable[[dict[str, Any]], None]:
    inferer = {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(roi),
        "overlap": overlap,
        "sw_batch_size": 1,
        "mode": "constant",
    }
    return lambda content: content.update(inferer=inferer)


def add_orientation(content: dict[str, Any]) -> None:
    content["preprocessing"]["transforms"].append(TO_RAS)
    content["postprocessing"]["transforms"].append(BACK)


def read(model: Any, volume: highdicom.Volume) -> tuple[NDArray[Any], Steps]:
    steps: Steps = []
    result = model.read(volume, lambda step, fraction: steps.append((step, fraction)))
    return result.labelmap, steps


def test_the_mask_lies_on_the_grid_of_the_volume(tiny, oblique) -> None:
    predictor = FakePredictor(threshold=0.5)
    labelmap, _ = read(tiny.open(predictor), oblique)
    assert labelmap.dtype == np.uint8
    assert np.array_equal(labelmap, oblique.array > 0.5)
    assert predictor.shapes == [(1, 1, 9, 14, 17)]


@pytest.mark.parametrize(
    ("roi", "overlap", "count"),
    [
        ((8, 8, 8), 0.25, 2 * 2 * 3),
        ((9, 14, 8), 0.0, 3),
        ((-1, -1, 8), 0.5, 4),
        ((8, 8, 8), [0.5, 0.0, 0.0], 2 * 2 * 3),
        ((32, 32, 32), 0.25, 1),
    ],
)
def test_windows_give_the_same_answer(tiny, oblique, roi, overlap, count: int) -> None:
    """And each is counted, so that the last one makes the forward complete and none before."""
    tiny.edit("inference.json", windows_of(*roi, overlap=overlap))
    predictor = FakePredictor(threshold=0.5)
    labelmap, steps = read(tiny.open(predictor), oblique)
    assert np.array_equal(labelmap, oblique.array > 0.5)
    assert len(predictor.shapes) == count
    forward = [fraction for step, fraction in steps if step == "forward"]
    assert forward == sorted(forward)
    assert sorted(set(forward)) == pytest.approx([part / count for part in range(count + 1)])


def test_each_step_goes_from_nothing_to_all(tiny, oblique) -> None:
    _, steps = read(tiny.open(), oblique)
    for step in ("preprocess", "forward", "postprocess"):
        fractions = [fraction for name, fraction in steps if name == step]
        assert fractions == sorted(fractions)
        assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert list(dict.fromkeys(name for name, _ in steps)) == [
        "preprocess",
        "forward",
        "postprocess",
    ]


def test_the_affine_becomes_ras_and_the_values_stay(oblique) -> None:
    image = as_ras_image(oblique)
    index = np.array([3, 5, 7, 1])
    lps, ras = oblique.affine @ index, image.affine.numpy() @ index
    assert np.allclose(ras, lps * (-1, -1, 1, 1))
    assert np.array_equal(image[0].numpy(), oblique.array)


def test_the_network_sees_the_axes_that_the_bundle_asked_for(tiny, oblique) -> None:
    """Values that grow towards the right, front and head grow along axis 0, 1, 2 in RAS."""
    tiny.edit("inference.json", add_orientation)
    points = oblique.map_indices_to_reference(
        np.stack(np.meshgrid(*map(np.arange, oblique.spatial_shape), indexing="ij"), -1).reshape(
            -1, 3
        )
    )
    # From LPS to "towards R, A, S" of NIfTI's RAS+, which point left-to-right, back-to-front, up.
    for axis, sign in enumerate((-1, -1, 1)):
        mm = (sign * points[:, axis]).reshape(oblique.spatial_shape).astype(np.float32)
        predictor = Answering(lambda output: output)
        read(tiny.open(predictor), oblique.with_array(mm))
        seen = predictor.seen[0][0, 0]
        growth = [float(np.diff(seen, axis=each).mean()) for each in range(3)]
        spacing = (0.7, 1.5, 5.0)[axis]
        assert growth[axis] == pytest.approx(spacing * np.cos(np.deg2rad(17.0)), rel=0.05)


def test_the_mask_comes_back_from_another_orientation(tiny, oblique) -> None:
    tiny.edit("inference.json", add_orientation)
    labelmap, _ = read(tiny.open(), oblique)
    assert np.array_equal(labelmap, oblique.array > 0.5)


def test_the_volume_is_not_changed(tiny, oblique) -> None:
    scale = {"_target_": "ScaleIntensityd", "keys": "image", "minv": -5.0, "maxv": 5.0}
    tiny.edit("inference.json", lambda c: c["preprocessing"]["transforms"].append(scale))
    before = oblique.array.copy()
    read(tiny.open(), oblique)
    assert np.array_equal(oblique.array, before)


def test_seconds_are_those_of_the_three_steps(tiny, oblique) -> None:
    result = tiny.open().read(oblique, no_progress)
    assert set(result.seconds) == {"preprocess", "forward", "postprocess"}
    assert min(result.seconds.values()) >= 0.0
    assert (result.model.name, result.model.version) == ("tiny", "0.0.1")
    assert [segment.label for segment in result.segments] == ["Ellipsoid"]


def test_many_label_values_are_16_bits_wide(tiny, oblique) -> None:
    tiny.edit("dicom.json", lambda c: c["segments"][0].update(label_value=300))
    empty = FakePredictor(threshold=9.0)
    assert read(tiny.open(empty), oblique)[0].dtype == np.uint16


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_number_breaks_the_contract(tiny, oblique, value: float) -> None:
    predictor = Answering(lambda output: np.where(output > 0, value, output))
    with pytest.raises(ModelContractError, match="NaN or infinite"):
        read(tiny.open(predictor), oblique)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_volume_with_values_that_are_no_numbers_is_refused(tiny, oblique, value: float) -> None:
    array = oblique.array.copy()
    array[4, 4, 4] = value
    with pytest.raises(InputError, match="tiny: 1 voxels are NaN or infinite"):
        read(tiny.open(), oblique.with_array(array))


def test_a_label_value_that_is_not_declared_breaks_the_contract(tiny, oblique) -> None:
    tiny.edit("dicom.json", lambda c: c["segments"][0].update(label_value=2))
    message = r"the mask has the values \[1\.0\], dicom\.json declares \[0, 2\]"
    with pytest.raises(ModelContractError, match=message) as caught:
        read(tiny.open(), oblique)
    assert "dicom.json" in caught.value.hint


def in_two_channels(tiny) -> None:
    """What is outside and what is inside as a channel each, 0 and 1 of each."""
    second = {"label_value": 2, "segment_number": 2, "label": "Inside", "tracking_id": "inside"}

    def describe(c: dict[str, Any]) -> None:
        c["segments"].append({**c["segments"][0], **second})
        c["segments_overlap"] = True

    def keep_both(c: dict[str, Any]) -> None:
        step = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
        c["postprocessing"]["transforms"] = [step]

    tiny.edit("dicom.json", describe)
    tiny.edit("inference.json", keep_both)


def test_segments_that_may_overlap_are_bits(tiny, oblique) -> None:
    """A threshold below both probabilities: every voxel belongs to both."""
    in_two_channels(tiny)
    apart = tiny.open().read(oblique, no_progress)
    assert apart.segments_overlap
    np.testing.assert_array_equal(apart.labelmap, np.where(oblique.array > 0.5, 2, 1))
    tiny.edit("inference.json", lambda c: c["postprocessing"]["transforms"][0].update(threshold=-1))
    together = tiny.open().read(oblique, no_progress)
    assert (together.labelmap == 3).all()
    assert all(together.mask_of(each).all() for each in together.segments)


def test_a_segment_without_a_channel_breaks_the_contract(tiny, oblique) -> None:
    in_two_channels(tiny)
    tiny.edit("dicom.json", lambda c: c["segments"].pop())
    message = r"the masks have the shape \(2, 9, 14, 17\), wanted is \(1, 9, 14, 17\)"
    with pytest.raises(ModelContractError, match=message):
        read(tiny.open(), oblique)


def test_probabilities_are_no_masks(tiny, oblique) -> None:
    in_two_channels(tiny)
    halved = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x / 2"}
    tiny.edit("inference.json", lambda c: c["postprocessing"]["transforms"].append(halved))
    with pytest.raises(ModelContractError, match="mask of Ellipsoid has values that are neither 0"):
        read(tiny.open(), oblique)


def test_a_mask_on_another_grid_breaks_the_contract(tiny, oblique) -> None:
    """A bundle that resizes and never inverts it."""
    resize = {"_target_": "Resized", "keys": "image", "spatial_size": [8, 8, 8]}
    tiny.edit("inference.json", lambda c: c["preprocessing"]["transforms"].append(resize))
    message = r"the mask has shape \(8, 8, 8\), the volume \(9, 14, 17\)"
    with pytest.raises(ModelContractError, match=message) as caught:
        read(tiny.open(), oblique)
    assert "Invertd" in caught.value.hint


def test_processing_that_fails_names_its_cause(tiny, oblique) -> None:
    wrong = {"_target_": "Resized", "keys": "image", "spatial_size": [8, 8, 8, 8, 8]}
    tiny.edit("inference.json", lambda c: c["preprocessing"]["transforms"].append(wrong))
    with pytest.raises(ModelContractError, match=r"tiny: the bundle's processing failed: .*7D"):
        read(tiny.open(), oblique)


def test_a_network_without_room_is_said_to_have_none(tiny, oblique) -> None:
    """The predictor's own error comes out, with its own cause."""
    original = MemoryError("256 MB")

    def fail(_output: Any) -> Any:
        raise InferenceUnavailableError("no room") from original

    with pytest.raises(InferenceUnavailableError, match="no room") as caught:
        read(tiny.open(Answering(fail)), oblique)
    assert caught.value.__cause__ is original


@pytest.mark.parametrize("step", ["preprocess", "forward", "postprocess"])
def test_a_cancelled_job_ends_with_that_error(tiny, oblique, step: str) -> None:
    error = JobCancelledError("stopped by a person")

    def cancel(name: str, _fraction: float) -> None:
        if name == step:
            raise error

    with pytest.raises(JobCancelledError) as caught:
        tiny.open().read(oblique, cancel)
    assert caught.value is error


def test_threads_that_share_a_model_take_turns(tiny, oblique) -> None:
    """Each gets its own mask and its own progress, however they meet."""
    model = tiny.open(FakePredictor(threshold=0.5))
    volumes = [oblique, oblique.with_array(1 - oblique.array)] * 3
    got: dict[int, tuple[NDArray[Any], Steps]] = {}

    def run(number: int) -> None:
        got[number] = read(model, volumes[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(volumes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = read(model, oblique)[1]
    for number, volume in enumerate(volumes):
        assert np.array_equal(got[number][0], volume.array > 0.5)
        assert got[number][1] == alone


def test_closing_closes_the_networks(tiny) -> None:
    predictor = FakePredictor()
    tiny.open(predictor).close()
    assert predictor.closed


def network(content: dict[str, Any]) -> dict[str, Any]:
    return content["networks"]["tiny_ellipsoid"]


def test_a_key_that_inference_json_lacks_is_named(tiny) -> None:
    tiny.edit("export.json", lambda c: network(c).update(config_id="net"))
    with pytest.raises(ConfigError, match=r"inference\.json has no 'net', which export\.json"):
        tiny.open()


def test_a_bundle_without_a_main_network_is_refused(tiny) -> None:
    tiny.edit("export.json", lambda c: network(c).update(config_id="locator"))
    tiny.edit("inference.json", lambda c: c.update(locator=None))
    with pytest.raises(ConfigError, match=r"export\.json: no network has .* 'network_def'"):
        tiny.open()


@pytest.mark.parametrize("key", ["preprocessing", "postprocessing"])
def test_a_bundle_without_its_processing_is_refused(tiny, key: str) -> None:
    tiny.edit("inference.json", lambda c: c.pop(key))
    with pytest.raises(ConfigError, match=rf"inference\.json has no {key}::transforms"):
        tiny.open()


def test_a_transform_that_does_not_exist_is_named(tiny) -> None:
    wrong = {"_target_": "NoSuchTransformd", "keys": "image"}
    tiny.edit("inference.json", lambda c: c["preprocessing"]["transforms"].append(wrong))
    with pytest.raises(ConfigError, match=r"inference\.json: preprocessing: .*NoSuchTransformd"):
        tiny.open()


def test_a_file_that_is_not_json_is_refused(tiny) -> None:
    (tiny.path / "configs/inference.json").write_text("{")
    with pytest.raises(ConfigError, match=re.escape("configs/inference.json")):
        tiny.open()


def test_a_server_that_is_not_there_is_said_to_be_so(tiny) -> None:
    config = TritonModel(backend="triton", bundle=tiny.path, triton_url="grpc://127.0.0.1:1")
    with pytest.raises(
        InferenceUnavailableError, match=r"grpc://127.0.0.1:1: it cannot be reached"
    ):
        open_model("tiny", config, tiny.repository)


def test_the_fake_predictor_finds_what_is_brighter_than_the_middle() -> None:
    predictor = FakePredictor(channels=3)
    batch = np.array([0.0, 4.0, 10.0], np.float32).reshape(1, 1, 1, 1, 3)
    output = predictor.predict(batch)
    assert output.shape == (1, 3, 1, 1, 3)
    assert output[0, :, 0, 0].tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert not predictor.predict(np.full_like(batch, 4.0))[:, 1].any()
    assert predictor.shapes == [(1, 1, 1, 1, 3)] * 2
