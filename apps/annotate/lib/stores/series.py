"""The series of an archive: what is said of each, and its instances, kept here once fetched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset

from lib.errors import ArchiveError, NotThereError
from lib.stores.base import Title
from lib.stores.safe import safe_id
from lib.stores.volume import write_volume

# Series of these hold no voxels to annotate.
NOT_IMAGES = {"SEG", "SR", "PR", "KO", "DOC", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "ECG", "AU"}
T = TypeVar("T")


class SeriesCache:
    """Every list is asked for anew; files under `cache` are those of immutable UIDs."""

    def __init__(self, client: DICOMwebClient, cache: Path, modalities: tuple[str, ...]) -> None:
        self._client = client
        self._cache = cache
        self._modalities = modalities

    def asked(self, ask: Callable[[], T]) -> T:
        """Its answer. Raises ArchiveError if the archive does not answer."""
        try:
            return ask()
        except requests.RequestException as error:
            raise ArchiveError(
                f"the archive {self._client.base_url} does not answer: {error}",
                hint="is it up? Try again",
            ) from error

    def all(self) -> dict[str, Dataset]:
        """SeriesInstanceUID → what QIDO-RS says of the series (PS3.18 10.6)."""
        wanted = [{"Modality": each} for each in self._modalities] or [{}]
        found: dict[str, Dataset] = {}
        for filters in wanted:
            answer = self.asked(
                lambda filters=filters: self._client.search_for_series(  # type: ignore[misc]
                    search_filters=filters, fields=["SeriesDescription"], get_remaining=True
                )
            )
            for entry in answer:
                series = Dataset.from_json(entry)
                if str(series.get("Modality", "")) not in NOT_IMAGES:
                    found[str(series.SeriesInstanceUID)] = series
        return found

    def titles(self) -> dict[str, Title]:
        """How people know each; nothing of the patient."""
        return {image: _title(series) for image, series in self.all().items()}

    def facts(self, image_id: str) -> Dataset:
        """What the archive says of one. Raises NotThereError for an unknown one."""
        answer = self.asked(
            lambda: self._client.search_for_series(
                search_filters={"SeriesInstanceUID": safe_id(image_id)},
                fields=["SeriesDescription"],
            )
        )
        same = (Dataset.from_json(entry) for entry in answer)
        for series in same:
            if str(series.SeriesInstanceUID) == image_id:
                return series
        raise NotThereError(f"no series {image_id} in the archive", hint=str(self._client.base_url))

    def instances(self, image_id: str) -> Path:
        """The folder with every instance of a series, whole or not there."""
        folder = self._cache / "series" / image_id
        if folder.is_dir():
            return folder
        study = str(self.facts(image_id).StudyInstanceUID)
        instances = self.asked(lambda: self._client.retrieve_series(study, image_id))
        folder.parent.mkdir(parents=True, exist_ok=True)
        whole = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        for each in instances:
            each.save_as(whole / f"{each.SOPInstanceUID}.dcm")
        try:
            whole.rename(folder)
        except OSError:
            # Another request was quicker: a folder is not replaced by another.
            shutil.rmtree(whole)
            if not folder.is_dir():
                raise
        return folder

    def image(self, image_id: str) -> Path:
        """The series as NIfTI. Raises WrongImageError for one that is no volume."""
        file = self._cache / "images" / f"{safe_id(image_id)}.nii.gz"
        if not file.is_file():
            write_volume(self.instances(image_id), file)
        return file


def _title(series: Dataset) -> Title:
    facts = ("Modality", "SeriesDescription", "StudyDate")
    text = " · ".join(filter(None, (str(series.get(each) or "") for each in facts)))
    return Title(text, f"/ohif/viewer?StudyInstanceUIDs={series.StudyInstanceUID}")
