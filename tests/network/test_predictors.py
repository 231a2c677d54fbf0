"""Every kind of predictor keeps to the same; and what the served one does when a server fails."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import tiny_classifier
from command_line import in_shell
from gateway import eventually
from network.neighbours import grpc_doorkeeper
from triton_server import (
    ENVIRONMENT,
    RunningTriton,
    only_spec,
    pending,
    running_triton,
    write_served,
)
from wetread.config import TritonModel
from wetread.errors import (
    ConfigError,
    InferenceError,
    InferenceUnavailableError,
    JobCancelledError,
    ModelContractError,
)
from wetread.infer import triton_endpoint
from wetread.infer.base import FakePredictor, Predictor
from wetread.infer.description import NetworkSpec, TensorSpec
from wetread.infer.embedded import EmbeddedPredictor
from wetread.infer.shared_regions import NAME_PREFIX
from wetread.infer.triton import TritonPredictor, TritonServers
from wetread.triton.parity import check_parity
from wetread.triton.served import NETWORK_FILE
from wetread.triton.server import TritonServer, served_models

HU = np.linspace(-1000, 1000, 4 * 5 * 6, dtype=np.float32).reshape(1, 1, 4, 5, 6)
KINDS = ("embedded", "fake", "triton, gRPC", "triton, shared memory")
# Put behind the served file: what a call of the network does before it answers, in its own process.
PROLOGUE = """

import time

_execute = TritonPythonModel.execute
_folder = Path(__file__).parent


def _before(self, requests):
    for request in requests:
        value = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().flat[0]
{steps}
    return _execute(self, requests)


TritonPythonModel.execute = _before
"""
# A value that makes the network's process end, as a crash would.
DEADLY, SLOW = 7.0, 9.0
DIES = "        if value == 7.0:\n            import os\n            os._exit(1)"
SLEEPS = """
        while value == 9.0 and not (_folder / "go").exists():
            (_folder / "begun").touch()
            if request.is_cancelled():
                (_folder / "cancelled").touch()
                break
            time.sleep(0.02)"""
FAILS = """
        if value == 7.0:
            with (_folder / "calls").open("a") as calls:
                calls.write("x")
            raise RuntimeError("out of luck")"""
# The same, but it does not hear that nobody waits.
DEAF = """
        while value == 9.0 and not (_folder / "go").exists():
            (_folder / "begun").touch()
            time.sleep(0.02)"""


def settings(url: str | tuple[str, ...], **changes: Any) -> TritonModel:
    return TritonModel(backend="triton", bundle=Path(), triton_url=url, **changes)


@contextmanager
def opened(
    spec: NetworkSpec, *urls: str, patience_seconds: float = 20.0, **changes: Any
) -> Iterator[TritonPredictor]:
    servers = TritonServers(settings(urls, **changes), patience_seconds=patience_seconds)
    with closing(servers):
        yield TritonPredictor(spec, servers)


def regions() -> set[str]:
    """Of this process, in shared memory."""
    found = Path("/dev/shm").glob(f"{NAME_PREFIX}{os.getpid()}-*")  # noqa: S108
    return {each.name for each in found}


def url_of(server: TritonServer) -> str:
    return f"grpc://{server.grpc_url}"


def pictures(count: int, first: float = 0.0) -> NDArray[np.float32]:
    """`count` pictures; the lower half of number n is brighter by n / 10."""
    size = tiny_classifier.SIZE
    images = np.zeros((count, 1, size, size), np.float32)
    images[:, :, size // 2 :] = np.arange(count, dtype=np.float32)[:, None, None, None] / 10
    images[:, 0, 0, 0] = first
    return images


@contextmanager
def added(running: RunningTriton, name: str, steps: str) -> Iterator[tuple[NetworkSpec, Path]]:
    """The tiny classifier under another name that first takes some steps; its version's folder."""
    like = only_spec(running.classifier)
    spec = NetworkSpec(name, like.config_id, like.input, like.output)
    folder = write_served(
        running.repository, spec, running.repository / like.name / "1" / "model.onnx"
    )
    text = NETWORK_FILE.read_text(encoding="utf-8") + PROLOGUE.format(steps=steps)
    (folder / "model.py").write_text(text, encoding="utf-8")
    running.server.load(name)
    yield spec, folder
    running.remove(name)


