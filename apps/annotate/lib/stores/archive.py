"""A DICOMweb archive: images by SeriesInstanceUID, labels as Segmentations in it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dicomweb_client import DICOMwebClient
from monailabel.interfaces.datastore import Datastore

from lib.bundles import Bundle
from lib.errors import ArchiveError, DisagreementError, NotAllowedError, NotThereError
from lib.files import read_json, write_json
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
from lib.stores.drawn import proposed_here
from lib.stores.labels import Label, read_label
from lib.stores.outbox import Outbox
from lib.stores.safe import FINAL, ORIGINAL, safe_id, safe_tag
from lib.stores.seg import author_of, read_seg, write_seg
from lib.stores.segs import SegIndex, StoredSeg, drawing_of
from lib.stores.series import SeriesCache
from lib.stores.volume import read_grid, read_headers, write_nifti

_FACTS = ("StudyDate", "StudyTime", "Modality", "SeriesDescription", "StudyInstanceUID")
_IMAGES = ("Modality", "StudyInstanceUID", "SeriesDescription", "StudyDate", "StudyTime")


class ArchiveStore(Datastore):
    """Every list is asked for anew; files under `cache` are those of immutable UIDs.

    The label `final` of an image is one of the Segmentations that readers drew, whatever tool
    stored them, see `the_label`; `original` is the newest that the gateway proposed, or one that a
    batch left here.
    """

    def __init__(
        self,
        client: DICOMwebClient,
        cache: Path,
        bundles: Mapping[str, Bundle],
        modalities: tuple[str, ...],
        serial_number: str,
        team: Team,
    ) -> None:
        self._client = client
        self._cache = cache
        self._bundles = bundles
        self._cached = SeriesCache(client, cache, modalities)
        self._team = team
        self._serial_number = serial_number
        self._segs = SegIndex(client)
        self._outbox = Outbox(client, cache / "outbox")
        self._saving = threading.Lock()
        self._info = threading.Lock()

    def name(self) -> str:
        """The address of the archive."""
        return str(self._client.base_url)

    def set_name(self, name: str) -> None:
        """Refused: the archive has its own."""
        raise NotAllowedError("the archive cannot be renamed", hint=self.name())

    def description(self) -> str:
        """What it is."""
        return "a DICOMweb archive"

    def set_description(self, description: str) -> None:
        """Refused: the archive has its own."""
        raise NotAllowedError("the archive cannot be described", hint=self.name())

    def send_waiting(self) -> int:
        """Labels that a crash or an outage kept here. Raises ArchiveError as `Outbox.flush`."""
        with self._saving:
            return self._outbox.flush()

    def list_images(self) -> list[str]:
        """SeriesInstanceUIDs of the series that have pixels, of the chosen modalities."""
        return list(self._cached.all())

    def get_labeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Those with a final label; each once, however often it was saved."""
        drawn = self._labels()
        return [image for image in self._cached.all() if image in drawn]

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Those without one."""
        drawn = self._labels()
        return [image for image in self._cached.all() if image not in drawn]

    def get_image_uri(self, image_id: str) -> str:
        """The series as NIfTI, fetched once.

        Raises NotThereError for an unknown series, WrongImageError for one that is no volume.
        """
        return str(self._cached.image(image_id))

    def get_image(self, image_id: str, params: object = None) -> bytes:
        """The bytes of `get_image_uri`."""
        return Path(self.get_image_uri(image_id)).read_bytes()

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What the archive says of the series, and what strategies and people have added."""
        found = self._cached.facts(image_id)
        info = {keyword: str(found.get(keyword, "")) for keyword in _FACTS}
        added = read_json(self._info_file(image_id))
        return {**info, "SeriesInstanceUID": image_id, "name": image_id, **added}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is kept here of the series."""
        path = self._info_file(safe_id(image_id))
        with self._info:
            write_json(path, {**read_json(path), **info})

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tag → id of each label, which is the image's."""
        found = dict.fromkeys(self._local_tags(image_id), image_id)
        for tag in (FINAL, ORIGINAL):
            if self._newest(image_id, tag):
                found[tag] = image_id
        return found

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Empty if there is none."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """The label on the image's own grid, as NIfTI, in its bundle's values.

        Raises NotThereError if there is none, DisagreementError as `read_seg`.
        """
        image, tag = safe_id(label_id), safe_tag(label_tag)
        seg = self._newest(image, tag)
        if seg is not None:
            return str(self._fetched(image, seg))
        local = self._local_label(image, tag)
        if local.is_file():
            return str(local)
        raise NotThereError(f"no label {tag!r} of series {image}", hint="save or infer one first")

    def get_label(self, label_id: str, label_tag: str, params: object = None) -> bytes:
        """The bytes of `get_label_uri`."""
        return Path(self.get_label_uri(label_id, label_tag)).read_bytes()

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Who drew it, when, for which bundle."""
        image, tag = safe_id(label_id), safe_tag(label_tag)
        seg = self._newest(image, tag)
        if seg is None:
            return read_json(self._local_label(image, tag).with_suffix(".json"))
        kept = self._kept(seg)
        bundle = seg.bundle(self._bundles.values())
        return {
            "bundle": bundle.name if bundle else "",
            "annotator": seg.creator,
            "annotated_at": seg.moment,
            "SOPInstanceUID": seg.instance,
            "SeriesInstanceUID": seg.series,
            **kept,
        }

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is kept here of the label. Raises NotThereError if there is none."""
        image, tag = safe_id(label_id), safe_tag(label_tag)
        seg = self._newest(image, tag)
        path = (
            self._cache / "labels" / f"{seg.instance}.json"
            if seg
            else self._local_label(image, tag).with_suffix(".json")
        )
        if seg is None and not self._local_label(image, tag).is_file():
            raise NotThereError(f"no label {tag!r} of series {image}", hint="save one first")
        with self._info:
            write_json(path, {**read_json(path), **info})

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Store a final label as a Segmentation in the archive; others stay here.

        Raises NotThereError for an unknown series, ArchiveError if the archive does not take it (it
        is kept and sent later), and as `read_label`.
        """
        tag = safe_tag(label_tag)
        image = Path(self.get_image_uri(image_id))
        label = read_label(Path(label_filename), image, label_info, self._bundles)
        final = tag == FINAL and "consensus" not in label_info
        proposal = self._proposal(image_id, label) if final else NO_READER
        provenance = provenance_of(label, current_user(), label_info, proposal)
        if tag != FINAL:
            place = self._local_label(image_id, tag)
            write_nifti(label.labelmap, label.grid.affine_ras, place)
            write_json(place.with_suffix(".json"), provenance.as_info())
            return image_id
        author = author_of(provenance)
        sources = read_headers(self._cached.instances(image_id))
        made = write_seg(label.labelmap, label.bundle, sources, author, self._serial_number)
        write_json(self._cache / "labels" / f"{made.SOPInstanceUID}.json", provenance.as_info())
        self._team.reviews.saved(str(made.SOPInstanceUID), image_id, provenance.annotator)
        with self._saving:
            self._outbox.send(made)
        return image_id

    def drawings(self, image_id: str) -> list[Drawing]:
        """Every label of an image, the oldest first: what was proposed, and what was saved."""
        return self._with_local(image_id, self._by_image().get(image_id, []))

    def every_drawing(self) -> dict[str, list[Drawing]]:
        """Image → its labels."""
        found = self._by_image()
        return {each: self._with_local(each, found.get(each, [])) for each in self._cached.all()}

    def drawing_file(self, drawing: Drawing) -> Path:
        """Its labelmap, on its image's grid. Raises DisagreementError as `read_seg`."""
        if drawing.id == ORIGINAL:
            return self._local_label(drawing.image_id, ORIGINAL)
        segs = self._by_image().get(drawing.image_id, [])
        [seg] = [each for each in segs if each.id == drawing.id]
        return self._fetched(drawing.image_id, seg)

    def titles(self) -> dict[str, Title]:
        """How people know the series; nothing of the patient."""
        return self._cached.titles()

    def settle(self, image_id: str) -> None:
        """Nothing is kept that a review would change."""

    def _with_local(self, image_id: str, segs: Sequence[StoredSeg]) -> list[Drawing]:
        local = self._local_label(image_id, ORIGINAL)
        info = read_json(local.with_suffix(".json"))
        proposed = [proposed_here(image_id, info)] if local.is_file() else []
        return [*proposed, *(drawing_of(seg, self._kept(seg), self._bundles) for seg in segs)]

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove one that is kept here; what is in the archive is the archive's to remove.

        Raises NotAllowedError for such, NotThereError if there is none.
        """
        image, tag = safe_id(label_id), safe_tag(label_tag)
        if self._newest(image, tag):
            raise NotAllowedError(
                f"the label {tag!r} of series {image} is a Segmentation in the archive",
                hint="remove it there",
            )
        local = self._local_label(image, tag)
        if not local.is_file():
            raise NotThereError(f"no label {tag!r} of series {image}", hint="nothing to remove")
        local.unlink()
        local.with_suffix(".json").unlink(missing_ok=True)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refused: images reach an archive as DICOM."""
        raise NotAllowedError(
            "images cannot be added to an archive here", hint="send them to it: C-STORE or STOW-RS"
        )

    def remove_image(self, image_id: str) -> None:
        """Refused: it is the archive's."""
        raise NotAllowedError("images cannot be removed here", hint="remove it in the archive")

    def refresh(self) -> None:
        """Nothing is kept that could be old."""

    def cases(self, bundle: str) -> Cases:
        """Every image with a final label of that bundle, fetched."""
        chosen = {name: each for name, each in self._bundles.items() if name == bundle}
        drawn = self._labels(chosen)

        def opened(image_id: str) -> Case:
            image = Path(self.get_image_uri(image_id))
            label = self._fetched(image_id, drawn[image_id])
            return Case(image_id, image, label, self.get_label_info(image_id, FINAL))

        return collect((each for each in self._cached.all() if each in drawn), opened)

    def datalist(self, full_path: bool = True) -> list[dict[str, str]]:
        """Image and final label of each labelled series, on one grid."""
        return [
            {"image": self.get_image_uri(image), "label": self.get_label_uri(image, FINAL)}
            for image in self.get_labeled_images()
        ]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A ZIP file of all of `datalist`."""
        every = [
            Case(Path(each["image"]).name, Path(each["image"]), Path(each["label"]), {})
            for each in self.datalist()
        ]
        return archive_of(every, limit_cases)

    def status(self) -> dict[str, Any]:
        """Counts of series, not of Segmentations."""
        series = self._cached.all()
        drawn = self._labels()
        proposed = self._proposals()
        final = sum(image in drawn for image in series)
        original = sum(image in proposed for image in series)
        return {
            "total": len(series),
            "completed": final,
            "label_tags": {FINAL: final, ORIGINAL: original},
            "waiting_to_be_sent": len(self._outbox),
        }

    def json(self) -> dict[str, Any]:
        """Every series with its labels, in the shape of MONAI Label's folder."""
        drawn = self._labels()
        objects = {
            image: {
                "image": {"ext": ".nii.gz", "info": {k: str(v.get(k, "")) for k in _IMAGES}},
                "labels": {FINAL: {"ext": ".nii.gz", "info": {}}} if image in drawn else {},
            }
            for image, v in self._cached.all().items()
        }
        return {"name": self.name(), "description": self.description(), "objects": objects}

    def _newest(self, image_id: str, tag: str) -> StoredSeg | None:
        if tag not in (FINAL, ORIGINAL):
            return None
        found = self._labels() if tag == FINAL else self._proposals()
        return found.get(image_id)

    def _by_image(self, bundles: Mapping[str, Bundle] | None = None) -> dict[str, list[StoredSeg]]:
        chosen = self._bundles if bundles is None else bundles
        return self._cached.asked(lambda: self._segs.by_image(chosen))

    def _labels(self, bundles: Mapping[str, Bundle] | None = None) -> dict[str, StoredSeg]:
        """Image → its label, of those bundles."""
        last = self._team.reviews.last()
        chosen = {image: the_label(segs, last) for image, segs in self._by_image(bundles).items()}
        return {image: seg for image, seg in chosen.items() if seg is not None}

    def _proposals(self, bundles: Mapping[str, Bundle] | None = None) -> dict[str, StoredSeg]:
        """Image → the newest that the gateway proposed."""
        segs = [each for found in self._by_image(bundles).values() for each in found]
        return {each.image_series: each for each in segs if each.is_proposal}

    def _kept(self, seg: StoredSeg) -> dict[str, Any]:
        """The provenance of one that was saved through this server; empty of another tool's."""
        return read_json(self._cache / "labels" / f"{seg.instance}.json")

    def _proposal(self, image_id: str, label: Label) -> Proposal | str:
        """What the reader of a label began with."""
        bundle = label.bundle
        found = self._team.proposals.of(image_id, current_user(), bundle)
        if isinstance(found, Proposal):
            return found
        try:
            seg = self._proposals({bundle.name: bundle}).get(image_id)
            if seg is None:
                local = self._local_label(image_id, ORIGINAL)
                info = read_json(local.with_suffix(".json"))
                return original(local, info, bundle) if info.get("bundle") == bundle.name else found
            file = self._fetched(image_id, seg)
        except (DisagreementError, ArchiveError) as error:
            # The reader's label is kept also while the archive is down.
            return f"{found}, and what the gateway proposed cannot be used: {error.message}"
        facts = (seg.algorithm or bundle.name, seg.algorithm_version, seg.weights_sha256)
        return Proposal(file, "original", *facts, at=seg.iso_moment)

    def _fetched(self, image_id: str, seg: StoredSeg) -> Path:
        """The Segmentation on the image's grid; a SOP Instance UID never names two contents."""
        place = self._cache / "labels" / f"{seg.instance}.nii.gz"
        bundle = seg.bundle(self._bundles.values())
        if not place.is_file() and bundle is not None:
            dataset = self._cached.asked(
                lambda: self._client.retrieve_instance(seg.study, seg.series, seg.instance)
            )
            grid = read_grid(Path(self.get_image_uri(image_id)))
            write_nifti(read_seg(dataset, grid, bundle).astype(np.uint8), grid.affine_ras, place)
        return place

    def _info_file(self, image_id: str) -> Path:
        return self._cache / "info" / f"{safe_id(image_id)}.json"

    def _local_label(self, image_id: str, tag: str) -> Path:
        return self._cache / "local" / tag / f"{image_id}.nii.gz"

    def _local_tags(self, image_id: str) -> list[str]:
        return sorted(each.parent.name for each in self._cache.glob(f"local/*/{image_id}.nii.gz"))
