"""A folder of NIfTI files, of any modality, with labels that fit their images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore

from lib.bundles import Bundle
from lib.errors import NotThereError, WrongImageError
from lib.files import write_whole
from lib.guard.who import current_user
from lib.stores.base import Case, Cases, archive_of, collect, provenance_of
from lib.stores.labels import read_label
from lib.stores.safe import FINAL, safe_id, safe_tag
from lib.stores.volume import read_grid, write_nifti

EXTENSIONS = ("*.nii.gz", "*.nii")


class LocalStore(LocalDatastore):
    """Images are the files of the folder, by name; labels lie under `labels/TAG/` as `.nii.gz`."""

    def __init__(self, folder: str, bundles: Mapping[str, Bundle]) -> None:
        self._bundles = bundles
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
        tag = safe_tag(label_tag)
        label = read_label(Path(label_filename), image, label_info, self._bundles)
        info = provenance_of(label, current_user(), label_info).as_info()
        name = f"{image_id}.nii.gz"
        with FileLock(self._lock_file):
            place = Path(self._datastore.label_path(tag)) / name
            write_nifti(label.labelmap, label.grid.affine_ras, place)
            entry = self._entry(image_id)
            entry.labels[tag] = DataModel(info={**info, "name": name}, ext=".nii.gz")
            self._update_datastore_file(lock=False)
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Remove it and its labels. Raises NotThereError for an unknown one."""
        self.get_image_uri(image_id)
        super().remove_image(image_id)
        self.refresh()

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove it. Raises NotThereError if there is none."""
        Path(self.get_label_uri(label_id, label_tag)).unlink()
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
