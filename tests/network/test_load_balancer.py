"""Two real Triton servers behind one address: haproxy, as deploy/haproxy.cfg sets it up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

import tiny_classifier
from conftest import ROOT
from network.neighbours import free_port, running
from triton_server import ENVIRONMENT, RunningTriton, only_spec, write_served
from wetread.config import TritonModel
from wetread.infer.description import NetworkSpec
from wetread.infer.triton import TritonPredictor, TritonServers
from wetread.triton.server import TritonServer

HAPROXY = "/usr/sbin/haproxy"


@dataclass(frozen=True)
class Balanced:
    """The one address, and the servers behind it."""

    url: str
    servers: tuple[TritonServer, TritonServer]
    spec: NetworkSpec

    def answered(self) -> list[int]:
        """How many images each server has put through the network."""
        return [_count(server, self.spec.name) for server in self.servers]


def _count(server: TritonServer, network: str) -> int:
    text = httpx.get(server.metrics_url).text
    found = re.findall(rf'^nv_inference_count{{model="{network}".*}} (\d+)', text, re.MULTILINE)
    return sum(map(int, found))


@contextmanager
def haproxy(folder: Path, *servers: TritonServer) -> Iterator[str]:
    """The configuration in deploy/ with the addresses of these servers."""
    port = free_port()
    text = (ROOT / "deploy/haproxy.cfg").read_text(encoding="utf-8")
    text = text.replace("0.0.0.0:8001", f"127.0.0.1:{port}")
    for server, place in zip(servers, ("10.0.0.11", "10.0.0.12"), strict=True):
        health = server.http_url.rpartition(":")[2]
        text = text.replace(f"{place}:8001 port 8000", f"{server.grpc_url} port {health}")
    config = folder / "haproxy.cfg"
    config.write_text(text, encoding="utf-8")
    with running([HAPROXY, "-db", "-f", config], folder / "haproxy.log", port):
        yield f"grpc://127.0.0.1:{port}"


@pytest.fixture
def balanced(triton_server: RunningTriton, tmp_path: Path) -> Iterator[Balanced]:
    spec = only_spec(triton_server.classifier)
    repository = tmp_path / "triton_models"
    write_served(repository, spec, triton_server.repository / spec.name / "1" / "model.onnx")
    log = tmp_path / "triton.log"
    with (
        TritonServer(repository, (spec.name,), ENVIRONMENT, log=log) as second,
        haproxy(tmp_path, second, triton_server.server) as url,
    ):
        yield Balanced(url, (second, triton_server.server), spec)


def pictures(count: int) -> np.ndarray:
    """The lower half of number n is brighter by n / 10."""
    size = tiny_classifier.SIZE
    images = np.zeros((count, 1, size, size), np.float32)
    images[:, :, size // 2 :] = np.arange(count, dtype=np.float32)[:, None, None, None] / 10
    return images


def test_both_answer_behind_one_address_and_one_may_die(balanced: Balanced) -> None:
    """By one connection of one gateway; what was asked of the dead one is asked of the other."""
    model = TritonModel(
        backend="triton", bundle=Path(), triton_url=(balanced.url,), shared_memory=False
    )
    batch = pictures(8)
    with closing(TritonServers(model)) as servers:
        predictor = TritonPredictor(balanced.spec, servers)
        assert not predictor.shares_memory
        before = balanced.answered()
        with ThreadPoolExecutor(4) as pool:
            first = list(pool.map(predictor.predict, [batch] * 12))
            assert all(a > b for a, b in zip(balanced.answered(), before, strict=True))
            balanced.servers[0].kill()
            second = list(pool.map(predictor.predict, [batch] * 12))
    for answer in (*first, *second):
        np.testing.assert_allclose(answer, first[0], atol=1e-5)
    assert np.all(np.diff(first[0][:, 1] - first[0][:, 0]) > 0)
