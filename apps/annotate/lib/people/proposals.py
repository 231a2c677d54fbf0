"""What a model answered last to each reader, so that what he made of it can be measured."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.bundles import Bundle
from lib.errors import AnnotateError
from lib.files import read_json, sha256_of, write_json
from lib.people.ledger import Ledger, moment
from lib.stores.labels import read_label
from lib.stores.volume import write_nifti

MOST_KEPT = 500


@dataclass(frozen=True)
class Proposal:
    """A labelmap that a model drew, on its image's grid, and which model that was.

    `came_by` is `infer` for an answer to this reader, `original` for the label under that tag.
    """

    file: Path
    came_by: str
    model: str
    version: str
    weights_sha256: str = ""
    at: str = ""

    def as_info(self) -> dict[str, str]:
        """What is kept of it beside a label."""
        values = {name: str(value) for name, value in asdict(self).items()}
        del values["file"]
        return values


class Proposals:
    """The last answer of each model to each reader on each image; the oldest give way."""

    def __init__(self, folder: Path, ledger: Ledger, most: int = MOST_KEPT) -> None:
        self._folder = folder
        self._ledger = ledger
        self._most = most
        self._keeping = threading.Lock()

    def keep(self, image_id: str, image: Path, user: str, bundle: Bundle, mask: Path) -> None:
        """An answer. One that is no labelmap of the bundle is kept as that: with the reason."""
        place = self._place(image_id, user, bundle.name)
        weights = sha256_of(bundle.weights) if bundle.weights.is_file() else ""
        told = {
            "image": image_id,
            "user": user,
            "model": bundle.name,
            "version": bundle.version,
            "weights_sha256": weights,
            "at": moment(self._ledger.now()),
        }
        with self._keeping:
            place.with_suffix(".json").unlink(missing_ok=True)
            try:
                label = read_label(mask, image, {"model": bundle.name}, {bundle.name: bundle})
                write_nifti(label.labelmap, label.grid.affine_ras, _file(place))
            except AnnotateError as error:
                told["why_not"] = error.message
            write_json(place.with_suffix(".json"), told)
            self._make_room()

    def of(self, image_id: str, user: str, bundle: Bundle) -> Proposal | str:
        """The last answer of the bundle to that reader, or why there is none."""
        place = self._place(image_id, user, bundle.name)
        told = read_json(place.with_suffix(".json"))
        if not told:
            return f"no answer of {bundle.name} to {user} on this image is kept"
        if "why_not" in told:
            return f"the answer of {bundle.name} was no label of this image: {told['why_not']}"
        facts = {key: told[key] for key in ("model", "version", "weights_sha256", "at")}
        return Proposal(_file(place), "infer", **facts)

    def _place(self, image_id: str, user: str, model: str) -> Path:
        key = json.dumps([image_id, user, model])
        return self._folder / hashlib.sha256(key.encode()).hexdigest()[:32]

    def _make_room(self) -> None:
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for old in kept[: -self._most]:
            old.unlink()
            _file(old.with_suffix("")).unlink(missing_ok=True)


def original(file: Path, info: Mapping[str, object], bundle: Bundle) -> Proposal:
    """The label `original` of an image, as what a reader began with."""
    told = info.get("from_model")
    model = told if isinstance(told, Mapping) and told else {}
    name, version = str(model.get("name", bundle.name)), str(model.get("version", ""))
    return Proposal(file, "original", name, version, at=str(info.get("annotated_at", "")))


def _file(place: Path) -> Path:
    return place.with_name(f"{place.name}.nii.gz")
