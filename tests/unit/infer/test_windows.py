"""A volume read window by window, by the real network, gives the mask of the whole volume."""

from __future__ import annotations

from typing import Any

import highdicom
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from phantom import received, write_series
from tiny_model import NETWORK
from wetread.config import EmbeddedModel
from wetread.dicom.volume import load_volume
from wetread.errors import ModelContractError
from wetread.infer.base import no_progress
from wetread.infer.bundle import open_model


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> highdicom.Volume:
    """The CT phantom, turned by 12°, of 24 × 48 × 40 voxels."""
    series = write_series(tmp_path_factory.mktemp("windows"), oblique_degrees=12.0)
    return load_volume(received(series))


def use_windows(tiny: Any, roi: tuple[int, int, int], **settings: Any) -> None:
    inferer = {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(roi),
        "sw_batch_size": 1,
        "overlap": 0.25,
        **settings,
    }
    tiny.edit("inference.json", lambda content: content.update(inferer=inferer))


def take_only(tiny: Any, shape: tuple[int, ...]) -> None:
    """A network as TensorRT likes it: of one shape alone; 0 leaves an axis free."""
    path = tiny.repository / NETWORK / "1" / "model.onnx"
    model = onnx.load(path)
    for port in (model.graph.input[0], model.graph.output[0]):
        sizes = port.type.tensor_type.shape.dim
        for axis in (0, 2, 3, 4):
            sizes[axis].Clear()
            if shape[axis]:
                sizes[axis].dim_value = shape[axis]
    onnx.save(model, path)


def mask(tiny: Any, volume: highdicom.Volume) -> NDArray[Any]:
    model = open_model("tiny", EmbeddedModel(bundle=tiny.path, threads=1), tiny.repository)
    labelmap = model.read(volume, no_progress).labelmap
    model.close()
    return labelmap


def ellipsoid(volume: highdicom.Volume) -> NDArray[np.bool_]:
    return np.asarray((volume.array > 100) & (volume.array < 140))


@pytest.mark.parametrize(
    ("roi", "settings"),
    [
        ((16, 16, 16), {}),
        ((10, 14, 18), {"overlap": 0.0}),
        ((16, 16, 16), {"mode": "gaussian", "overlap": 0.5}),
        ((64, 64, 64), {}),
    ],
)
def test_windows_give_the_mask_of_the_whole_volume(
    tiny: Any, volume: highdicom.Volume, roi: tuple[int, int, int], settings: dict[str, Any]
) -> None:
    whole = mask(tiny, volume)
    use_windows(tiny, roi, **settings)
    assert np.array_equal(mask(tiny, volume), whole)
    assert np.array_equal(whole > 0, ellipsoid(volume))
    assert whole.any()


@pytest.mark.parametrize("roi", [(16, 16, 16), (32, 32, 32), (64, 64, 64)])
def test_a_network_of_one_shape_reads_a_volume_of_another(
    tiny: Any, volume: highdicom.Volume, roi: tuple[int, int, int]
) -> None:
    """A volume that is smaller than the window is padded, and the mask cut again."""
    take_only(tiny, (1, 1, *roi))
    use_windows(tiny, roi)
    assert np.array_equal(mask(tiny, volume) > 0, ellipsoid(volume))


def test_windows_go_four_at_once_to_a_network_that_takes_them(
    tiny: Any, volume: highdicom.Volume
) -> None:
    take_only(tiny, (0, 1, 16, 16, 16))
    use_windows(tiny, (16, 16, 16), sw_batch_size=4)
    assert np.array_equal(mask(tiny, volume) > 0, ellipsoid(volume))


def test_a_network_of_one_shape_takes_no_whole_volume(tiny: Any, volume: highdicom.Volume) -> None:
    take_only(tiny, (1, 1, 16, 16, 16))
    message = r"takes float32 of shape \[1,1,16,16,16\], got \[1, 1, 24, 48, 40\]"
    with pytest.raises(ModelContractError, match=message) as caught:
        mask(tiny, volume)
    assert "inference.json" in caught.value.hint


def test_more_windows_at_once_than_the_network_takes_break_the_contract(
    tiny: Any, volume: highdicom.Volume
) -> None:
    take_only(tiny, (1, 1, 16, 16, 16))
    use_windows(tiny, (16, 16, 16), sw_batch_size=4)
    with pytest.raises(ModelContractError, match=r"got \[4, 1, 16, 16, 16\]"):
        mask(tiny, volume)