def onnx_with_gain(source: Path, target: Path, gain: float) -> Path:
    """The tiny classifier with another factor, which is its only weight."""
    model = onnx.load(source)
    [factor] = [each for each in model.graph.initializer if each.name == "gain"]
    factor.CopyFrom(onnx.numpy_helper.from_array(np.array([gain], np.float32), "gain"))
    onnx.save(model, target)
    return target


def write_corrupt_plan(folder: Path, like: NetworkSpec) -> None:
    """A network whose only form is a TensorRT plan, which is none."""
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.plan").write_bytes(b"no plan")
    (folder / "configs").mkdir()
    ports = [
        f'{kind} [ {{ name: "{port.name}" data_type: TYPE_FP32 dims: {list(port.shape[1:])} }} ]'
        for kind, port in (("input", like.input), ("output", like.output))
    ]
    text = [f'name: "{folder.name}"', 'platform: "tensorrt_plan"', "max_batch_size: 8", *ports]
    (folder / "configs" / "cpu.pbtxt").write_text("\n".join(text), encoding="utf-8")


def batches(client: Any, network: str) -> Counter[int]:
    """How often so many images went through a network at once."""
    [found] = client.get_inference_statistics(network).model_stats
    return Counter({each.batch_size: each.compute_infer.count for each in found.batch_stats})


def in_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(work())
        except InferenceError as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


class TestEveryPredictor:
    """What each kind of predictor keeps to."""

    @pytest.fixture(params=KINDS)
    def predictor(
        self, request: pytest.FixtureRequest, triton_server: RunningTriton
    ) -> Iterator[Predictor]:
        spec = only_spec(triton_server.segmenter)
        if request.param == "fake":
            yield FakePredictor()
        elif request.param == "embedded":
            with closing(EmbeddedPredictor(spec.name, triton_server.repository)) as embedded:
                yield embedded
        else:
            shared = request.param == "triton, shared memory"
            url = url_of(triton_server.server)
            with opened(spec, url, shared_memory=shared) as served:
                assert served.shares_memory == shared
                yield served

    def test_answers_in_float32_on_the_grid_of_the_batch(self, predictor: Predictor) -> None:
        answer = predictor.predict(HU)
        assert (answer.shape, answer.dtype) == ((1, 2, 4, 5, 6), np.float32)
        assert np.array_equal(answer.sum(axis=1), np.ones((1, 4, 5, 6)))

    def test_answers_as_the_network_does(self, predictor: Predictor) -> None:
        """Voxels from 100 to 140 HU are the ellipsoid; the fake has bounds of its own."""
        wanted = (HU[:, 0] >= 100) & (HU[:, 0] <= 140)
        if isinstance(predictor, FakePredictor):
            wanted = HU[:, 0] > 0
        assert np.array_equal(predictor.predict(HU)[:, 1] > 0.5, wanted)

    def test_leaves_the_batch_as_it_is(self, predictor: Predictor) -> None:
        batch = HU.copy()
        predictor.predict(batch)
        assert np.array_equal(batch, HU)

    def test_gives_an_answer_that_outlives_the_next(self, predictor: Predictor) -> None:
        answer = predictor.predict(HU)
        kept = answer.copy()
        predictor.predict(HU[..., ::-1].copy())
        assert np.array_equal(answer, kept)
        answer[:] = 5

    def test_takes_any_shape_that_the_network_takes(self, predictor: Predictor) -> None:
        for shape in ((3, 4, 5), (30, 20, 10), (1, 1, 1)):
            batch = np.full((1, 1, *shape), 120, np.float32)
            assert predictor.predict(batch).shape == (1, 2, *shape)

    def test_gives_each_thread_its_own_answer(self, predictor: Predictor) -> None:
        batches = [HU, HU[..., ::-1].copy()] * 4
        alone = [predictor.predict(batch) for batch in batches]
        found: dict[int, NDArray[np.float32]] = {}

        def run(number: int) -> None:
            found[number] = predictor.predict(batches[number])

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(batches))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.array_equal(found[number], alone[number]) for number in found)

    def test_ends_when_somebody_cancels(self, predictor: Predictor) -> None:
        def alive() -> None:
            raise JobCancelledError("asked for")

        if isinstance(predictor, EmbeddedPredictor):
            # It is asked only while it computes, which takes no time here.
            pytest.skip("its forward is over before anybody asks")
        with pytest.raises(JobCancelledError, match="asked for"):
            predictor.predict(HU, alive)

    @pytest.mark.parametrize(
        "batch", [HU[0], HU.astype(np.float64), np.zeros((1, 2, 4, 5, 6), np.float32)]
    )
    def test_refuses_a_batch_of_another_kind(
        self, predictor: Predictor, batch: NDArray[Any]
    ) -> None:
        if isinstance(predictor, FakePredictor):
            pytest.skip("it takes whatever comes")
        with pytest.raises(ModelContractError, match="takes float32 of shape"):
            predictor.predict(batch)

    def test_says_which_weights_it_has(
        self, predictor: Predictor, triton_server: RunningTriton
    ) -> None:
        spec = only_spec(triton_server.segmenter)
        embedded = EmbeddedPredictor(spec.name, triton_server.repository)
        fake = isinstance(predictor, FakePredictor)
        assert (predictor.weights_sha256 == embedded.weights_sha256) != fake

    def test_may_be_closed_twice(self, predictor: Predictor) -> None:
        predictor.close()
        predictor.close()


