"""The page of an evaluation: one file that needs no other, and says what the figures say."""

from __future__ import annotations

import base64
import io
import json
import re
from contextlib import closing
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from labelled import write_disc, write_labelled, write_rows
from tiny_classifier import NAME, write_tiny_classifier
from tiny_model import NETWORK, TinyModel
from wetread.config import EmbeddedModel
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.models.classification import Classification, ClassifiedCase
from wetread.models.evaluation import evaluate
from wetread.models.page import Evaluation, write_evaluation_page
from wetread.models.page_classification import classification_body
from wetread.results import ModelIdentity

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
EVIL = "<b>&evil"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a person sees of it, what a browser would load, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.heads_without_scope = 0
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.sources += [str(named[key]) for key in ("src", "href") if key in named]
        self.heads_without_scope += tag == "th" and named.get("scope") not in ("row", "col")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(model: BundleModel, data: Path, folder: Path) -> Page:
    path = folder / "page.html"
    found = evaluate(model, data, None, no_progress)
    evaluation = Evaluation(model, data, None, found, found.as_dict())
    write_evaluation_page(path, evaluation, NOW, no_progress)
    return Page(path.read_text(encoding="utf-8"))


def write_blocks(folder: Path, shifts: dict[str, int]) -> Path:
    """Cases with a block of 4 planes of 36 voxels of 1 mm, and its label, moved by some planes."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for name, shift in shifts.items():
        image, label = np.zeros((20, 10, 10), np.float32), np.zeros((20, 10, 10), np.uint8)
        image[4:8, 2:8, 2:8] = 120.0
        label[4 + shift : 8 + shift, 2:8, 2:8] = 1
        for kind, array in (("imagesTr", image), ("labelsTr", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / kind / f"{name}.nii")
    training = [
        {"image": f"imagesTr/{name}.nii", "label": f"labelsTr/{name}.nii"} for name in shifts
    ]
    (folder / "dataset.json").write_text(json.dumps({"training": training}), encoding="utf-8")
    return folder


def segmented_page(tiny: TinyModel, data: Path, folder: Path) -> Page:
    """The tiny network finds what lies between 100 and 140."""
    with closing(open_model(NETWORK, EmbeddedModel(bundle=tiny.bundle), tiny.repository)) as model:
        return page_of(model, data, folder)


@pytest.fixture(scope="module")
def segmented(tiny_ct: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Three cases, of which the worst has a name that is markup."""
    folder = tmp_path_factory.mktemp("segmented")
    data = write_blocks(folder / "data", {"good": 0, EVIL: 2, "fair": 1})
    (data / "cases.csv").write_text(
        f"file,sex\ngood.nii,F\n{EVIL}.nii,M\nfair.nii,F\n", encoding="utf-8"
    )
    return segmented_page(tiny_ct, data, folder)


def test_the_page_of_a_segmenter_is_whole_and_loads_nothing(segmented: Page) -> None:
    assert segmented.open == []
    assert segmented.heads_without_scope == 0
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe", segmented.text)
    # Three slices of each of the three cases.
    assert len(segmented.sources) == 9
    assert all(source.startswith("data:image/png;base64,") for source in segmented.sources)
    assert len(segmented.text) < 500_000


def test_the_page_of_a_segmenter_says_its_figures(segmented: Page) -> None:
    """Dice 1, 0.75 and 0.5; IoU 1, 0.6 and 1/3; 0.144 mL each."""
    words = set(segmented.words)
    wanted = {"0.750 [0.500 to 1.000]", "0.644 [0.333 to 1.000]", "0.500", "0.144", "+0.000"}
    assert wanted <= words
    assert {"2026-03-04 05:06 UTC", "Not for diagnostic use", "3", NETWORK + " 0.0.1"} <= words
    assert any(re.fullmatch("[0-9a-f]{64}", word) for word in words)
    assert segmented.text.count('class="dot"') == 4 * 3


def test_cases_of_a_segmenter_stand_by_what_is_known_of_them(segmented: Page) -> None:
    """Women have Dice 1 and 0.75, the man 0.5; so few are uncertain."""
    at = segmented.words.index("F *")
    assert segmented.words[at : at + 3] == ["F *", "2", "0.875 [0.750 to 1.000]"]
    at = segmented.words.index("M *")
    assert segmented.words[at : at + 3] == ["M *", "1", "0.500 [0.500 to 0.500]"]
    assert "Fewer than 20 cases" in segmented.text


def test_names_are_text_not_markup(segmented: Page) -> None:
    assert "<b>" not in segmented.text
    assert f"{EVIL}.nii" in segmented.words
    assert f"{EVIL}.nii: Dice 0.500" in segmented.words


