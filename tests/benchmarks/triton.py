"""What it costs to ask a network on Triton, and what several clients gain.

    python tests/benchmarks/triton.py [--quick]

The same ONNX file runs by OpenVINO in this process and in a real Triton on this host, on the same
cores. Every answer is compared with the embedded one. The transports take turns. Concurrent clients
ask as the gateway does, through shared memory; the embedded predictor lets them take turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import tritonclient.http
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.head import NETWORKS, ROOT
from benchmarks.tables import cell, in_turns, ratio, run_alone, table
from wetread.config import EmbeddedModel, TritonModel
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.description import NetworkSpec, load_networks
from wetread.infer.embedded import EmbeddedPredictor
from wetread.infer.fixed_input import fixed_input
from wetread.infer.subjects import volume_of_modalities
from wetread.infer.triton import TritonPredictor, TritonServers
from wetread.models.export import build_models
from wetread.models.original import is_trained
from wetread.triton.environment import DEFAULT_FOLDER
from wetread.triton.server import TritonServer

Batch = NDArray[np.float32]
Ask = Callable[[Batch], Batch]
# One image, and 64 on each axis that the network leaves open.
_LENGTHS = (1, 64)
_CLOSE = 1e-3
_CONCURRENCY = (1, 2, 4, 8)
_BATCHES = (1, 2, 4, 8)
_REQUESTS = 48
_SLICES = 48


def bundles() -> list[Path]:
    """Those that have weights."""
    found = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/export.json"))
    return [bundle for bundle in found if is_trained(bundle)]


def model_of(bundle: Path, server: TritonServer, **changes: Any) -> TritonModel:
    """The settings of a served bundle."""
    url = f"grpc://{server.grpc_url}"
    return TritonModel(backend="triton", bundle=bundle, triton_url=(url,), **changes)


@contextmanager
def asked(spec: NetworkSpec, server: TritonServer) -> Iterator[dict[str, Ask]]:
    """Every way to one network."""
    with ExitStack() as stack:
        embedded = stack.enter_context(closing(EmbeddedPredictor(spec.name, NETWORKS)))
        ways: dict[str, Ask] = {"embedded": embedded.predict}
        for name, shared in (("shared memory", True), ("gRPC", False)):
            servers = TritonServers(model_of(Path(), server, shared_memory=shared))
            stack.enter_context(closing(servers))
            ways[name] = TritonPredictor(spec, servers).predict
        client = tritonclient.http.InferenceServerClient(server.http_url, network_timeout=600)
        stack.enter_context(closing(client))
        ways["HTTP"] = lambda batch: over_http(client, spec, batch)
        yield ways


def over_http(
    client: tritonclient.http.InferenceServerClient, spec: NetworkSpec, batch: Batch
) -> Batch:
    """One request with binary data."""
    given = tritonclient.http.InferInput(spec.input.name, list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    answer: Batch = client.infer(spec.name, [given]).as_numpy(spec.output.name)
    return answer


def same(found: Batch, wanted: Batch) -> None:
    """Stop a comparison of answers that differ."""
    difference = float(np.abs(found - wanted).max())
    assert difference < _CLOSE, difference


def transports(server: TritonServer, rounds: int) -> str:
    """One request at a time, of the usual shape; the transport's share is of the whole."""
    rows = []
    for bundle in bundles():
        for spec in load_networks(bundle).values():
            batch = fixed_input(spec, _LENGTHS)
            with asked(spec, server) as ways:
                wanted = ways["embedded"](batch)
                for ask in ways.values():
                    same(ask(batch), wanted)
                sides = {name: partial(ask, batch) for name, ask in ways.items()}
                seconds = in_turns(sides, 3 * rounds)
            first = seconds["embedded"]
            rows += [
                [
                    spec.name,
                    f"{(batch.nbytes + wanted.nbytes) / 2**20:.1f}",
                    name,
                    cell([1000 * each for each in values], 1),
                    ratio(values, first),
                    _share(values, first),
                ]
                for name, values in seconds.items()
            ]
    return table(["network", "MiB", "way", "ms", "to embedded", "transport"], rows)


def _share(values: Sequence[float], first: Sequence[float]) -> str:
    found = statistics.median(1 - b / a for a, b in zip(values, first, strict=True))
    return f"{max(0.0, found):.0%}"


def readings(server: TritonServer, rounds: int) -> str:
    """A volume of each bundle, from voxels in memory to the result."""
    rows = []
    for bundle in bundles():
        volume = _volume(bundle)
        with ExitStack() as stack:
            models = {
                "embedded": EmbeddedModel(bundle=bundle),
                "Triton, shared memory": model_of(bundle, server),
                "Triton, gRPC": model_of(bundle, server, shared_memory=False),
            }
            sides = {
                name: partial(
                    _read, stack.enter_context(closing(open_model(name, config, NETWORKS))), volume
                )
                for name, config in models.items()
            }
            for side in sides.values():
                side()
            seconds = in_turns(sides, rounds)
        first = seconds["embedded"]
        what = f"{bundle.name}, {' × '.join(map(str, volume.array.shape))}"
        rows += [
            [what, name, cell(values, 3), ratio(values, first)] for name, values in seconds.items()
        ]
    return table(["bundle, image", "way", "seconds", "to embedded"], rows)