@pytest.mark.parametrize("shared", [True, False])
def test_a_large_batch_comes_back_in_its_order(triton_server: RunningTriton, shared: bool) -> None:
    """37 pictures are five requests of at most eight, of which four are under way at once."""
    spec = only_spec(triton_server.classifier)
    batch = pictures(37)
    with opened(spec, url_of(triton_server.server), shared_memory=shared) as predictor:
        assert predictor.batch_hint == 32
        answer = predictor.predict(batch)
    assert answer[:, 1] == pytest.approx(np.arange(37.0), abs=1e-3)


def test_shared_memory_is_given_back(triton_server: RunningTriton) -> None:
    spec = only_spec(triton_server.classifier)
    with opened(spec, url_of(triton_server.server)) as predictor:
        predictor.predict(pictures(20))
        assert regions()
    assert regions() == set()
    with triton_server.server._client() as client:
        known = client.get_system_shared_memory_status(as_json=True)
    assert known == {}


def test_shared_memory_of_a_cancelled_request_is_given_back(triton_server: RunningTriton) -> None:
    """The server does not let go of it while its network still computes."""
    with (
        added(triton_server, "holding", DEAF) as (spec, folder),
        opened(spec, url_of(triton_server.server)) as predictor,
    ):

        def alive() -> None:
            if (folder / "begun").exists():
                raise JobCancelledError("asked for")

        with pytest.raises(JobCancelledError):
            predictor.predict(pictures(1, SLOW), alive)
        (folder / "go").touch()
    assert regions() == set()
    with triton_server.server._client() as client:
        assert client.get_system_shared_memory_status(as_json=True) == {}


