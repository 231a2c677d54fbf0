"""Frames of one bit a pixel are cut where they begin, wherever that is in a byte."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from phantom import write_series
from readings import reading_of, result_of
from wetread.viewer.frames import BitFrames, cut, first_part


def mask_file(frames: np.ndarray) -> bytes:
    """A DICOM file with these frames (frame, row, column), bit behind bit."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", generate_uid()
    dataset.BitsAllocated = 1
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    dataset.add_new("PixelData", "OB", packed + bytes(len(packed) % 2))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def unpacked(frames: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.unpackbits(frames, axis=1, count=shape[1] * shape[2], bitorder="little")
    return bits.reshape(shape)


@pytest.mark.parametrize("shape", [(4, 5, 7), (3, 4, 8), (1, 3, 3), (5, 181, 217)])
def test_every_frame_begins_on_a_byte(shape: tuple[int, int, int]) -> None:
    frames = np.random.default_rng(1).integers(0, 2, shape, np.uint8)
    found = cut(mask_file(frames))
    assert found is not None
    assert np.array_equal(unpacked(found, shape), frames)


def test_the_gateways_own_segmentation_is_cut(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(6, 21, 19))
    file = reading_of(series, result_of(series.mask())).files["SEG"]
    found = cut(file)
    assert found is not None
    assert unpacked(found, (len(found), 21, 19)).sum() == series.mask().sum()


def test_what_has_no_such_frames_is_left_alone(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 9, 9))
    assert cut(series.paths[0].read_bytes()) is None
    assert cut(b"no DICOM") is None
    assert cut(mask_file(np.ones((40, 5, 7), np.uint8))[:-100]) is None


def test_an_instance_is_fetched_once_and_the_last_few_are_kept() -> None:
    asked = []

    async def fetch(path: str) -> bytes | None:
        asked.append(path)
        return None if path == "gone" else mask_file(np.ones((2, 3, 3), np.uint8))

    async def ask() -> None:
        frames = BitFrames(fetch)
        answers = await asyncio.gather(*(frames.answer("a", number) for number in (1, 2, 3)))
        assert [each is not None for each in answers] == [True, True, False]
        assert await frames.answer("gone", 1) is None
        for name in "bcdef":
            await frames.answer(name, 1)
        assert not frames.holds("a")
        assert frames.holds("f")

    asyncio.run(ask())
    assert asked == ["a", "gone", "b", "c", "d", "e", "f"]


def test_the_first_part_of_an_answer_is_the_file() -> None:
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n\r\n1\r\n--x--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary="x"'
    assert first_part(body, kind) == b"DICM\r\n\r\n1"
    assert first_part(body, "application/json") is None
    assert first_part(b"--x--", kind) is None


def test_the_transfer_syntax_is_said() -> None:
    async def fetch(_: str) -> bytes:
        return mask_file(np.ones((1, 3, 3), np.uint8))

    answer = asyncio.run(BitFrames(fetch).answer("a", 1))
    assert answer is not None
    assert answer.headers["content-type"].startswith("multipart/related")
    assert f"transfer-syntax={ExplicitVRLittleEndian}".encode() in answer.body
