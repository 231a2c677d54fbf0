"""What there is to do: every image, its labels, what a reviewer said of them, and who has it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lib.bundles import Bundle, Segment
from lib.errors import AnnotateError, NotThereError, WrongStateError
from lib.people.drawings import Drawing, newest_of_each, the_label
from lib.people.holds import Hold
from lib.people.reviews import State, Step
from lib.people.team import Team
from lib.scoring.agreement import Agreement, compare_labels, spacing_of
from lib.scoring.consensus import Performance, staple
from lib.stores.base import Title
from lib.stores.safe import FINAL
from lib.stores.volume import read_grid, write_nifti

NOTHING = "nothing"
_PROVENANCE = ("seconds_spent", "from_model", "voxels", "edit_distance", "no_edit_distance")


class Store(Protocol):
    """What of a store is needed here."""

    def titles(self) -> dict[str, Title]:
        """Every image."""
        ...

    def drawings(self, image_id: str) -> list[Drawing]:
        """Its labels, the oldest first."""
        ...

    def every_drawing(self) -> dict[str, list[Drawing]]:
        """Image → its labels."""
        ...

    def drawing_file(self, drawing: Drawing) -> Path:
        """Its labelmap."""
        ...

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Save one more."""
        ...

    def settle(self, image_id: str) -> None:
        """Heed a review."""
        ...


@dataclass(frozen=True)
class Work:
    """Of one store and team."""

    store: Store
    team: Team
    bundles: Mapping[str, Bundle]

    def images(self) -> list[dict[str, Any]]:
        """Every image in a few words, by title."""
        drawings, last = self.store.every_drawing(), self.team.reviews.last()
        holds: dict[str, list[Hold]] = {}
        for each in self.team.holds.all():
            holds.setdefault(each.image, []).append(each)
        titles = sorted(self.store.titles().items(), key=lambda item: (item[1].text, item[0]))
        return [
            _in_words(image, title, drawings.get(image, []), last, holds.get(image, []))
            for image, title in titles
        ]

    def image(self, image_id: str) -> dict[str, Any]:
        """All of one image; see `agreement` for how far its labels agree.

        Raises NotThereError for an unknown one.
        """
        title = self._title(image_id)
        drawings, last = self.store.drawings(image_id), self.team.reviews.last()
        words = _in_words(image_id, title, drawings, last, self.team.holds.of(image_id))
        newest = {each.id for each in newest_of_each(drawings, last)}
        labels = [
            {
                **self._label(each, last),
                "counts": each.id == words["label"],
                "newest_of_reader": each.id in newest or each.is_proposal or each.is_consensus,
            }
            for each in reversed(drawings)
        ]
        return {**words, "labels": labels}

    def agreement(self, image_id: str) -> list[dict[str, Any]]:
        """How far the newest labels of its readers agree, bundle by bundle, and their volumes."""
        return [
            self._agreement(self.bundles[name], of_bundle)
            for name, of_bundle in self._compared(image_id).items()
        ]

    def review(self, image_id: str, label: str, state: State, by: str, reason: str) -> Step:
        """Approve or return a label. Raises NotThereError, and as `Reviews.review`."""
        self._title(image_id)
        found = [each for each in self.store.drawings(image_id) if each.id == label]
        if not found:
            raise NotThereError(
                f"no label {label[:64]!r} of {image_id}", hint="see GET /work/image"
            )
        [drawing] = found
        first, authors = drawing.first_state, drawing.authors
        step = self.team.reviews.review(label, image_id, first, authors, state, by, reason)
        self.store.settle(image_id)
        return step

    def make_consensus(self, image_id: str, bundle_name: str = "") -> dict[str, Any]:
        """STAPLE of the newest labels of its readers, stored as a label of its own.

        Raises WrongStateError with fewer than two readers, NotThereError for an unknown image, and
        as the store.
        """
        self._title(image_id)
        compared = self._compared(image_id)
        name = bundle_name or next(iter(compared), "")
        drawings = compared.get(name, [])
        if not drawings:
            raise WrongStateError(
                f"{image_id} has no labels of two readers", hint="a consensus needs two or more"
            )
        bundle = self.bundles[name]
        labelmaps = [_voxels(self.store.drawing_file(each)) for each in drawings]
        found = staple(labelmaps, bundle.segments)
        readers = [each.annotator for each in drawings]
        made = {
            "readers": readers,
            "labels": [each.id for each in drawings],
            "algorithm": "STAPLE",
            "version": f"SimpleITK {SimpleITK.Version.VersionString()}",
            "performance": {
                segment: dict(zip(readers, map(_performance, each), strict=True))
                for segment, each in found.performance.items()
            },
        }
        grid = read_grid(self.store.drawing_file(drawings[0]))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "consensus.nii.gz"
            write_nifti(found.labelmap, grid.affine_ras, file)
            info = {"model": name, "consensus": made}
            self.store.save_label(image_id, str(file), FINAL, info)
        return made

    def check(self, image_id: str) -> str:
        """The image, if it is there. Raises NotThereError."""
        self._title(image_id)
        return image_id

    def _title(self, image_id: str) -> Title:
        title = self.store.titles().get(image_id)
        if title is None:
            raise NotThereError(f"no image {image_id[:64]!r}", hint="see GET /work")
        return title

    def _compared(self, image_id: str) -> dict[str, list[Drawing]]:
        """Bundle → the newest label of each of its readers, of whom there are two or more."""
        found: dict[str, list[Drawing]] = {}
        last = self.team.reviews.last()
        drawings = self.store.drawings(image_id)
        for name in sorted({each.bundle for each in drawings} & self.bundles.keys()):
            of_bundle = [each for each in drawings if each.bundle == name]
            newest = newest_of_each(of_bundle, last)
            if len(newest) > 1:
                found[name] = newest
        return found

    def _agreement(self, bundle: Bundle, drawings: Sequence[Drawing]) -> dict[str, Any]:
        said: dict[str, Any] = {
            "bundle": bundle.name,
            "readers": [each.annotator for each in drawings],
            "pairs": [],
            "volumes_ml": {},
        }
        try:
            files = {each.annotator: self.store.drawing_file(each) for each in drawings}
        except AnnotateError as error:
            return {**said, "error": error.message}
        for first, second in combinations(files, 2):
            found = _compared_files(files[first], files[second], bundle.segments)
            segments = {}
            for name, each in found.items():
                said["volumes_ml"].setdefault(first, {})[name] = each.as_info()["first_ml"]
                said["volumes_ml"].setdefault(second, {})[name] = each.as_info()["second_ml"]
                figures = each.as_info()
                segments[name] = {
                    key: figures[key] for key in ("dice", "mean_surface_mm", "hd95_mm")
                }
            said["pairs"].append({"readers": [first, second], "segments": segments})
        return said

    def _label(self, drawing: Drawing, last: Mapping[str, Step]) -> dict[str, Any]:
        return {
            "id": drawing.id,
            "annotator": drawing.annotator,
            "at": drawing.at,
            "bundle": drawing.bundle,
            "state": str(_state(drawing, last)),
            "is_consensus": drawing.is_consensus,
            "authors": sorted(drawing.authors),
            "steps": [each.as_info() for each in self.team.reviews.steps_of(drawing.id)],
            "consensus": drawing.info.get("consensus"),
            **{key: drawing.info.get(key) for key in _PROVENANCE},
        }