def test_a_server_that_cannot_open_the_memory_is_asked_over_grpc(
    triton_server: RunningTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in a container is, whose /dev/shm is its own."""
    from wetread.infer import shared_regions

    class Hidden(shared_regions.Region):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            self.key = "/not-the-name-of-it"

    monkeypatch.setattr(shared_regions, "Region", Hidden)
    with opened(only_spec(triton_server.classifier), url_of(triton_server.server)) as predictor:
        assert predictor.predict(pictures(3))[:, 1] == pytest.approx([0, 1, 2], abs=1e-3)
        assert not predictor.shares_memory
    assert regions() == set()


def test_a_network_that_is_not_loaded_is_named_with_its_server(
    triton_server: RunningTriton,
) -> None:
    like = only_spec(triton_server.classifier)
    absent = NetworkSpec("absent", like.config_id, like.input, like.output)
    with (
        pytest.raises(InferenceUnavailableError, match="network absent on grpc") as raised,
        opened(absent, url_of(triton_server.server), patience_seconds=0.1),
    ):
        pass
    assert "it does not serve this network" in raised.value.message
    assert "load it there" in raised.value.hint


def test_a_server_with_another_network_breaks_the_contract(triton_server: RunningTriton) -> None:
    """It takes the batch, and its answer has other lengths than the bundle declares."""
    like = only_spec(triton_server.classifier)
    output = TensorSpec(like.output.name, (-1, 5), "float32")
    spec = NetworkSpec(like.name, like.config_id, like.input, output)
    for shared in (False, True):
        with (
            pytest.raises(ModelContractError, match=r"it gave shape \[1, 2\], expected .*\[1, 5\]"),
            opened(spec, url_of(triton_server.server), shared_memory=shared),
        ):
            pass


def test_an_answer_that_is_late_is_not_waited_for(triton_server: RunningTriton) -> None:
    with (
        added(triton_server, "late", SLEEPS) as (spec, folder),
        opened(spec, url_of(triton_server.server), timeout_seconds=1.0) as predictor,
    ):
        started = time.monotonic()
        with pytest.raises(InferenceUnavailableError, match="no answer in time"):
            predictor.predict(pictures(1, SLOW))
        assert time.monotonic() - started < 5
        # The server stops as well: nobody waits.
        eventually(lambda: (folder / "cancelled").exists())
        assert predictor.predict(pictures(2))[:, 1] == pytest.approx([0, 1], abs=1e-3)


def test_a_cancelled_job_ends_the_request_on_the_server(triton_server: RunningTriton) -> None:
    with (
        added(triton_server, "stopped", SLEEPS) as (spec, folder),
        opened(spec, url_of(triton_server.server)) as predictor,
    ):

        def alive() -> None:
            if (folder / "begun").exists():
                raise JobCancelledError("asked for")

        with pytest.raises(JobCancelledError, match="asked for"):
            predictor.predict(pictures(1, SLOW), alive)
        eventually(lambda: (folder / "cancelled").exists())
        assert predictor.predict(pictures(2))[:, 1] == pytest.approx([0, 1], abs=1e-3)


def test_a_network_whose_process_died_is_healed(triton_server: RunningTriton) -> None:
    """Triton calls it ready all the while."""
    with (
        added(triton_server, "mortal", DIES) as (spec, _),
        opened(spec, url_of(triton_server.server), patience_seconds=0.5) as predictor,
    ):
        with pytest.raises(InferenceUnavailableError, match="has died"):
            predictor.predict(pictures(1, DEADLY))
        assert triton_server.server.is_ready("mortal")
    with (
        added(triton_server, "mortal_too", DIES) as (spec, _),
        opened(spec, url_of(triton_server.server)) as predictor,
        opened(spec, url_of(triton_server.server), patience_seconds=0.5) as deadly,
    ):
        deadly._servers._endpoints[0]._healed_at[spec.name] = time.monotonic()
        with pytest.raises(InferenceUnavailableError, match="has died"):
            deadly.predict(pictures(1, DEADLY))
        assert predictor.predict(pictures(2))[:, 1] == pytest.approx([0, 1], abs=1e-3)


def test_opening_a_network_finds_out_that_it_is_dead(triton_server: RunningTriton) -> None:
    """By a question of its own, and heals it; that the server calls it ready says nothing."""
    with added(triton_server, "dead", DIES) as (spec, _):
        url = url_of(triton_server.server)
        with opened(spec, url, patience_seconds=0.5) as deadly:
            deadly._servers._endpoints[0]._healed_at[spec.name] = time.monotonic()
            with pytest.raises(InferenceUnavailableError, match="has died"):
                deadly.predict(pictures(1, DEADLY))
        assert triton_server.server.is_ready("dead")
        with pytest.raises(InferenceError, match="no answer of dead"):
            check_parity(triton_server.server, spec, triton_server.repository)
        with opened(spec, url):
            check_parity(triton_server.server, spec, triton_server.repository)


def test_a_failure_that_another_try_would_repeat_is_not_asked_for_again(
    triton_server: RunningTriton,
) -> None:
    """The network takes the request and fails on it, each time."""
    with (
        added(triton_server, "failing", FAILS) as (spec, folder),
        opened(spec, url_of(triton_server.server)) as predictor,
    ):
        with pytest.raises(InferenceUnavailableError, match=r"it failed: .*out of luck"):
            predictor.predict(pictures(1, DEADLY))
        assert (folder / "calls").read_text() == "x"


@pytest.mark.parametrize("allowed", [1, 2])
def test_no_more_requests_are_under_way_than_allowed(
    triton_server: RunningTriton, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """The first is held on the server; of five in all the others wait in this process."""
    with (
        added(triton_server, "patient", SLEEPS) as (spec, folder),
        opened(spec, url_of(triton_server.server), max_in_flight=allowed) as predictor,
    ):
        [endpoint] = predictor._servers._endpoints
        send, under_way = endpoint._send, []

        def counted(*given: Any) -> Any:
            under_way.append(endpoint.in_flight)
            return send(*given)

        monkeypatch.setattr(endpoint, "_send", counted)
        thread, came = in_background(lambda: predictor.predict(pictures(40, SLOW)))
        eventually(lambda: (folder / "begun").exists() and len(under_way) == allowed)
        (folder / "go").touch()
        thread.join()
        assert came[0].shape == (40, 2)
        assert len(under_way) == 5
        assert max(under_way) == allowed


def test_windows_of_one_volume_meet_on_the_server(triton_server: RunningTriton) -> None:
    """The first request is held until the three others wait: they go through together."""
    with (
        added(triton_server, "together", SLEEPS) as (spec, folder),
        opened(spec, url_of(triton_server.server)) as predictor,
        triton_server.server._client() as client,
    ):
        predictor._largest = 2
        thread, came = in_background(lambda: predictor.predict(pictures(8, SLOW)))
        eventually(lambda: (folder / "begun").exists())
        eventually(lambda: pending(triton_server.server, spec.name) == 3)
        before = batches(client, spec.name)
        (folder / "go").touch()
        thread.join()
        assert came[0][:, 1] - came[0][0, 1] == pytest.approx(np.arange(8.0), abs=1e-3)
        assert batches(client, spec.name) - before == Counter([2, 6])


@pytest.mark.timeout(60)
def test_a_restart_in_the_middle_of_a_forward_costs_only_time(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    with running_triton(tmp_path) as own, added(own, "sleeper", SLEEPS) as (spec, folder):
        own.server.models = (*own.server.models, "sleeper")
        with opened(spec, url_of(own.server), patience_seconds=40.0) as predictor:
            thread, came = in_background(lambda: predictor.predict(pictures(1, SLOW)))
            eventually(lambda: (folder / "begun").exists())
            own.server.kill()
            (folder / "go").touch()
            own.server.start()
            thread.join()
        assert came[0].shape == (1, 2)
        assert np.isfinite(came[0]).all()


@pytest.mark.timeout(60)
def test_another_server_stands_in_for_one_that_is_gone(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    spec = only_spec(triton_server.classifier)
    with (
        running_triton(tmp_path) as own,
        opened(spec, url_of(own.server), url_of(triton_server.server)) as predictor,
    ):
        assert len(predictor.predict(pictures(20))) == 20
        own.server.kill()
        assert predictor.predict(pictures(20))[:, 1] == pytest.approx(np.arange(20.0), abs=1e-3)


@pytest.mark.timeout(60)
def test_a_server_with_other_weights_does_not_stand_in(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    """It has the same network in the same version: a result would name the wrong weights."""
    spec = only_spec(triton_server.classifier)
    first = triton_server.repository / spec.name / "1" / "model.onnx"
    with running_triton(tmp_path / "own") as own:
        other = onnx_with_gain(first, tmp_path / "other.onnx", 20.0)
        own.server.unload(spec.name)
        write_served(own.repository, spec, other)
        own.server.load(spec.name)
        with opened(
            spec, url_of(triton_server.server), url_of(own.server), patience_seconds=0.5
        ) as predictor:
            [right, _] = predictor._servers._endpoints
            # The other one is asked first now.
            right.resting_until = time.monotonic() + 60
            assert predictor.predict(pictures(2))[:, 1] == pytest.approx([0, 1], abs=1e-3)


def test_no_server_at_all_is_said_after_some_patience(triton_server: RunningTriton) -> None:
    started = time.monotonic()
    with (
        pytest.raises(InferenceUnavailableError, match="it cannot be reached"),
        opened(only_spec(triton_server.classifier), "grpc://127.0.0.1:1"),
    ):
        pass
    assert time.monotonic() - started < 15


def test_a_full_queue_is_waited_for(triton_server: RunningTriton) -> None:
    """The network is busy and its queue takes two: the rest comes again until there is room."""
    with added(triton_server, "narrow", SLEEPS) as (spec, folder):
        config = triton_server.repository / "narrow" / "configs" / "cpu.pbtxt"
        text = config.read_text(encoding="utf-8")
        assert "dynamic_batching {}" in text
        policy = "dynamic_batching { default_queue_policy { max_queue_size: 2 } }"
        config.write_text(text.replace("dynamic_batching {}", policy))
        triton_server.server.unload("narrow")
        triton_server.server.load("narrow")
        with opened(spec, url_of(triton_server.server), max_in_flight=8) as predictor:
            thread, came = in_background(lambda: predictor.predict(pictures(60, SLOW)))
            eventually(lambda: (folder / "begun").exists())
            eventually(lambda: predictor._servers._endpoints[0].resting_until > 0)
            (folder / "go").touch()
            thread.join()
        assert came[0].shape == (60, 2)


def test_a_new_version_is_loaded_while_the_one_before_answers(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    like = only_spec(triton_server.classifier)
    first = triton_server.repository / like.name / "1" / "model.onnx"
    spec = triton_server.add_as("renewed", first, like)
    url = url_of(triton_server.server)
    with opened(spec, url) as before:
        other = onnx_with_gain(first, tmp_path / "other.onnx", 20.0)
        write_served(triton_server.repository, spec, other, "2")
        with closing(TritonServers(settings(url))) as servers:
            assert servers.load("renewed") == {url: ["1", "2"]}
        with opened(spec, url) as after:
            assert (before.version, after.version) == ("1", "2")
            assert before.weights_sha256 != after.weights_sha256
            assert before.predict(pictures(2))[:, 1] == pytest.approx([0, 1], abs=1e-3)
            assert after.predict(pictures(2))[:, 1] == pytest.approx([0, 2], abs=1e-3)
    triton_server.remove("renewed")


def test_the_servers_of_the_settings_are_told_to_load(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    tiny, url = triton_server.segmenter, url_of(triton_server.server)
    (tmp_path / "wetread.toml").write_text(
        f"""
[models.tiny]
bundle = "{tiny.bundle}"
backend = "triton"
triton_url = "{url}"
[models.here]
bundle = "{tiny.bundle}"
""",
        encoding="utf-8",
    )
    done = in_shell("triton", "load", folder=tmp_path)
    assert done.exit_code == 0, done.err
    [row] = [line for line in done.out.splitlines() if "tiny_ellipsoid" in line]
    assert [each.strip() for each in row.strip("│ ").split("│")] == [
        "tiny",
        "tiny_ellipsoid",
        url,
        "1",
    ]
    refused = in_shell("triton", "load", "here", folder=tmp_path)
    assert refused.is_error(2, "no model 'here' on Triton; known: tiny")


def test_a_token_does_not_go_over_the_wire_in_the_clear(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    with pytest.raises(ConfigError, match="in the clear") as raised:
        TritonServers(settings("grpc://127.0.0.1:1", token_file=token))
    assert "secret" not in raised.value.message
    TritonServers(settings("grpcs://127.0.0.1:1", token_file=token)).close()


def test_a_server_behind_tls_wants_the_token_and_is_known_by_its_certificate(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    spec, token = only_spec(triton_server.classifier), tmp_path / "token"
    with grpc_doorkeeper(tmp_path, triton_server.server.grpc_url, "open sesame") as (url, ca_file):
        token.write_text("open sesame\n", encoding="utf-8")
        with opened(spec, url, token_file=token, ca_file=ca_file) as predictor:
            assert predictor.predict(pictures(9))[:, 1] == pytest.approx(np.arange(9.0), abs=1e-3)
        token.write_text("open wheat", encoding="utf-8")
        with (
            pytest.raises(InferenceError, match="does not let this gateway in") as raised,
            opened(spec, url, token_file=token, ca_file=ca_file),
        ):
            pass
        assert not isinstance(raised.value, InferenceUnavailableError)
        assert "token_file" in raised.value.hint
        with (
            pytest.raises(InferenceUnavailableError, match="it cannot be reached"),
            opened(spec, url, token_file=token),
        ):
            pass


def test_a_request_that_grpc_cannot_carry_is_refused_with_its_size(
    triton_server: RunningTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true limit is 2 GiB; a smaller one tells the same."""
    url = url_of(triton_server.server)
    with opened(only_spec(triton_server.segmenter), url, shared_memory=False) as predictor:
        monkeypatch.setattr(triton_endpoint, "MAXIMUM_MESSAGE_BYTES", 700)
        assert predictor.predict(HU[..., :3]).shape == (1, 2, 4, 5, 3)
        with pytest.raises(ModelContractError, match="960 bytes, gRPC carries 700") as raised:
            predictor.predict(HU)
    assert "smaller windows" in raised.value.hint


def test_a_token_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none"):
        TritonServers(settings("grpcs://127.0.0.1:1", token_file=tmp_path / "none.txt"))


def test_a_corrupt_network_or_plan_does_not_keep_the_others_from_being_asked(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    repository = tmp_path / "triton_models"
    good = only_spec(triton_server.classifier)
    write_served(repository, good, triton_server.repository / good.name / "1" / "model.onnx")
    bad = NetworkSpec("corrupt", good.config_id, good.input, good.output)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    write_served(repository, bad, broken)
    write_corrupt_plan(repository / "planned", like=good)
    names, log = served_models(repository), tmp_path / "triton.log"
    with TritonServer(repository, names, ENVIRONMENT, log=log) as server:
        assert sorted(server.failed) == ["corrupt", "planned"]
        assert "tensorrt" in server.failed["planned"]
        with opened(good, url_of(server)) as predictor:
            assert predictor.predict(pictures(2))[:, 1] == pytest.approx([0, 1], abs=1e-3)
        with (
            pytest.raises(InferenceUnavailableError, match="network corrupt"),
            opened(bad, url_of(server), patience_seconds=0.1),
        ):
            pass
