"""Each configured model is opened once, when it is first asked for."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from phantom import PhantomSeries, received, write_series
from tiny_model import NETWORK, TinyModel
from wetread.config import EmbeddedModel
from wetread.dicom.volume import load_volume
from wetread.errors import ConfigError, InferenceError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.shelf import ModelShelf


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
