"""What both stores keep beside a label, and what a bundle may learn from."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from lib.errors import (
    DisagreementError,
    NotThereError,
    WrongImageError,
    WrongLabelError,
)
from lib.people.proposals import Proposal
from lib.scoring.edits import edit_distance
from lib.stores.labels import Label
from wetread.bundle_components.data import is_held_out


@dataclass(frozen=True)
class Provenance:
    """Who drew a label, when, for which bundle, and what it holds.

    `edit_distance` is None where no proposal is known, and `no_edit_distance` says why.
    """

    bundle: str
    annotator: str
    annotated_at: str
    voxels: Mapping[str, int]
    seconds_spent: float | None = None
    from_model: Mapping[str, str] = field(default_factory=dict)
    edit_distance: Mapping[str, Any] | None = None
    no_edit_distance: str = ""
    consensus: Mapping[str, Any] | None = None

    def as_info(self) -> dict[str, Any]:
        """What a client sees as the label's info."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """An image and its label in NIfTI, on one grid; `info` is its provenance."""

    image_id: str
    image: Path
    label: Path
    info: Mapping[str, Any]

    @property
    def is_held_out(self) -> bool:
        """Whether it is kept for the comparison of models."""
        return is_held_out(self.image_id)


@dataclass(frozen=True)
class Cases:
    """What a bundle may learn from; `broken` says of each other label what is wrong with it."""

    usable: tuple[Case, ...]
    broken: tuple[str, ...]


def collect(images: Iterable[str], open_case: Callable[[str], Case]) -> Cases:
    """Open each, and keep the reason where that fails."""
    usable, broken = [], []
    for image in images:
        try:
            usable.append(open_case(image))
        except (WrongImageError, WrongLabelError, DisagreementError) as error:
            broken.append(str(error))
    return Cases(tuple(usable), tuple(broken))


# Why a label has no edit distance.
NO_READER = "it is no correction by a reader"


@dataclass(frozen=True)
class Title:
    """How people know an image, and the address that opens it in the viewer, if one does."""

    text: str
    viewer: str = ""


class CaseStore(Protocol):
    """What training needs of a store."""

    def cases(self, bundle: str) -> Cases:
        """Every image with a final label of that bundle."""
        ...


def provenance_of(
    label: Label, user: str, params: Mapping[str, Any], proposal: Proposal | str
) -> Provenance:
    """From the label, what came with it, and what its reader began with, or why that is unknown."""
    seconds = params.get("seconds_spent")
    valid = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0
    model, consensus = params.get("model"), params.get("consensus")
    from_model = {"name": label.bundle.name, "version": label.bundle.version}
    return Provenance(
        bundle=label.bundle.name,
        annotator=user,
        annotated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        voxels=label.voxels,
        seconds_spent=float(seconds) if valid and seconds is not None else None,
        from_model=from_model if model == label.bundle.name and not consensus else {},
        edit_distance=None if isinstance(proposal, str) else edit_distance(label, proposal),
        no_edit_distance=proposal if isinstance(proposal, str) else "",
        consensus=consensus,
    )


def archive_of(cases: list[Case], limit: int | None) -> str:
    """A ZIP file of images and labels, which its caller removes.

    Raises NotThereError if nothing is labelled.
    """
    if not cases:
        raise NotThereError("no image has a final label", hint="save one first")
    with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
        with zipfile.ZipFile(file, "w") as archive:
            for case in cases[: limit or len(cases)]:
                archive.write(case.image, f"image/{case.image.name}")
                archive.write(case.label, f"label/{case.label.name}")
        return file.name
