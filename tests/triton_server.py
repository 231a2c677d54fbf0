"""A real Triton server on loopback with networks without weights, which tests may add to."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import tiny_classifier
import tiny_model
from conftest import ROOT
from tiny_classifier import write_tiny_classifier
from tiny_model import TinyModel, write_tiny_model
from wetread.infer.description import NetworkSpec, load_networks
from wetread.triton.configs import cpu_config, profile_of
from wetread.triton.environment import DEFAULT_FOLDER
from wetread.triton.served import NETWORK_FILE
from wetread.triton.server import TritonServer

ENVIRONMENT = ROOT / DEFAULT_FOLDER
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True)
class RunningTriton:
    """A server with its repository and the bundles of its first networks."""

    server: TritonServer
    repository: Path
    segmenter: TinyModel
    classifier: TinyModel

    def add(self, spec: NetworkSpec, onnx: Path, version: str = "1") -> None:
        """A network, or another version of one, served from now on."""
        write_served(self.repository, spec, onnx, version)
        self.server.load(spec.name)

    def add_as(self, name: str, onnx: Path, like: NetworkSpec) -> NetworkSpec:
        """A network under another name, with the input and output of `like`."""
        spec = NetworkSpec(name, like.config_id, like.input, like.output)
        self.add(spec, onnx)
        return spec

    def remove(self, name: str) -> None:
        """Unload it and take it out of the repository."""
        self.server.unload(name)
        shutil.rmtree(self.repository / name)


def only_spec(model: TinyModel) -> NetworkSpec:
    """The one network of a tiny bundle."""
    [spec] = load_networks(model.bundle).values()
    return spec


def write_served(repository: Path, spec: NetworkSpec, onnx: Path, version: str = "1") -> Path:
    """What Triton needs of a network beside its ONNX file; gives the folder of the version."""
    folder = repository / spec.name / version
    folder.mkdir(parents=True, exist_ok=True)
    if onnx != folder / "model.onnx":
        shutil.copy2(onnx, folder / "model.onnx")
    shutil.copy2(NETWORK_FILE, folder / "model.py")
    sha256 = {
        each.parent.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in sorted((repository / spec.name).glob("[0-9]*/model.onnx"))
    }
    config = repository / spec.name / "configs" / "cpu.pbtxt"
    config.parent.mkdir(exist_ok=True)
    config.write_text(cpu_config(spec, profile_of(spec, ()), sha256), encoding="utf-8")
    return folder


@contextmanager
def running_triton(folder: Path) -> Iterator[RunningTriton]:
    """A server with the tiny segmenter and the tiny classifier, in a repository under `folder`."""
    segmenter = write_tiny_model(folder)
    classifier = write_tiny_classifier(folder)
    repository = segmenter.repository
    for model in (segmenter, classifier):
        spec = only_spec(model)
        write_served(repository, spec, repository / spec.name / "1" / "model.onnx")
    names = (tiny_model.NETWORK, tiny_classifier.NAME)
    log = folder / "triton.log"
    with TritonServer(repository, names, ENVIRONMENT, log=log) as server:
        assert not server.failed, server.failed
        yield RunningTriton(server, repository, segmenter, classifier)


def pending(server: TritonServer, model: str) -> int:
    """Requests that wait for the model, as the server counts them."""
    lines = httpx.get(server.metrics_url).text.splitlines()
    wanted = f'nv_inference_pending_request_count{{model="{model}"'
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(wanted))


def process_tree(leader: int) -> list[int]:
    """Ids of the processes of that session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def resident_bytes(leader: int) -> int:
    """Of all processes of that session together; what they share counts for each."""
    pages = 0
    for process in process_tree(leader):
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def region_prefix(server: int) -> str:
    """How the names of that running server's regions of shared memory begin."""
    words = Path(f"/proc/{server}/cmdline").read_bytes().decode().split("\0")
    [prefix] = [word.rpartition("=")[2] for word in words if "shm-region-prefix-name" in word]
    return prefix


def regions(prefix: str) -> set[str]:
    """What lies in shared memory under names that begin so."""
    return {each.name for each in SHARED_MEMORY.glob(f"{prefix}*")}
