"""The Segmentations of an archive: which image each is of, and which of them readers drew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicomweb_client import DICOMwebClient
from pydicom import Dataset

from lib.bundles import Bundle
from lib.people.drawings import Drawing
from lib.stores.drawn import UNKNOWN
from lib.stores.naming import segment_named
from lib.stores.seg import CONSENSUS, MANUFACTURER, MODEL_NAME

_WEIGHTS = re.compile(r"weights_sha256=([0-9a-f]{64})")


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
    content_label: str = ""
    algorithm: str = ""
    algorithm_version: str = ""
    weights_sha256: str = ""

    @property
    def id(self) -> str:
        """What its reviews are kept under."""
        return self.instance

    @property
    def iso_moment(self) -> str:
        """`moment` to the second, as ISO 8601; empty if the object does not say it."""
        whole = self.moment.partition(".")[0]
        try:
            return datetime.strptime(whole, "%Y%m%d%H%M%S").isoformat()  # noqa: DTZ007 - as told
        except ValueError:
            return ""

    @property
    def is_consensus(self) -> bool:
        """Whether an annotation server made it of several readers' labels."""
        ours = (self.manufacturer, self.model_name) == (MANUFACTURER, MODEL_NAME)
        return ours and self.content_label == CONSENSUS

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

    def by_image(self, bundles: Mapping[str, Bundle]) -> dict[str, list[StoredSeg]]:
        """Image series → those of these bundles, oldest first."""
        found: dict[str, list[StoredSeg]] = {}
        for each in self.all():
            if each.bundle(bundles.values()):
                found.setdefault(each.image_series, []).append(each)
        return found

    def _ask(self, series: Dataset) -> tuple[StoredSeg, ...]:
        answer = self._client.retrieve_series_metadata(
            str(series.StudyInstanceUID), str(series.SeriesInstanceUID)
        )
        datasets = (Dataset.from_json(entry) for entry in answer)
        return tuple(_stored(each) for each in datasets if each.get("ReferencedSeriesSequence"))


def drawing_of(seg: StoredSeg, kept: Mapping[str, Any], bundles: Mapping[str, Bundle]) -> Drawing:
    """As reviewers see it; `kept` is its provenance, if it was saved through this server."""
    bundle = seg.bundle(bundles.values())
    creator = seg.algorithm if seg.is_proposal else seg.creator or seg.manufacturer
    return Drawing(
        id=seg.instance,
        image_id=seg.image_series,
        bundle=bundle.name if bundle else "",
        annotator=str(kept.get("annotator") or creator or UNKNOWN),
        at=str(kept.get("annotated_at") or seg.iso_moment),
        is_proposal=seg.is_proposal,
        is_consensus=seg.is_consensus,
        readers=tuple((kept.get("consensus") or {}).get("readers", ())),
        info=kept,
    )


def _stored(dataset: Dataset) -> StoredSeg:
    told = dataset.SegmentSequence[0].get("SegmentationAlgorithmIdentificationSequence")
    algorithm = told[0] if told else Dataset()
    weights = _WEIGHTS.search(str(algorithm.get("AlgorithmParameters", "")))
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
        content_label=str(dataset.get("ContentLabel", "")),
        algorithm=str(algorithm.get("AlgorithmName", "")),
        algorithm_version=str(algorithm.get("AlgorithmVersion", "")),
        weights_sha256=weights[1] if weights else "",
    )