def test_the_worst_case_is_drawn_where_most_voxels_differ(segmented: Page) -> None:
    """Moved by 2 mm: two planes of 6 voxels on each side differ in a slice, in one along x 36."""
    captions = re.findall(r"<figcaption>(\w+) .*?, (\d+) voxels differ", segmented.text)
    assert captions[:3] == [("axial", "24"), ("coronal", "24"), ("sagittal", "36")]


def test_left_is_on_the_right_of_the_pictures(segmented: Page) -> None:
    """20 mm are 320 pixels; x runs to the right of the patient, so to the left of the picture.

    The result reaches from 4 to 8 mm, the label from 6 to 10.
    """
    paths = re.findall(r'class="outline of-(label|result)" d="(M[^"]+Z)"', segmented.text)
    reach = {}
    for name, path in paths[:2]:
        places = [float(point.split(",")[0]) for point in path.strip("MZ").split()]
        reach[name] = (min(places), max(places))
    assert reach == {"label": (160.0, 224.0), "result": (192.0, 256.0)}


def test_without_facts_the_page_says_where_they_would_stand(
    tiny_ct: TinyModel, tmp_path: Path
) -> None:
    data = write_blocks(tmp_path / "data", {"one": 0})
    assert "cases.csv with the column file" in segmented_page(tiny_ct, data, tmp_path).text


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Six right cases, and one that is labelled above and said below, with markup for a name.

    The tiny network says whether a picture is brighter above or below.
    """
    folder = tmp_path_factory.mktemp("classified")
    data = write_labelled(folder / "data", ("above", "below"), train=1, val=3)
    write_disc(data / "val" / f"{EVIL}.png", 1, 2)
    rows = [
        {"file": f"val/{label}_{n}.png", "label": label, "split": "val", "scanner": scanner}
        for label in ("above", "below")
        for n, scanner in enumerate("ABB")
    ]
    rows.append({"file": f"val/{EVIL}.png", "label": "above", "split": "val", "scanner": "A"})
    write_rows(data, rows)
    tiny = write_tiny_classifier(folder / "model")
    with closing(open_model(NAME, EmbeddedModel(bundle=tiny.bundle), tiny.repository)) as model:
        return page_of(model, data, folder)


def test_the_page_of_a_classifier_is_whole_and_loads_nothing(classified: Page) -> None:
    assert classified.open == []
    assert classified.heads_without_scope == 0
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe", classified.text)
    assert len(classified.sources) == 7
    content = base64.b64decode(classified.sources[0].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(content)).size == (60, 72)


def test_the_page_of_a_classifier_says_its_figures(classified: Page) -> None:
    """Six of seven are right; of four above, three."""
    cells = re.findall(r'<td style="--share:[\d.]+">(.*?)</td>', classified.text)
    assert cells == ["3 (75 %)", "1 (25 %)", "0 (0 %)", "3 (100 %)"]
    assert any(word.startswith("0.857 [") for word in classified.words)
    assert "7 of 7 patients or groups" in classified.words
    # One ring for the operating point, and one for each bin that has cases.
    assert classified.text.count('class="curve"') == 2
    assert "The ring is the operating point, present from 60 %" in classified.text


def test_the_most_wrong_picture_comes_first_with_what_was_said(classified: Page) -> None:
    assert "<b>" not in classified.text
    at = classified.words.index(f"val/{EVIL}.png")
    assert re.fullmatch(
        r"label above \(\d+ %\), said below \(\d+ %\): wrong", classified.words[at + 1]
    )
    last = classified.words[classified.words.index("Every case that was said wrongly") :]
    assert last.count("above") == 2
    assert last.count(f"val/{EVIL}.png") == 1


def test_cases_of_a_classifier_stand_by_scanner(classified: Page) -> None:
    at = classified.words.index("scanner")
    assert classified.words[at + 1 : at + 5] == ["cases", "AUC", "accuracy", "balanced accuracy"]
    counts = {name: classified.words[classified.words.index(f"{name} *") + 1] for name in "AB"}
    assert counts == {"A": "3", "B": "4"}


def test_of_several_classes_each_has_its_curve(tmp_path: Path) -> None:
    """The third never occurs, so it has none; the mean AUC is of the two that do."""
    write_disc(tmp_path / "one.png", 0, 2)
    cases = [
        ClassifiedCase("one.png", label, str(n), dict(zip("abc", values, strict=True)), {})
        for n, (label, values) in enumerate(
            [("a", (0.6, 0.3, 0.1)), ("b", (0.2, 0.7, 0.1)), ("a", (0.3, 0.4, 0.3))]
        )
    ]
    found = Classification(ModelIdentity("m", "1", "00"), {}, tuple(cases))
    text = "".join(classification_body(tmp_path, found, found.as_dict()))
    assert re.findall(r"<figcaption>(.): AUC ([\d.]+)", text) == [("a", "1.000"), ("b", "1.000")]
    assert "c: all cases have it or none, so there is no curve." in text
