"""Each configured model is opened once, when it is first asked for."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from conftest import Clock
from phantom import PhantomSeries, received, write_series
from tiny_model import NETWORK, TinyModel, _network, write_tiny_model
from wetread import metrics
from wetread.config import EmbeddedModel, TritonModel
from wetread.dicom.volume import load_volume
from wetread.errors import ConfigError, InferenceError, InferenceUnavailableError
from wetread.infer import shelf as shelves
from wetread.infer.base import FakePredictor, no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.served import JOURNAL
from wetread.infer.shelf import RETRY_SECONDS, ModelShelf


@pytest.fixture
def shelf(tiny_ct: TinyModel) -> Iterator[ModelShelf]:
    """Two names for one bundle."""
    config = EmbeddedModel(bundle=tiny_ct.bundle, threads=1)
    opened = ModelShelf({"day": config, "night": config}, tiny_ct.repository)
    yield opened
    opened.close()


@pytest.fixture
def head(tmp_path: Path) -> PhantomSeries:
    return write_series(tmp_path / "head", shape=(8, 24, 20))


def test_a_model_is_opened_once(shelf: ModelShelf) -> None:
    assert shelf.get("day") is shelf.get("day")


def test_each_name_has_a_model_of_its_own(shelf: ModelShelf) -> None:
    assert shelf.get("day") is not shelf.get("night")
    assert (shelf.get("day").name, shelf.get("night").name) == ("day", "night")


def test_threads_that_come_at_once_get_the_same_model(shelf: ModelShelf) -> None:
    start = threading.Barrier(6)
    found: list[BundleModel] = []

    def get() -> None:
        start.wait()
        found.append(shelf.get("day"))

    threads = [threading.Thread(target=get) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len({id(model) for model in found})) == (6, 1)


def test_a_name_that_is_not_configured_is_refused_with_the_known(shelf: ModelShelf) -> None:
    with pytest.raises(ConfigError, match=r"^no model 'noon'; known: day, night$") as caught:
        shelf.get("noon")
    assert caught.value.hint == "see [models]"


def test_an_empty_shelf_knows_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no model 'day'; known: none$"):
        ModelShelf({}, tmp_path).get("day")


def test_nothing_is_opened_before_it_is_asked_for(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """A model that is not there does no harm to the one that is."""
    models = {"gone": EmbeddedModel(bundle=tmp_path), "day": EmbeddedModel(bundle=tiny_ct.bundle)}
    shelf = ModelShelf(models, tiny_ct.repository)
    assert shelf.get("day").name == "day"
    with pytest.raises(ConfigError, match="No such file"):
        shelf.get("gone")
    shelf.close()


def test_a_network_that_is_built_later_is_found_then(tmp_path: Path, tiny_ct: TinyModel) -> None:
    shelf = ModelShelf({"day": EmbeddedModel(bundle=tiny_ct.bundle)}, tmp_path)
    with pytest.raises(InferenceError, match=f"network {NETWORK}: no "):
        shelf.get("day")
    shutil.copytree(tiny_ct.repository / NETWORK, tmp_path / NETWORK)
    assert shelf.get("day").name == "day"
    shelf.close()


def test_closing_releases_the_networks(shelf: ModelShelf, head: PhantomSeries) -> None:
    volume = load_volume(received(head)).volume
    model = shelf.get("day")
    assert np.array_equal(model.read(volume, no_progress).labelmap, head.mask())
    shelf.close()
    with pytest.raises(InferenceError, match=f"network {NETWORK} is closed"):
        model.read(volume, no_progress)


def test_a_closed_shelf_opens_again_when_asked(shelf: ModelShelf, head: PhantomSeries) -> None:
    before = shelf.get("day")
    shelf.close()
    shelf.close()
    after = shelf.get("day")
    assert after is not before
    found = after.read(load_volume(received(head)).volume, no_progress)
    assert np.array_equal(found.labelmap, head.mask())


@pytest.fixture
def own(tmp_path: Path) -> TinyModel:
    """A bundle that a test may change."""
    return write_tiny_model(tmp_path)


@pytest.fixture
def open_shelf(own: TinyModel, clock: Clock) -> Iterator[ModelShelf]:
    models = {"day": EmbeddedModel(bundle=own.bundle, threads=1)}
    opened = ModelShelf(models, own.repository, patience_seconds=0.2, clock=clock)
    yield opened
    opened.close()


def release(tiny: TinyModel, version: str, number: str, upper: float = 300.0) -> None:
    """Another version of the bundle, whose network finds more."""
    folder = tiny.repository / NETWORK / number
    folder.mkdir()
    onnx.save(_network(100.0, upper), folder / "model.onnx")
    name_it(tiny, version)


def name_it(tiny: TinyModel, version: str) -> None:
    path = tiny.bundle / "configs/metadata.json"
    path.write_text(json.dumps({"version": version}), encoding="utf-8")


def switch_failures() -> float:
    return metrics.FAILURES.labels("switch", "inference")._value.get()


def test_a_new_version_is_opened_with_the_next_study(
    open_shelf: ModelShelf, own: TinyModel, head: PhantomSeries
) -> None:
    volume = load_volume(received(head)).volume
    with open_shelf.lend("day") as former:
        before = former.read(volume, no_progress)
    release(own, "0.0.2", "2")
    with open_shelf.lend("day") as model:
        after = model.read(volume, no_progress)
    assert (before.model.version, after.model.version) == ("0.0.1", "0.0.2")
    assert before.model.weights_sha256 != after.model.weights_sha256
    assert after.labelmap.sum() > before.labelmap.sum() == head.mask().sum()
    with pytest.raises(InferenceError, match="is closed"):
        former.read(volume, no_progress)


def test_a_reading_under_way_ends_on_the_version_it_began_with(
    open_shelf: ModelShelf, own: TinyModel, head: PhantomSeries
) -> None:
    volume = load_volume(received(head)).volume
    with open_shelf.lend("day") as former:
        release(own, "0.0.2", "2")
        with open_shelf.lend("day") as newer:
            assert newer.identity.version == "0.0.2"
            found = former.read(volume, no_progress)
    assert (found.model.version, found.labelmap.sum()) == ("0.0.1", head.mask().sum())
    with pytest.raises(InferenceError, match="is closed"):
        former.read(volume, no_progress)
    assert newer.read(volume, no_progress).model.version == "0.0.2"


def test_an_idle_shelf_switches_when_it_looks(open_shelf: ModelShelf, own: TinyModel) -> None:
    former = open_shelf.get("day")
    open_shelf.refresh()
    assert open_shelf.get("day") is former
    release(own, "0.0.2", "2")
    open_shelf.refresh()
    name_it(own, "0.0.3")
    open_shelf.refresh()
    assert open_shelf.get("day").identity.version == "0.0.3"


def test_a_version_that_cannot_be_opened_leaves_the_former_and_is_said(
    open_shelf: ModelShelf,
    own: TinyModel,
    clock: Clock,
    head: PhantomSeries,
    capsys: pytest.CaptureFixture[str],
) -> None:
    volume = load_volume(received(head)).volume
    open_shelf.get("day")
    failures = switch_failures()
    release(own, "0.0.2", "2")
    good = (own.repository / NETWORK / "2/model.onnx").read_bytes()
    (own.repository / NETWORK / "2/model.onnx").write_bytes(b"no network")
    for _ in range(3):
        with open_shelf.lend("day") as model:
            assert model.read(volume, no_progress).model.version == "0.0.1"
    said = capsys.readouterr().out
    assert said.count("cannot be opened, the former goes on") == 1
    assert "OpenVINO cannot load" in said
    assert switch_failures() == failures + 1
    clock.advance(RETRY_SECONDS + 1)
    open_shelf.refresh()
    assert switch_failures() == failures + 2
    (own.repository / NETWORK / "2/model.onnx").write_bytes(good)
    with open_shelf.lend("day") as model:
        assert model.read(volume, no_progress).model.version == "0.0.2"


def test_while_one_thread_opens_the_new_version_others_read_with_the_former(
    open_shelf: ModelShelf, own: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on = threading.Event(), threading.Event()
    former = open_shelf.get("day")

    def slowly(*arguments: object) -> BundleModel:
        opening.set()
        go_on.wait(10)
        return open_model(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shelves, "open_model", slowly)
    release(own, "0.0.2", "2")
    thread = threading.Thread(target=open_shelf.refresh)
    thread.start()
    assert opening.wait(10)
    assert open_shelf.get("day") is former
    go_on.set()
    thread.join()
    assert open_shelf.get("day").identity.version == "0.0.2"


def test_nothing_is_opened_while_a_promotion_switches(
    open_shelf: ModelShelf, own: TinyModel
) -> None:
    former = open_shelf.get("day")
    journal = own.bundle / JOURNAL
    journal.parent.mkdir()
    journal.write_text("{}")
    release(own, "0.0.2", "2")
    assert open_shelf.get("day") is former
    journal.unlink()
    assert open_shelf.get("day").identity.version == "0.0.2"


def test_the_first_study_waits_for_a_promotion_and_is_put_off_if_it_was_cut_short(
    open_shelf: ModelShelf, own: TinyModel
) -> None:
    journal = own.bundle / JOURNAL
    journal.parent.mkdir()
    journal.write_text("{}")
    with pytest.raises(InferenceUnavailableError, match="is under way, or was cut short") as caught:
        open_shelf.get("day")
    assert "settles it" in caught.value.hint
    journal.unlink()
    assert open_shelf.get("day").identity.version == "0.0.1"


def test_a_model_is_never_made_of_two_versions(
    open_shelf: ModelShelf, own: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch that begins and ends while it is opened makes it be opened again."""
    opened: list[BundleModel] = []

    def overtaken(*arguments: object) -> BundleModel:
        opened.append(open_model(*arguments))  # type: ignore[arg-type]
        if len(opened) == 1:
            release(own, "0.0.2", "2")
        return opened[-1]

    monkeypatch.setattr(shelves, "open_model", overtaken)
    model = open_shelf.get("day")
    assert (len(opened), model.identity) == (2, opened[1].identity)
    assert model.identity.version == "0.0.2"
    assert model.identity.weights_sha256 != opened[0].identity.weights_sha256


def test_servers_with_the_former_weights_do_not_get_the_new_name(
    own: TinyModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TritonModel(bundle=own.bundle, backend="triton", triton_url=("grpc://nowhere:1",))

    def by_servers(name: str, model: TritonModel, repository: Path) -> BundleModel:
        return open_model(name, model, repository, FakePredictor)

    monkeypatch.setattr(shelves, "open_model", by_servers)
    shelf = ModelShelf({"day": config}, own.repository)
    shelf.get("day")
    name_it(own, "0.0.2")
    assert shelf.get("day").identity.version == "0.0.1"
    assert "the servers have the weights of 0.0.1" in capsys.readouterr().out
    shelf.close()