# A usual image of each bundle; of others 24 slices.
_IMAGES = {
    "brain_mr_extraction": (180, 256, 256),
    "chest_xray_classification": (1, 1024, 1024),
    "hippocampus_mr_segmentation": (36, 50, 36),
    "lung_ct_classification": (_SLICES, 512, 512),
    "multimodal_fusion": (44, 48, 48, 4),
}


def _volume(bundle: Path) -> highdicom.Volume:
    shape = _IMAGES.get(bundle.name, (24, 256, 256))
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[:3]), indexing="ij")
    ball = np.clip(1 - np.sqrt(sum(axis**2 for axis in grid)), 0, 1) * 1000
    noise = np.random.default_rng(4).normal(0, 20, shape)
    values = (ball.reshape(ball.shape + (1,) * (len(shape) - 3)) + noise).astype(np.float32)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    if len(shape) > 3:
        return volume_of_modalities(values, affine, ("t1", "t2", "flair", "ct"))
    return highdicom.Volume(values, affine, coordinate_system="PATIENT")


def load(server: TritonServer, rounds: int) -> str:
    """Clients at once, each with requests of some images: latencies and throughput."""
    [spec] = load_networks(ROOT / "bundles/chest_xray_classification").values()
    rows = []
    with asked(spec, server) as ways:
        for size in _BATCHES:
            batch = np.repeat(fixed_input(spec, _LENGTHS), size, axis=0)
            for clients in _CONCURRENCY:
                for name in ("embedded", "shared memory"):
                    found = [_driven(ways[name], batch, clients) for _ in range(rounds)]
                    latencies = 1000 * np.concatenate([each for each, _ in found])
                    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
                    rate = [len(each) * size / total for each, total in found]
                    rows.append(
                        [str(size), str(clients), name, f"{p50:.0f}", f"{p95:.0f}", f"{p99:.0f}",
                         cell(rate, 1)]
                    )  # fmt: skip
    return table(
        ["batch", "clients", "way", "p50 ms", "p95 ms", "p99 ms", f"{spec.name}, images/s"], rows
    )


def _driven(ask: Ask, batch: Batch, clients: int) -> tuple[NDArray[np.float64], float]:
    """Seconds of each request, and of all together."""

    def one(_number: int) -> float:
        started = time.perf_counter()
        ask(batch)
        return time.perf_counter() - started

    count = max(clients, _REQUESTS // len(batch))
    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        latencies = np.array(list(pool.map(one, range(count))))
        return latencies, time.perf_counter() - started


def studies(server: TritonServer, rounds: int) -> str:
    """Two CT of the chest with one served model: one after the other, and at once."""
    bundle = ROOT / "bundles/lung_ct_classification"
    volumes = [_chest(seed) for seed in (1, 2)]
    with ExitStack() as stack:
        served = stack.enter_context(
            closing(open_model("served", model_of(bundle, server), NETWORKS))
        )
        config = EmbeddedModel(bundle=bundle)
        embedded = stack.enter_context(closing(open_model("embedded", config, NETWORKS)))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        sides = {
            "embedded, one after the other": lambda: [_read(embedded, each) for each in volumes],
            "Triton, one after the other": lambda: [_read(served, each) for each in volumes],
            "Triton, both at once": lambda: list(pool.map(lambda v: _read(served, v), volumes)),
        }
        for side in sides.values():
            side()
        seconds = in_turns(sides, rounds)
    first = seconds["Triton, one after the other"]
    rows = [[name, cell(values), ratio(values, first)] for name, values in seconds.items()]
    return table([f"two CT of {_SLICES} slices", "seconds", "to one after the other"], rows)


def _chest(seed: int) -> highdicom.Volume:
    hu = np.random.default_rng(seed).normal(-400, 300, (_SLICES, 512, 512)).astype(np.float32)
    return highdicom.Volume(hu, np.diag([2.5, 0.7, 0.7, 1.0]), coordinate_system="PATIENT")


def _read(model: BundleModel, volume: highdicom.Volume) -> None:
    model.read(volume, no_progress)


def report(folder: Path, rounds: int) -> str:
    """The four tables."""
    names = [
        built.network
        for bundle in bundles()
        for built in build_models(bundle, NETWORKS, no_progress)
    ]
    with TritonServer(NETWORKS, names, ROOT / DEFAULT_FOLDER, log=folder / "triton.log") as server:
        assert not server.failed, server.failed
        parts = [part(server, rounds) for part in (readings, transports, load, studies)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run_alone(report, __doc__ or "")
