"""Whatever a file holds, it is read whole or refused by name; nothing else comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from phantom import write_series
from radiograph import write_radiograph
from strategies import damaged
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import load_volume
from wetread.errors import InputError
from wetread.offline.checking import Verdict, check_data
from wetread.study import Series

# pydicom and its decoders say so of what they are given; what counts is what comes of it.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(0)]

SHAPE = (3, 34, 33)
# The header is the first half of such a file, and most of what can go wrong.
HEAD = 0.5
WRITERS: dict[str, Callable[[Path], object]] = {
    "classic": lambda folder: write_series(folder, shape=SHAPE),
    "enhanced": lambda folder: write_series(folder, shape=SHAPE, enhanced=True, modality="MR"),
    "JPEG 2000": lambda folder: write_series(
        folder, shape=SHAPE, transfer_syntax_uid=JPEG2000Lossless
    ),
    "JPEG-LS": lambda folder: write_series(folder, shape=SHAPE, transfer_syntax_uid=JPEGLSLossless),
    "RLE": lambda folder: write_series(folder, shape=SHAPE, transfer_syntax_uid=RLELossless),
    "radiograph": lambda folder: write_radiograph(folder / "1.dcm"),
}


@pytest.fixture(scope="module", params=WRITERS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    WRITERS[request.param](folder)
    return folder


def series_in(folder: Path) -> tuple[Series, ...]:
    return read_study(find_instances(folder), stack_by_stack=True).series


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_among_whole_ones(whole: Path, data: st.DataObject) -> None:
    """What is read has a finite number at every voxel; the rest is refused, with what to do."""
    folder = whole.with_name("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    first = min(folder.glob("*"))
    first.write_bytes(data.draw(damaged(first.read_bytes(), HEAD)))
    with suppress(InputError):
        for series in series_in(folder):
            source = load_volume(series)
            assert np.isfinite(source.array).all()
            assert np.isfinite(source.affine).all()


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=20)
@given(data=st.data())
def test_every_file_gets_a_verdict(whole: Path, data: st.DataObject) -> None:
    folder = whole.with_name("judged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    first = min(folder.glob("*"))
    first.write_bytes(data.draw(damaged(first.read_bytes(), HEAD)))
    verdicts = check_data(folder)
    assert len(verdicts) == len(list(folder.iterdir()))
    assert all(each.reason for each in verdicts if each.verdict != Verdict.READABLE)
