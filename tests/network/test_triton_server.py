"""A real Triton server: starts, answers, fails and stops as it should."""

from __future__ import annotations

import os
import queue
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput

import tiny_classifier
import tiny_model
from gateway import eventually
from triton_server import (
    ENVIRONMENT,
    RunningTriton,
    only_spec,
    pending,
    process_tree,
    region_prefix,
    regions,
    resident_bytes,
    write_served,
)
from wetread.errors import (
    ConfigError,
    InferenceError,
    InferenceUnavailableError,
    ModelContractError,
)
from wetread.infer.description import NetworkSpec
from wetread.triton import server as server_module
from wetread.triton.configs import ONNX_INT8_FILE, cpu_config, profile_of
from wetread.triton.parity import check_models, check_parity, served_spec
from wetread.triton.served import NETWORK_FILE
from wetread.triton.server import TritonServer, served_models

CHURNED = 5
ROUNDS = 10
# What Triton itself keeps of so many loads is far below.
GROWTH_BYTES = 4 << 20
# A model.py that answers as the Python backend does under numpy 2: nothing.
SPEECHLESS = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        nothing = pb_utils.Tensor("{output}", np.zeros((0, 2), np.float32))
        return [pb_utils.InferenceResponse([nothing]) for _ in requests]
"""
# What is put behind the served file: a call says that it has begun, and waits for the file `go`.
GATE = """

import time

_execute = TritonPythonModel.execute


def _gated(self, requests):
    Path(__file__).with_name("begun").touch()
    while not Path(__file__).with_name("go").exists():
        time.sleep(0.01)
    return _execute(self, requests)


TritonPythonModel.execute = _gated
"""
# And behind that: each forward leaves the number of requests that it is for.
COUNTED = """

_run = _OpenVino.run


def _counted(self, batch, waiting):
    with Path(__file__).with_name("forwards").open("a") as file:
        file.write(f"{len(waiting)} ")
    return _run(self, batch, waiting)


_OpenVino.run = _counted
"""


@pytest.fixture
def alone(triton_server: RunningTriton, tmp_path: Path) -> Iterator[TritonServer]:
    """A server of its own, not started, with copies of the tiny networks."""
    repository = tmp_path / "triton_models"
    for model in (triton_server.segmenter, triton_server.classifier):
        spec = only_spec(model)
        onnx = triton_server.repository / spec.name / "1" / "model.onnx"
        write_served(repository, spec, onnx)
    server = TritonServer(
        repository, served_models(repository), ENVIRONMENT, log=tmp_path / "triton.log"
    )
    yield server
    server.stop()


@contextmanager
def added(running: RunningTriton, name: str, model_py: str | None = None) -> Iterator[NetworkSpec]:
    """The tiny classifier under another name, with a model.py of the test's."""
    like = only_spec(running.classifier)
    spec = NetworkSpec(name, like.config_id, like.input, like.output)
    onnx = running.repository / like.name / "1" / "model.onnx"
    folder = write_served(running.repository, spec, onnx)
    if model_py is not None:
        config = running.repository / name / "configs" / "cpu.pbtxt"
        # A warm-up would be answered without a byte, or wait for the gate.
        text = config.read_text(encoding="utf-8").partition("model_warmup")
        config.write_text(text[0] + text[2].partition("} ]\n")[2], encoding="utf-8")
        (folder / "model.py").write_text(model_py, encoding="utf-8")
    running.server.load(name)
    yield spec
    running.remove(name)


