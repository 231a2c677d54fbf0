"""A folder of NIfTI files, of any modality, with labels that fit their images."""

from __future__ import annotations

import filecmp
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel

from lib.bundles import Bundle
from lib.errors import AnnotateError, NotThereError, WrongImageError
from lib.files import write_whole
from lib.guard.who import current_user
from lib.people.drawings import Drawing, the_label
from lib.people.proposals import Proposal, original
from lib.people.team import Team
from lib.stores.base import (
    NO_READER,
    Case,
    Cases,
    Title,
    archive_of,
    collect,
    provenance_of,
)
from lib.stores.drawn import DrawnFiles, proposed_here
from lib.stores.labels import Label, read_label
from lib.stores.safe import FINAL, ORIGINAL, safe_id, safe_tag
from lib.stores.volume import nifti_bytes, read_grid, write_nifti
from lib.stores.whole import WholeIndex, alone

EXTENSIONS = ("*.nii.gz", "*.nii")


class LocalStore(WholeIndex):
    """Images are the files of the folder, by name; labels lie under `labels/TAG/` as `.nii.gz`.

    Each final label that was saved is kept as its reader's own, see `DrawnFiles`; the one under
    `labels/final/` is a copy of that which is the image's, see `the_label`.
    """

    def __init__(self, folder: str, bundles: Mapping[str, Bundle], team: Team) -> None:
        self._bundles = bundles
        self._team = team
        self._drawn = DrawnFiles(team.drawings)
        super().__init__(folder, extensions=EXTENSIONS, auto_reload=True)

    def get_image_uri(self, image_id: str) -> str:
        """The path of the image. Raises NotThereError for an unknown one."""
        path = super().get_image_uri(safe_id(image_id))
        if not path:
            raise NotThereError(f"no image {image_id!r}", hint="see /datastore/?output=all")
        return str(path)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The path of the label. Raises NotThereError if there is none under that tag."""
        path = super().get_label_uri(safe_id(label_id), safe_tag(label_tag))
        if not path:
            raise NotThereError(
                f"no label {label_tag!r} of {label_id!r}", hint="see /datastore/?output=all"
            )
        return str(path)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Copy an image into the folder. Raises WrongImageError for what is no volume in NIfTI."""
        file = Path(image_filename)
        if not file.name.endswith((".nii.gz", ".nii")):
            raise WrongImageError(f"{file.suffix} is no NIfTI", hint="send .nii.gz or .nii")
        try:
            read_grid(file)
        except (OSError, ValueError) as error:
            raise WrongImageError(f"no NIfTI file: {error}", hint="send it again") from error
        return str(super().add_image(safe_id(image_id), image_filename, image_info))

    @alone
    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
    ) -> str:
        """Write the label on its image's grid, in its bundle's values, as `.nii.gz`.

        Raises NotThereError for an unknown image, and as `read_label`.
        """
        image = Path(self.get_image_uri(image_id))
        tag, user = safe_tag(label_tag), current_user()
        label = read_label(Path(label_filename), image, label_info, self._bundles)
        final = tag == FINAL and "consensus" not in label_info
        proposal = self._proposal(image_id, label) if final else NO_READER
        info = provenance_of(label, user, label_info, proposal).as_info()
        with FileLock(self._lock_file):
            place = self._place(image_id, tag)
            if tag != FINAL:
                write_nifti(label.labelmap, label.grid.affine_ras, place)
                self._enter(image_id, tag, info)
                return image_id
            self._take_in(image_id)
            content = nifti_bytes(label.labelmap, label.grid.affine_ras)
            drawing = self._drawn.add(image_id, content, info)
            self._team.reviews.saved(drawing, image_id, user)
            self._settle(image_id)
        return image_id

    @alone
    def drawings(self, image_id: str) -> list[Drawing]:
        """Every label of an image, the oldest first: what a model proposed, and what was saved."""
        with FileLock(self._lock_file):
            self._take_in(image_id)
        entry = self._entry(image_id).labels.get(ORIGINAL)
        proposed = [proposed_here(image_id, entry.info)] if entry else []
        return [*proposed, *self._drawn.of(image_id)]

    @alone
    def every_drawing(self) -> dict[str, list[Drawing]]:
        """Image → its labels."""
        return {each: self.drawings(each) for each in self.list_images()}

    def drawing_file(self, drawing: Drawing) -> Path:
        """Its labelmap, on its image's grid."""
        if drawing.is_proposal:
            return Path(self.get_label_uri(drawing.image_id, ORIGINAL))
        return self._drawn.file(drawing.image_id, drawing.id)

    def titles(self) -> dict[str, Title]:
        """How people know the images."""
        return {each: Title(each) for each in self.list_images()}

    @alone
    def settle(self, image_id: str) -> None:
        """After a review: another label may be the image's now, or none."""
        with FileLock(self._lock_file):
            self._take_in(image_id)
            self._settle(image_id)

    @alone
    def settle_all(self) -> None:
        """After a crash, which may have come between a review and its effect."""
        here = set(self.list_images())
        for each in self._drawn.images():
            if each in here:
                self.settle(each)

    @alone
    def remove_image(self, image_id: str) -> None:
        """Remove it and its labels. Raises NotThereError for an unknown one."""
        self.get_image_uri(image_id)
        super().remove_image(image_id)
        self._forget(image_id)
        self.refresh()

    @alone
    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove it; the final one with all that readers have saved of the image.

        Raises NotThereError if there is none.
        """
        file = Path(self.get_label_uri(label_id, label_tag))
        if label_tag == FINAL:
            self._forget(label_id)
        file.unlink()
        self.refresh()

    def cases(self, bundle: str) -> Cases:
        """Every image with a final label of that bundle.

        A label that nobody saved through this server, a file beside the images, belongs to any.
        """
        labelled = self._datastore.filter_by_tag(FINAL)

        def opened(image_id: str) -> Case:
            image, label = self.get_image_uri(image_id), self.get_label_uri(image_id, FINAL)
            info = labelled[image_id].labels[FINAL].info
            # A file that somebody put there may be of anything.
            read_label(Path(label), Path(image), {"model": bundle}, self._bundles)
            return Case(image_id, Path(image), Path(label), info)

        of_bundle = (
            image_id
            for image_id, entry in sorted(labelled.items())
            if self._is_for(entry.labels[FINAL].info, bundle)
        )
        return collect(of_bundle, opened)

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A ZIP file of all images with a final label."""
        every = [
            Case(image_id, Path(self.get_image_uri(image_id)), Path(label), {})
            for image_id in sorted(self._datastore.filter_by_tag(FINAL))
            if (label := self.get_label_uri(image_id, FINAL))
        ]
        return archive_of(every, limit_cases)

    def _proposal(self, image_id: str, label: Label) -> Proposal | str:
        """What the reader of a label began with."""
        found = self._team.proposals.of(image_id, current_user(), label.bundle)
        entry = self._entry(image_id).labels.get(ORIGINAL)
        if isinstance(found, Proposal) or entry is None:
            return found
        if not self._is_for(entry.info, label.bundle.name):
            return f"{found}, and the label {ORIGINAL} is of another bundle"
        file = self._place(image_id, ORIGINAL)
        try:
            read_label(
                file,
                Path(self.get_image_uri(image_id)),
                {"model": label.bundle.name},
                self._bundles,
            )
        except AnnotateError as error:
            return f"{found}, and the label {ORIGINAL} cannot be used: {error.message}"
        return original(file, entry.info, label.bundle)

    def _take_in(self, image_id: str) -> None:
        """A file that somebody put under `labels/final/` is a label like the others."""
        entry = self._entry(image_id).labels.get(FINAL)
        place = self._place(image_id, FINAL)
        if entry is None or not place.is_file():
            return
        known = self._drawn.file(image_id, str(entry.info.get("drawing") or "none"))
        if known.is_file() and filecmp.cmp(known, place, shallow=False):
            return
        info = {} if "drawing" in entry.info else entry.info
        content = place.read_bytes()
        if place.suffix != ".gz":
            content = gzip.compress(content, mtime=0)
            place.unlink()
        drawing = self._drawn.add(image_id, content, info)
        write_whole(place.with_name(f"{image_id}.nii.gz"), content)
        self._enter(image_id, FINAL, {**info, "drawing": drawing})

    def _settle(self, image_id: str) -> None:
        """Lay a copy of the image's label under `labels/final/`, or take it away."""
        chosen = the_label(self._drawn.of(image_id), self._team.reviews.last())
        place, labels = self._place(image_id, FINAL), self._entry(image_id).labels
        if chosen is None:
            place.unlink(missing_ok=True)
            labels.pop(FINAL, None)
            self._update_datastore_file(lock=False)
            return
        now = labels[FINAL].info.get("drawing") if FINAL in labels else None
        if now == chosen.id and place.is_file():
            return
        write_whole(place, self.drawing_file(chosen).read_bytes())
        self._enter(image_id, FINAL, {**chosen.info, "drawing": chosen.id})

    def _enter(self, image_id: str, tag: str, info: Mapping[str, Any]) -> None:
        named = {**info, "name": f"{image_id}.nii.gz"}
        self._entry(image_id).labels[tag] = DataModel(info=named, ext=".nii.gz")
        self._update_datastore_file(lock=False)

    def _forget(self, image_id: str) -> None:
        self._drawn.remove(image_id)
        self._team.reviews.forget(image_id)

    def _place(self, image_id: str, tag: str) -> Path:
        """Where its label under a tag lies, or would."""
        entry = self._entry(image_id).labels.get(tag)
        ending = entry.ext if entry else ".nii.gz"
        return Path(self._datastore.label_path(tag)) / f"{image_id}{ending}"

    def _is_for(self, info: Mapping[str, Any], bundle: str) -> bool:
        """Whether a label is of that bundle, or of one with the same segments."""
        of = self._bundles.get(str(info.get("bundle", bundle)))
        return of is not None and of.segments == self._bundles[bundle].segments

    def _entry(self, image_id: str) -> ImageLabelModel:
        entry: ImageLabelModel = self._datastore.objects[image_id]
        return entry

    def _update_datastore_file(self, lock: bool = True) -> None:
        """As MONAI Label's, but a reader never sees half of it."""
        if lock:
            with FileLock(self._lock_file):
                self._update_datastore_file(lock=False)
            return
        self._ignore_event_config = True
        path = Path(self._datastore_config_path)
        values = self._datastore.model_dump(exclude={"base_path"})
        write_whole(path, json.dumps(values, indent=2, default=str).encode())
        self._config_ts = path.stat().st_mtime
