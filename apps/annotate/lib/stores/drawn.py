"""Each label that a reader of a folder has saved, as files of its own that nothing overwrites."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib.files import read_json, write_json, write_whole
from lib.people.drawings import Drawing
from lib.stores.safe import ORIGINAL

UNKNOWN = "unknown"


class DrawnFiles:
    """`folder`/IMAGE/ID.nii.gz, with ID.json beside it, without which it is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, image_id: str, content: bytes, info: Mapping[str, Any]) -> str:
        """The id of the new one; ids of one image are in the order of time."""
        drawing_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        write_whole(self.file(image_id, drawing_id), content)
        write_json(self._json(image_id, drawing_id), dict(info))
        return drawing_id

    def file(self, image_id: str, drawing_id: str) -> Path:
        """Its labelmap."""
        return self._folder / image_id / f"{drawing_id}.nii.gz"

    def images(self) -> list[str]:
        """Those that have some."""
        return sorted(each.name for each in self._folder.glob("*") if each.is_dir())

    def of(self, image_id: str) -> list[Drawing]:
        """Of an image, the oldest first."""
        found = sorted((self._folder / image_id).glob("[0-9]*.json"))
        return [_drawing(image_id, each.stem, read_json(each)) for each in found]

    def remove(self, image_id: str) -> None:
        """All of an image."""
        shutil.rmtree(self._folder / image_id, ignore_errors=True)

    def _json(self, image_id: str, drawing_id: str) -> Path:
        return self._folder / image_id / f"{drawing_id}.json"


def _drawing(image_id: str, drawing_id: str, info: Mapping[str, Any]) -> Drawing:
    consensus = info.get("consensus") or {}
    return Drawing(
        id=drawing_id,
        image_id=image_id,
        bundle=str(info.get("bundle") or ""),
        annotator=str(info.get("annotator") or UNKNOWN),
        at=str(info.get("annotated_at") or ""),
        is_consensus=bool(consensus),
        readers=tuple(consensus.get("readers", ())),
        info=info,
    )


def proposed_here(image_id: str, info: Mapping[str, Any]) -> Drawing:
    """The label `original` that a batch left here; its model is who drew it."""
    bundle = str(info.get("bundle") or "")
    model = str((info.get("from_model") or {}).get("name") or bundle or UNKNOWN)
    at = str(info.get("annotated_at") or "")
    return Drawing(ORIGINAL, image_id, bundle, model, at, is_proposal=True, info=info)