def _in_words(
    image: str,
    title: Title,
    drawings: Sequence[Drawing],
    last: Mapping[str, Step],
    holds: Sequence[Hold],
) -> dict[str, Any]:
    chosen = the_label(drawings, last)
    shown = chosen or (drawings[-1] if drawings else None)
    waiting = [
        each.id
        for each in (*newest_of_each(drawings, last), *(e for e in drawings if e.is_consensus))
        if _state(each, last) == State.CORRECTED
    ]
    return {
        "image": image,
        "title": title.text,
        "viewer": title.viewer,
        "state": str(_state(shown, last)) if shown else NOTHING,
        "label": chosen.id if chosen else None,
        "annotator": shown.annotator if shown else None,
        "at": shown.at if shown else None,
        "is_consensus": bool(shown and shown.is_consensus),
        "readers": sorted(
            {each.annotator for each in drawings if not (each.is_proposal or each.is_consensus)}
        ),
        "returned_to": sorted(_returned_to(drawings, last)),
        "waiting": waiting,
        "holds": [each.as_info() for each in holds],
    }


def _returned_to(drawings: Sequence[Drawing], last: Mapping[str, Step]) -> set[str]:
    """Readers whose newest label was returned."""
    newest = {each.annotator: each for each in drawings if not each.is_proposal}
    return {name for name, each in newest.items() if _state(each, last) == State.RETURNED}


def _state(drawing: Drawing, last: Mapping[str, Step]) -> State:
    step = last.get(drawing.id)
    return step.state if step else drawing.first_state


@lru_cache(maxsize=200)
def _compared_files(
    first: Path, second: Path, segments: tuple[Segment, ...]
) -> dict[str, Agreement]:
    """Once for two labels, of which neither ever changes."""
    spacing = spacing_of(read_grid(first).affine)
    return compare_labels(_voxels(first), _voxels(second), segments, spacing)


def _voxels(file: Path) -> NDArray[np.uint8]:
    return np.asarray(nibabel.load(file).dataobj).astype(np.uint8)


def _performance(found: Performance) -> dict[str, float | None]:
    return {"sensitivity": found.sensitivity, "specificity": found.specificity}
