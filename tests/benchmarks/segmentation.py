"""How fast a mask becomes a SEG file and comes back: wetread, highdicom, dcmqi.

    python tests/benchmarks/segmentation.py [--quick]

dcmqi is a program, so it starts, reads the source series and the mask, and writes; "wetread, a
process" does the same, Python's imports included. Within the gateway the volume is in memory
already: that is "wetread". Every SEG is read back and must hold the mask that was given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import SimpleITK as sitk  # noqa: N813
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import dcmread

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import compared, in_turns
from phantom import write_series
from readings import BIN, result_context, result_of, segment
from wetread.dicom.attributes import read_series
from wetread.dicom.files import find_instances
from wetread.dicom.labels import count_labels
from wetread.dicom.result_header import file_bytes
from wetread.dicom.seg import build_segmentation
from wetread.dicom.volume import SourceVolume, load_volume

WRITE, READ = BIN / "itkimage2segimage", BIN / "segimage2itkimage"
SEGMENTS = 5
ORGAN = {
    "CodeValue": "91723000",
    "CodingSchemeDesignator": "SCT",
    "CodeMeaning": "Anatomical Structure",
}
BRAIN = {"CodeValue": "12738006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Brain"}


@dataclass(frozen=True)
class Case:
    """A series, its volume, and a labelmap of five shells on it."""

    folder: Path
    sources: Path
    volume: SourceVolume
    labelmap: NDArray[np.uint8]

    @property
    def values(self) -> range:
        return range(1, SEGMENTS + 1)

    def written(self, name: str) -> Path:
        return self.folder / f"{name}.dcm"


def make_case(folder: Path) -> Case:
    """CT of 200 × 512 × 512 with five shells that fill a third of each slice."""
    sources = folder / "ct"
    shape = (200, 512, 512)
    write_series(sources, shape=shape, row_spacing_mm=0.5, column_spacing_mm=0.5)
    volume = load_volume(read_series(find_instances(sources)))
    grid = np.meshgrid(*(np.linspace(-1.0, 1.0, n) for n in shape), indexing="ij", sparse=True)
    radius = np.sqrt(sum(axis**2 for axis in grid)) / 0.65
    labelmap = np.where(radius < 1, 1 + (radius * SEGMENTS).astype(int), 0).astype(np.uint8)
    case = Case(folder, sources, volume, labelmap)
    np.save(folder / "labelmap.npy", labelmap)
    _write_for_dcmqi(case)
    return case


def _write_for_dcmqi(case: Case) -> None:
    image = sitk.GetImageFromArray(case.labelmap)
    affine = case.volume.affine
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(case.volume.spacing_mm[::-1])
    directions = affine[:3, :3] / np.array(case.volume.spacing_mm)
    image.SetDirection(directions[:, ::-1].ravel().tolist())
    sitk.WriteImage(image, str(case.folder / "labelmap.nrrd"))
    attributes = [
        {
            "labelID": value,
            "SegmentDescription": f"shell {value}",
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "benchmark",
            "SegmentedPropertyCategoryCodeSequence": ORGAN,
            "SegmentedPropertyTypeCodeSequence": BRAIN,
        }
        for value in case.values
    ]
    meta = {
        "ContentCreatorName": "wetread",
        "SeriesDescription": "benchmark",
        "SeriesNumber": "300",
        "InstanceNumber": "1",
        "segmentAttributes": [attributes],
    }
    (case.folder / "dcmqi.json").write_text(json.dumps(meta), encoding="utf-8")


def write_by_wetread(case: Case) -> None:
    segments = tuple(segment(value, value, f"shell {value}") for value in case.values)
    result = result_of(case.labelmap, segments)
    counts = count_labels(result, case.volume.shape)
    dataset = build_segmentation(result, case.volume, result_context(), counts)
    case.written("wetread").write_bytes(file_bytes(dataset))


def write_in_a_process(case: Case) -> None:
    subprocess.run([sys.executable, __file__, "--write", case.folder], check=True)


def write_by_highdicom(case: Case) -> None:
    organ = CodedConcept(ORGAN["CodeValue"], "SCT", ORGAN["CodeMeaning"])
    brain = CodedConcept(BRAIN["CodeValue"], "SCT", BRAIN["CodeMeaning"])
    algorithm = highdicom.AlgorithmIdentificationSequence("benchmark", organ, "1")
    descriptions = [
        highdicom.seg.SegmentDescription(
            value, f"shell {value}", organ, brain, "AUTOMATIC", algorithm
        )
        for value in case.values
    ]
    made = highdicom.seg.Segmentation(
        source_images=[dcmread(path) for path in sorted(case.sources.iterdir())],
        pixel_array=case.volume.volume.with_array(case.labelmap),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
    )
    made.save_as(case.written("highdicom"))


def write_by_dcmqi(case: Case) -> None:
    command: list[str | Path] = [WRITE, "--inputDICOMDirectory", case.sources, "--skip", "1"]
    command += ["--inputImageList", case.folder / "labelmap.nrrd"]
    command += ["--inputMetadata", case.folder / "dcmqi.json"]
    _run([*command, "--outputDICOM", case.written("dcmqi")])


def read_by_dcmqi(case: Case) -> None:
    folder = case.folder / "read"
    folder.mkdir(exist_ok=True)
    command = [READ, "--inputDICOM", case.written("wetread"), "--outputDirectory", folder]
    _run([*command, "--mergeSegments", "-t", "nrrd"])


def read_by_highdicom(case: Case) -> NDArray[np.uint8]:
    return _mask(case, "wetread")


def _mask(case: Case, name: str) -> NDArray[np.uint8]:
    found = highdicom.seg.segread(case.written(name)).get_volume(combine_segments=True)
    return np.asarray(found.match_geometry(case.volume.volume).array, np.uint8)


def _run(command: list[str | Path]) -> None:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stdout[-500:]}{done.stderr[-500:]}")


WRITERS: dict[str, Callable[[Case], object]] = {
    "wetread": write_by_wetread,
    "wetread, a process": write_in_a_process,
    "highdicom": write_by_highdicom,
    "dcmqi, a process": write_by_dcmqi,
}
READERS: dict[str, Callable[[Case], object]] = {
    "highdicom, as wetread reads": read_by_highdicom,
    "dcmqi, a process": read_by_dcmqi,
}


def report(folder: Path, rounds: int) -> str:
    """Both tables, as Markdown."""
    case = make_case(folder)
    what = f"{SEGMENTS} segments on {' × '.join(map(str, case.labelmap.shape))}"
    writers = {name: lambda write=write: write(case) for name, write in WRITERS.items()}
    written = in_turns(writers, rounds)
    for name in ("wetread", "highdicom", "dcmqi"):
        if not np.array_equal(_mask(case, name), case.labelmap):
            raise SystemExit(f"the SEG of {name} holds another mask than was given")
    readers = {name: lambda read=read: read(case) for name, read in READERS.items()}
    read = in_turns(readers, rounds)
    sizes = ", ".join(
        f"{name} {case.written(name).stat().st_size / 1e6:.1f} MB"
        for name in ("wetread", "highdicom", "dcmqi")
    )
    return "\n\n".join(
        (
            compared(written, "wetread", f"SEG write: {what}"),
            f"Files: {sizes}.",
            compared(read, next(iter(READERS)), "SEG read: the same"),
        )
    )


def _write_once(folder: Path) -> None:
    """What `write_in_a_process` runs: from files to a file."""
    volume = load_volume(read_series(find_instances(folder / "ct")))
    write_by_wetread(Case(folder, folder / "ct", volume, np.load(folder / "labelmap.npy")))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="1 round")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        _write_once(options.write)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(report(Path(folder), 1 if options.quick else 5))


if __name__ == "__main__":
    main()
