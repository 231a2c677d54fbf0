"""`wetread explain`: a table or JSON of what was written, and a hint for each mistake."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from command_line import write_settings
from explainable import write_explainable_segmenter
from phantom import PhantomSeries
from tiny_model import TinyModel

from .conftest import Run

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("explainable_settings", "ct_study")]


@pytest.fixture(scope="module")
def explainable(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_explainable_segmenter(tmp_path_factory.mktemp("explainable"))


@pytest.fixture
def explainable_settings(tmp_path: Path, explainable: TinyModel) -> Path:
    return write_settings(tmp_path, explainable)


def test_it_tells_what_was_explained_and_where_it_lies(wetread: Run) -> None:
    done = wetread("explain", "study", "-m", "tiny", "-o", "out", "--method", "saliency")
    assert done.exit_code == 0, done.err
    assert "Why Ellipsoid is where it is outlined, by saliency" in done.out
    assert done.err == ""
    assert sorted(path.suffix for path in Path("out").iterdir()) == [".dcm", ".dcm", ".png"]


def test_json_has_the_figures_and_the_files(wetread: Run, ct_study: PhantomSeries) -> None:
    options = ("-m", "tiny", "-o", "out", "--method", "saliency", "--faithfulness", "--json")
    [found] = wetread("explain", "study", *options).json
    assert found["series"] == ct_study.series_instance_uid
    assert (found["target"], found["method"]) == ("Ellipsoid", "saliency")
    assert found["faithfulness"]["deletion_gain"] > 0
    assert -1 <= found["randomisation"]["correlation"] <= 1
    assert sorted(found["files"]) == sorted(str(path) for path in Path("out").iterdir())


def test_a_layer_may_be_named(wetread: Run) -> None:
    done = wetread("explain", "study", "-m", "tiny", "-o", "out", "--layer", "network.sides")
    assert done.exit_code == 0, done.err
    done = wetread("explain", "study", "-m", "tiny", "-o", "out", "--layer", "network.side")
    assert done.is_error(2, "no layer 'network.side'")
    assert "network.sides" in done.err


@pytest.mark.parametrize(
    ("option", "value", "fact"),
    [
        ("--method", "magic", "no method 'magic'"),
        ("--target", "Spleen", "no class or segment 'Spleen'"),
    ],
)
def test_a_mistake_is_a_config_error_that_names_what_there_is(
    wetread: Run, option: str, value: str, fact: str
) -> None:
    done = wetread("explain", "study", "-m", "tiny", "-o", "out", option, value)
    assert done.is_error(2, fact)


def test_without_the_explainers_it_says_what_to_install(
    wetread: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith(("captum", "wetread.explain", "wetread.offline.explaining")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    done = wetread("explain", "study", "-m", "tiny", "-o", "out")
    assert done.is_error(2, "captum")
    assert "wetread[explain]" in done.err
