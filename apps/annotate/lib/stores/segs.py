"""The Segmentations of an archive: which image each is of, and which of them readers drew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicomweb_client import DICOMwebClient
from pydicom import Dataset

from lib.bundles import Bundle
from lib.stores.naming import segment_named
from lib.stores.seg import MANUFACTURER


@dataclass(frozen=True)
class StoredSeg:
    """One Segmentation, without its pixels; `moment` is its Content Date and Time."""

    study: str
    series: str
    instance: str
    image_series: str
    moment: str
    labels: tuple[str, ...]
    creator: str
    manufacturer: str
    model_name: str

    @property
    def is_proposal(self) -> bool:
        """Whether the gateway made it: both names in its header are wetread's."""
        return self.manufacturer == self.model_name == MANUFACTURER

    def bundle(self, bundles: Iterable[Bundle]) -> Bundle | None:
        """The first bundle that has all of its segments; None for what is another's business."""
        fitting = (
            each
            for each in bundles
            if each.segments and all(segment_named(each, label) for label in self.labels)
        )
        return next(fitting, None)


class SegIndex:
    """What the archive says of its Segmentations; each is asked for once."""

    def __init__(self, client: DICOMwebClient) -> None:
        self._client = client
        self._known: dict[tuple[str, str], tuple[StoredSeg, ...]] = {}

    def all(self) -> list[StoredSeg]:
        """Every Segmentation that is there now, oldest first."""
        found: list[StoredSeg] = []
        here: dict[tuple[str, str], tuple[StoredSeg, ...]] = {}
        for entry in self._client.search_for_series(
            search_filters={"Modality": "SEG"},
            fields=["NumberOfSeriesRelatedInstances"],
            get_remaining=True,
        ):
            series = Dataset.from_json(entry)
            # A series grows; an instance never changes.
            count = str(series.get("NumberOfSeriesRelatedInstances", ""))
            key = (str(series.SeriesInstanceUID), count)
            here[key] = self._known.get(key) or self._ask(series)
            found += here[key]
        self._known = here
        return sorted(found, key=lambda each: (each.moment, each.instance))

    def newest(self, bundles: Mapping[str, Bundle], *, proposals: bool) -> dict[str, StoredSeg]:
        """Image series → the newest that readers drew, or that the gateway proposed."""
        return {
            each.image_series: each
            for each in self.all()
            if each.is_proposal == proposals and each.bundle(bundles.values())
        }

    def _ask(self, series: Dataset) -> tuple[StoredSeg, ...]:
        answer = self._client.retrieve_series_metadata(
            str(series.StudyInstanceUID), str(series.SeriesInstanceUID)
        )
        datasets = (Dataset.from_json(entry) for entry in answer)
        return tuple(_stored(each) for each in datasets if each.get("ReferencedSeriesSequence"))


def _stored(dataset: Dataset) -> StoredSeg:
    return StoredSeg(
        study=str(dataset.StudyInstanceUID),
        series=str(dataset.SeriesInstanceUID),
        instance=str(dataset.SOPInstanceUID),
        image_series=str(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID),
        moment=f"{dataset.get('ContentDate', '')}{dataset.get('ContentTime', '')}",
        labels=tuple(str(each.SegmentLabel) for each in dataset.SegmentSequence),
        creator=str(dataset.get("ContentCreatorName", "")),
        manufacturer=str(dataset.get("Manufacturer", "")),
        model_name=str(dataset.get("ManufacturerModelName", "")),
    )
