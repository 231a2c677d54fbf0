"""How fast a folder becomes a volume: wetread, SimpleITK, a loop over pydicom, dicomsdl.

    python tests/benchmarks/load.py [--quick]

Each side reads every file, orders the slices by position along the normal and rescales. All
must give the same array, or the run ends. Files are in the system's cache.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import dicomsdl
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom import dcmread

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.head import write_head
from benchmarks.tables import compared, in_turns, run_alone
from phantom import write_series
from wetread.dicom.attributes import read_series
from wetread.dicom.files import find_instances
from wetread.dicom.volume import load_volume
from wetread.study import Series

Array = NDArray[np.float32]


def by_wetread(folder: Path) -> Array:
    """The gateway's load stage, with every check; which files make the series is known."""
    return load_volume(_series(folder)).array


@functools.cache
def _series(folder: Path) -> Series:
    return read_series(find_instances(folder))


def by_wetread_from_folder(folder: Path) -> Array:
    """The same, with the reading of headers that rules and models ask for."""
    _series.cache_clear()
    return by_wetread(folder)


def by_simpleitk(folder: Path) -> Array:
    """GDCM's ordering and reading."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute()).astype(np.float32)


def _stacked(slices: list[tuple[float, Array]]) -> Array:
    return np.stack([values for _, values in sorted(slices, key=lambda each: each[0])])


def _height(position: object, orientation: object) -> float:
    cosines = np.array(orientation, float)
    return float(np.cross(cosines[:3], cosines[3:]) @ np.array(position, float))


def by_pydicom(folder: Path) -> Array:
    """The loop that everybody writes first."""
    slices = []
    for path in folder.iterdir():
        image = dcmread(path)
        slope = float(image.get("RescaleSlope", 1))
        intercept = float(image.get("RescaleIntercept", 0))
        height = _height(image.ImagePositionPatient, image.ImageOrientationPatient)
        slices.append((height, image.pixel_array.astype(np.float32) * slope + intercept))
    return _stacked(slices)


def by_dicomsdl(folder: Path) -> Array:
    """The same loop; its `pixelData` rescales by itself."""
    slices = []
    for path in folder.iterdir():
        image = dicomsdl.open_file(str(path))
        height = _height(image.ImagePositionPatient, image.ImageOrientationPatient)
        slices.append((height, image.pixelData(storedvalue=False).astype(np.float32)))
    return _stacked(slices)


SIDES: dict[str, Callable[[Path], Array]] = {
    "wetread": by_wetread,
    "wetread, from an unknown folder": by_wetread_from_folder,
    "SimpleITK": by_simpleitk,
    "pydicom loop": by_pydicom,
    "dicomsdl loop": by_dicomsdl,
}


def report(folder: Path, rounds: int) -> str:
    """Both tables, as Markdown."""
    head = write_head(folder)
    ct = folder / "ct"
    write_series(ct, shape=(200, 512, 512), row_spacing_mm=0.5, column_spacing_mm=0.5)
    parts = []
    for series, what in ((head, "MR head, 180 × 256 × 256"), (ct, "CT, 200 × 512 × 512")):
        _check_same(series)
        sides = {name: lambda read=read, at=series: read(at) for name, read in SIDES.items()}
        parts.append(compared(in_turns(sides, rounds), "wetread", what))
    return "\n\n".join(parts)


def _check_same(folder: Path) -> None:
    wanted = by_wetread(folder)
    for name, read in SIDES.items():
        if not np.array_equal(read(folder), wanted):
            raise SystemExit(f"{name} reads another volume from {folder} than wetread")


if __name__ == "__main__":
    run_alone(report, __doc__ or "")