def picture(brightness: float = 0.5) -> NDArray[np.float32]:
    """One whose lower half is brighter by `brightness`: logits 0 and 10 × that."""
    size = tiny_classifier.SIZE
    image = np.zeros((1, 1, size, size), np.float32)
    image[..., size // 2 :, :] = brightness
    return image


def asked(batch: NDArray[np.float32]) -> list[InferInput]:
    given = InferInput("image", list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    return [given]


def ready(server: TritonServer, path: str) -> int:
    return httpx.get(f"http://{server.http_url}/v2/{path}").status_code


@pytest.mark.parametrize("which", ["segmenter", "classifier"])
def test_a_served_network_answers_as_it_does_here(triton_server: RunningTriton, which: str) -> None:
    spec = only_spec(getattr(triton_server, which))
    assert check_parity(triton_server.server, spec, triton_server.repository) < 1e-5


def test_the_server_declares_what_the_bundle_does(triton_server: RunningTriton) -> None:
    wanted = only_spec(triton_server.classifier)
    found = served_spec(triton_server.server, wanted.name)
    assert (found.input, found.output) == (wanted.input, wanted.output)


def test_both_doors_answer(triton_server: RunningTriton) -> None:
    given = tritonclient.http.InferInput("image", [1, 1, 64, 64], "FP32")
    given.set_data_from_numpy(picture(0.3))
    with closing(tritonclient.http.InferenceServerClient(triton_server.server.http_url)) as client:
        by_http = client.infer(tiny_classifier.NAME, [given]).as_numpy("logits")
    with closing(InferenceServerClient(triton_server.server.grpc_url)) as client:
        by_grpc = client.infer(tiny_classifier.NAME, asked(picture(0.3))).as_numpy("logits")
    np.testing.assert_allclose(by_http, [[0, 3]], atol=1e-5)
    np.testing.assert_array_equal(by_http, by_grpc)


def test_an_answer_without_a_byte_is_told_from_an_answer(triton_server: RunningTriton) -> None:
    """The model is ready and warm; only what it says is nothing."""
    with added(triton_server, "speechless", SPEECHLESS.format(output="logits")) as spec:
        assert triton_server.server.is_ready("speechless")
        with pytest.raises(ModelContractError, match="not a single byte") as caught:
            check_parity(triton_server.server, spec, triton_server.repository)
    assert "numpy<2" in caught.value.hint


def weaker(onnx: Path) -> bytes:
    """The tiny classifier with a gain of 9 in the place of 10."""
    gain, smaller = (np.float32(each).tobytes() for each in (tiny_classifier.GAIN, 9))
    content = onnx.read_bytes()
    assert content.count(gain) == 1
    return content.replace(gain, smaller)


def test_another_answer_is_told_from_the_same(triton_server: RunningTriton) -> None:
    """The ONNX file is changed behind the back of the server."""
    with added(triton_server, "other") as spec:
        path = triton_server.repository / "other" / "1" / "model.onnx"
        path.write_bytes(weaker(path))
        with pytest.raises(ModelContractError, match=r"another .* differs by 0\.11"):
            check_parity(triton_server.server, spec, triton_server.repository)


def test_a_network_with_another_answer_is_not_served(alone: TritonServer) -> None:
    """The check before the first client unloads it, and leaves the others be."""
    alone.start()
    path = alone.repository / tiny_classifier.NAME / "1" / "model.onnx"
    path.write_bytes(weaker(path))
    found = {each.name: each for each in check_models(alone)}
    refused = found[tiny_classifier.NAME]
    assert (refused.state, refused.difference) == ("failed", None)
    assert "differs by 0.11" in refused.reason
    assert not alone.is_ready(tiny_classifier.NAME)
    assert found[tiny_model.NETWORK].state == "ready"
    assert alone.is_ready(tiny_model.NETWORK)


def test_a_form_of_fewer_bits_may_differ_by_more(triton_server: RunningTriton) -> None:
    """As the configuration says which file is served, so does the answer come from that file."""
    with added(triton_server, "form") as spec:
        folder = triton_server.repository / "form"
        (folder / "1" / ONNX_INT8_FILE).write_bytes(weaker(folder / "1" / "model.onnx"))
        text = cpu_config(spec, profile_of(spec, ()), {"1": "0" * 64}, file=ONNX_INT8_FILE)
        (folder / "configs" / "cpu.pbtxt").write_text(text, encoding="utf-8")
        triton_server.server.load("form")
        difference = check_parity(triton_server.server, spec, triton_server.repository)
    assert difference == pytest.approx(0.1, abs=1e-3)


def test_a_corrupt_network_does_not_keep_the_others_from_serving(alone: TritonServer) -> None:
    (alone.repository / tiny_model.NETWORK / "1" / "model.onnx").write_bytes(b"no network")
    alone.start()
    assert set(alone.seconds) == {tiny_classifier.NAME}
    assert set(alone.failed) == {tiny_model.NETWORK}
    assert "model.onnx" in alone.failed[tiny_model.NETWORK]
    assert ready(alone, f"models/{tiny_classifier.NAME}/ready") == 200
    assert ready(alone, f"models/{tiny_model.NETWORK}/ready") == 400
    # Which is why nobody here asks this.
    assert ready(alone, "health/ready") == 400
    states = {each.name: each.state for each in check_models(alone)}
    assert states == {tiny_classifier.NAME: "ready", tiny_model.NETWORK: "failed"}


def test_a_server_of_corrupt_networks_alone_is_an_error(alone: TritonServer) -> None:
    for model in alone.models:
        (alone.repository / model / "1" / "model.onnx").write_bytes(b"no network")
    with pytest.raises(InferenceError, match="none of 2 models") as caught:
        alone.start()
    assert all(model in caught.value.message for model in alone.models)
    with pytest.raises(InferenceError, match="does not run"):
        alone.check()


def test_a_clean_stop_leaves_no_process_and_no_shared_memory(alone: TritonServer) -> None:
    alone.start()
    leader, prefix, log = alone.pid, region_prefix(alone.pid), alone.log
    assert len(process_tree(leader)) == 1 + len(alone.models)
    assert len(regions(prefix)) == len(alone.models)
    alone.stop()
    assert process_tree(leader) == []
    assert regions(prefix) == set()
    assert "Found 0 live models" in log.read_text()
    alone.stop()


def test_a_crashed_server_is_noticed_and_cleaned_up_behind(alone: TritonServer) -> None:
    alone.start()
    leader, prefix = alone.pid, region_prefix(alone.pid)
    os.kill(leader, signal.SIGKILL)
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    with pytest.raises(InferenceUnavailableError, match=r"ended with -9: .*successfully loaded"):
        alone.check()
    alone.stop()
    assert process_tree(leader) == []
    assert regions(prefix) == set()


def test_a_dead_stub_leaves_nothing_behind_either(alone: TritonServer) -> None:
    """Its region of shared memory is known by its name; Triton itself leaves it."""
    alone.start()
    leader, prefix = alone.pid, region_prefix(alone.pid)
    for stub in set(process_tree(leader)) - {leader}:
        os.kill(stub, signal.SIGKILL)
    alone.stop()
    assert process_tree(leader) == []
    assert regions(prefix) == set()


def test_a_restarted_server_has_the_same_doors_and_models(alone: TritonServer) -> None:
    alone.start()
    doors, leader = (alone.grpc_url, alone.http_url, alone.metrics_url), alone.pid
    alone.restart()
    assert (alone.grpc_url, alone.http_url, alone.metrics_url) == doors
    assert alone.pid != leader
    assert all(alone.is_ready(model) for model in alone.models)


@pytest.mark.parametrize("door", ["grpc", "http", "metrics"])
def test_a_taken_port_is_named(
    triton_server: RunningTriton, alone: TritonServer, door: str
) -> None:
    port = triton_server.server.ports[door]
    alone.ports[door] = port
    with pytest.raises(ConfigError, match=f"the {door} port {port} of 127.0.0.1") as caught:
        alone.start()
    assert f"--{door}-port" in caught.value.hint


@pytest.mark.parametrize("door", ["grpc", "http", "metrics"])
def test_a_port_that_is_taken_at_the_last_moment_is_no_server_of_ours(
    triton_server: RunningTriton,
    alone: TritonServer,
    door: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one there is a Triton too, and ready; it must not be taken for the new one."""
    ports = server_module._free_ports("127.0.0.1", dict.fromkeys(("grpc", "http", "metrics"), 0))
    ports[door] = triton_server.server.ports[door]
    monkeypatch.setattr(server_module, "_free_ports", lambda host, wanted: ports)
    with pytest.raises(InferenceUnavailableError, match=r"ended with 1: .*already in use"):
        alone.start()
    assert triton_server.server.is_ready(tiny_classifier.NAME)


def test_waiting_requests_go_through_the_network_together(triton_server: RunningTriton) -> None:
    """The first is held until the others wait; their answers are still each its own."""
    version = triton_server.repository / "gated" / "1"
    with (
        added(triton_server, "gated", NETWORK_FILE.read_text(encoding="utf-8") + GATE),
        closing(InferenceServerClient(triton_server.server.grpc_url)) as client,
    ):
        answers: queue.Queue[tuple[int, Any, Any]] = queue.Queue()

        def ask(index: int) -> None:
            def take(result: Any, error: Any) -> None:
                answers.put((index, result, error))

            client.async_infer("gated", asked(picture(index / 10)), take)

        ask(0)
        eventually((version / "begun").exists)
        for index in range(1, 9):
            ask(index)
        eventually(lambda: pending(triton_server.server, "gated") == 8)
        (version / "go").touch()
        for index, result, error in (answers.get(timeout=15) for _ in range(9)):
            assert error is None
            np.testing.assert_allclose(result.as_numpy("logits"), [[0, index]], atol=1e-4)
        [found] = client.get_inference_statistics("gated").model_stats
    assert (found.inference_count, found.execution_count) == (9, 2)


def test_a_cancelled_request_is_not_computed(triton_server: RunningTriton) -> None:
    """It waits behind one that is held, and is cancelled there.

    The server's own statistics count the refusal as an answer.
    """
    version = triton_server.repository / "held" / "1"
    with (
        added(triton_server, "held", NETWORK_FILE.read_text(encoding="utf-8") + GATE + COUNTED),
        closing(InferenceServerClient(triton_server.server.grpc_url)) as client,
    ):
        errors: queue.Queue[Any] = queue.Queue()
        client.async_infer("held", asked(picture()), lambda result, error: errors.put(error))
        eventually((version / "begun").exists)
        waiting = client.async_infer("held", asked(picture()), lambda result, error: None)
        eventually(lambda: pending(triton_server.server, "held") == 1)
        waiting.cancel()
        (version / "go").touch()
        assert errors.get(timeout=15) is None
        eventually(lambda: pending(triton_server.server, "held") == 0)
        assert (version / "forwards").read_text(encoding="utf-8") == "1 "


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_fifty_loads_and_unloads_leave_memory_as_it_was(triton_server: RunningTriton) -> None:
    """Of the server and its stubs; several models at once, as a load is a second of start-up."""
    names = [f"churn_{index}" for index in range(CHURNED)]
    like = only_spec(triton_server.classifier)
    onnx = triton_server.repository / like.name / "1" / "model.onnx"
    for name in names:
        spec = NetworkSpec(name, like.config_id, like.input, like.output)
        write_served(triton_server.repository, spec, onnx)
    server, before = triton_server.server, process_tree(triton_server.server.pid)
    prefix = region_prefix(server.pid)
    there, sizes = regions(prefix), []
    with ThreadPoolExecutor(CHURNED) as pool:
        for _ in range(ROUNDS):
            list(pool.map(server.load, names))
            assert len(process_tree(server.pid)) == len(before) + CHURNED
            list(pool.map(server.unload, names))
            sizes.append(resident_bytes(server.pid))
    assert process_tree(server.pid) == before
    assert regions(prefix) == there
    # The first round brings in what stays.
    assert sizes[-1] - sizes[0] < GROWTH_BYTES, [size >> 10 for size in sizes]
    for name in names:
        shutil.rmtree(triton_server.repository / name)
