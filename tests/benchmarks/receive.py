"""How fast instances are received: dcmtk storescp, Orthanc and wetread side by side.

    python tests/benchmarks/receive.py [--quick]

Each round starts every receiver anew with an empty folder, one after the other, so that other
load on the machine falls on all of them. The sender is dcmtk's storescu in as many processes as
the column says; the images are divided among them. Prints a Markdown table of medians.

wetread is the whole gateway, ledger included; it syncs each file and its folder to the disk and
commits to the ledger before it answers. storescp syncs nothing.
Orthanc has SyncStorageArea on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import table
from network import neighbours
from readings import BIN

CT = "1.2.840.10008.5.1.4.1.1.2"
SENDERS = (1, 4)
# The whole gateway: spool, ledger and all, with nothing configured to read.
SETTINGS = """
[listener]
host = "127.0.0.1"
port = {port}
accept_calling_ae_titles = ["*"]
[spool]
path = "{spool}"
min_free_bytes = 0
[web]
enabled = false
"""


def write_images(folder: Path, count: int) -> list[Path]:
    """CT of 512 x 512 with noise, 0.5 MB each, one series."""
    random = np.random.default_rng(1)
    study, series = generate_uid(), generate_uid()
    paths = []
    for number in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CT, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "Bench^Mark", "1"
        dataset.InstanceNumber = number + 1
        dataset.Rows = dataset.Columns = 512
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = random.integers(0, 4096, (512, 512), np.uint16).tobytes()
        path = folder / f"{number:04}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, str]]:
    """Port and called AE title."""
    port, received = neighbours.free_port(), folder / "received"
    received.mkdir()
    command = [neighbours.STORESCP, "--fork", "-aet", "DCMTK", "+xa", "-od", received, str(port)]
    with neighbours.running(command, folder / "log", port):
        yield port, "DCMTK"


@contextmanager
def orthanc(folder: Path) -> Iterator[tuple[int, str]]:
    """Port and called AE title."""
    with neighbours.orthanc(folder, SyncStorageArea=True, Plugins=[]) as running:
        yield running.dicom_port, "ORTHANC"


@contextmanager
def wetread(folder: Path) -> Iterator[tuple[int, str]]:
    """Port and called AE title."""
    port, config = neighbours.free_port(), folder / "wetread.toml"
    config.write_text(SETTINGS.format(port=port, spool=folder / "spool"), encoding="utf-8")
    command = [BIN / "wetread", "serve", "--config", config]
    with neighbours.running(command, folder / "log", port, seconds=60):
        yield port, "WETREAD"


Receiver = Callable[[Path], AbstractContextManager[tuple[int, str]]]
RECEIVERS: dict[str, Receiver] = {
    "dcmtk storescp --fork (no sync)": storescp,
    "Orthanc (sync)": orthanc,
    "wetread (sync)": wetread,
}


def seconds_to_send(images: list[Path], senders: int, port: int, title: str) -> float:
    """Wall time until the last of the senders has its last answer."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    command = [neighbours.STORESCU, "--max-pdu", "131072", "-aec", title, "127.0.0.1", str(port)]
    started = time.perf_counter()
    running = [
        subprocess.Popen([*command, *map(str, images[part::senders])], env=environment)
        for part in range(senders)
    ]
    codes = [process.wait() for process in running]
    seconds = time.perf_counter() - started
    if any(codes):
        raise SystemExit(f"storescu to {title} ended with {codes}")
    return seconds


def measure(images: list[Path], rounds: int) -> dict[tuple[str, int], list[float]]:
    """Seconds by receiver and number of senders, one a round."""
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for senders in SENDERS:
            for name, start in RECEIVERS.items():
                seconds = _one(start, images, senders)
                times.setdefault((name, senders), []).append(seconds)
    return times


def _one(start: Receiver, images: list[Path], senders: int) -> float:
    with (
        tempfile.TemporaryDirectory(dir=images[0].parent.parent) as folder,
        start(Path(folder)) as (port, title),
    ):
        return seconds_to_send(images, senders, port, title)


def report(folder: Path, rounds: int, count: int = 300) -> str:
    """The table, as Markdown: images a second, of `rounds` interleaved rounds."""
    sources = folder / "images"
    sources.mkdir()
    times = measure(write_images(sources, count), rounds)
    rows = [
        [name, *(_cell(count, times[name, senders]) for senders in SENDERS)] for name in RECEIVERS
    ]
    header = [f"receiver of {count} CT of 0.5 MB", *(f"{n} sender(s), images/s" for n in SENDERS)]
    return table(header, rows)


def _cell(count: int, seconds: list[float]) -> str:
    median = count / statistics.median(seconds)
    return f"{median:.0f} [{count / max(seconds):.0f}-{count / min(seconds):.0f}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="60 images and 1 round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(report(Path(folder), 1, 60) if options.quick else report(Path(folder), 5))


if __name__ == "__main__":
    main()
