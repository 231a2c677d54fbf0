"""`readable` means the right values: sign, bits, padding, tables, byte order, a missing decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless

from odd_files import KINDS
from phantom import received, write_series
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import load_volume
from wetread.errors import UnreadablePixelsError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
SHAPE = (4, 12, 10)


def changed(folder: Path, change: Callable[[Dataset], object]) -> np.ndarray:
    """The values of a small CT after a change to each of its files."""
    series = write_series(folder, shape=SHAPE)
    for path in series.paths:
        image = dcmread(path)
        change(image)
        image.save_as(path)
    return load_volume(received(series)).array


def stored_of(image: Dataset) -> np.ndarray:
    return np.frombuffer(image.PixelData, "<u2").astype(int)


@pytest.mark.parametrize("name", ["overlay in the pixels", "signed 12 bits"])
def test_bits_above_those_stored_do_not_count(tmp_path: Path, name: str) -> None:
    KINDS[name].write(tmp_path / "odd")
    truth = write_series(tmp_path / "truth", shape=SHAPE).values()
    [odd] = read_study(find_instances(tmp_path / "odd")).series
    np.testing.assert_array_equal(load_volume(odd).array, truth)


@pytest.mark.parametrize("bits", [11, 13, 16])
def test_an_odd_number_of_bits_may_stand_high_in_the_word(tmp_path: Path, bits: int) -> None:
    def change(image: Dataset) -> None:
        image.BitsStored, image.HighBit = bits, 15
        image.PixelData = (stored_of(image) << (16 - bits)).astype("<u2").tobytes()

    truth = write_series(tmp_path / "truth", shape=SHAPE).values()
    np.testing.assert_array_equal(changed(tmp_path / "a", change), truth)


@pytest.mark.parametrize("signed", [False, True])
def test_eight_bits(tmp_path: Path, signed: bool) -> None:
    """Stored 0 to 255, or from -128, become HU by slope and intercept."""
    ramp = np.arange(120) + (-60 if signed else 0)

    def change(image: Dataset) -> None:
        image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
        image.PixelRepresentation = int(signed)
        image.RescaleSlope, image.RescaleIntercept = 2, -100
        image.PixelData = ramp.astype(np.int8 if signed else np.uint8).tobytes()
        image["PixelData"].VR = "OB"

    array = changed(tmp_path, change)
    np.testing.assert_array_equal(array[0].ravel(), ramp * 2.0 - 100)


def test_padding_outside_the_bits_stored_is_air(tmp_path: Path) -> None:
    """-2000 does not fit in 12 bits, and is no tissue when it is cut to them."""

    def change(image: Dataset) -> None:
        image.BitsStored, image.HighBit, image.PixelRepresentation = 12, 11, 1
        image.RescaleIntercept = 0
        stored = (stored_of(image) - 1024).reshape(12, 10)
        stored[:2] = -2000
        image.PixelData = stored.astype("<i2").tobytes()
        image.add_new("PixelPaddingValue", "SS", -2000)

    array = changed(tmp_path, change)
    assert np.all(array[:, :2] == -1000)
    assert array[:, 2:].min() >= -1000


def test_a_modality_lut_stands_in_place_of_slope_and_intercept(tmp_path: Path) -> None:
    """Entry i of the table is the value of stored first + i (PS3.3 C.11.1.1)."""

    def change(image: Dataset) -> None:
        table = Dataset()
        table.LUTDescriptor = [120, 0, 16]
        table.ModalityLUTType = "HU"
        table.LUTData = (1000 + 3 * np.arange(120)).astype("<u2").tobytes()
        table["LUTData"].VR = "OW"
        image.ModalityLUTSequence = [table]
        del image.RescaleSlope, image.RescaleIntercept
        image.PixelData = np.arange(120).astype("<u2").tobytes()

    array = changed(tmp_path, change)
    np.testing.assert_array_equal(array[2].ravel(), 1000 + 3 * np.arange(120))


def test_a_broken_modality_lut_names_the_file(tmp_path: Path) -> None:
    def change(image: Dataset) -> None:
        image.ModalityLUTSequence = [Dataset()]

    with pytest.raises(UnreadablePixelsError, match=r"0001\.dcm: its Modality LUT cannot be used"):
        changed(tmp_path, change)


def test_big_endian_words_are_the_same_values(tmp_path: Path) -> None:
    """12 bits, so that the bits above them are looked at in the right order."""
    series = write_series(tmp_path, shape=SHAPE)
    for path in series.paths:
        image = dcmread(path)
        image.BitsStored, image.HighBit = 12, 11
        words = stored_of(image).astype(">u2").tobytes()
        _ = [element.value for element in image]
        image.PixelData = words
        image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dcmwrite(path, image, little_endian=False, implicit_vr=False, force_encoding=True)
    np.testing.assert_array_equal(load_volume(received(series)).array, series.values())


def test_slopes_of_slices_are_float32(tmp_path: Path) -> None:
    """Philips has a slope a slice; none of them is rounded to a whole number."""
    slopes = iter([0.1221, 0.3333, 1.7, 0.01])

    def change(image: Dataset) -> None:
        image.RescaleSlope, image.RescaleIntercept = next(slopes), -7.25
        image.PixelData = np.arange(120).astype("<u2").tobytes()

    array = changed(tmp_path, change)
    expected = np.outer([0.1221, 0.3333, 1.7, 0.01], np.arange(120)) - 7.25
    assert array.dtype == np.float32
    np.testing.assert_allclose(array.reshape(4, 120), expected, rtol=1e-6, atol=1e-6)


def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["pyjpegls - requires numpy and pyjpegls>=1.2", "gdcm - requires gdcm>=3.0.10"]
    monkeypatch.setattr(Decoder, "missing_dependencies", property(lambda _: needs))
    KINDS["noise for pixels"].write(tmp_path)
    [series] = read_study(find_instances(tmp_path)).series
    with pytest.raises(UnreadablePixelsError) as caught:
        load_volume(series)
    assert caught.value.hint.startswith("install pyjpegls, or ask the sender")
    assert JPEGLSLossless in caught.value.message
