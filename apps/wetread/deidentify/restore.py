"""Results that came back for de-identified images, as results of the originals.

With the key, the pseudonyms of the originals are derived again: what is found in a result is put
back. Nothing else has to be kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from wetread.deidentify.dataset import identity_of, shift_dates
from wetread.deidentify.pseudonyms import Pseudonyms
from wetread.errors import InputError
from wetread.uids import derived_uid

_PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SAYS_SO = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)


class Reidentifier:
    """Knows the originals, by their pseudonyms."""

    def __init__(self, pseudonyms: Pseudonyms, originals: Iterable[Dataset]) -> None:
        self._pseudonyms = pseudonyms
        self._uids: dict[str, str] = {}
        self._studies: dict[str, Dataset] = {}
        for each in originals:
            self._studies.setdefault(pseudonyms.uid(str(each.StudyInstanceUID)), each)
            each.walk(lambda dataset, element: self._learn(element.VR, element.value))

    def _learn(self, vr: str, value: object) -> None:
        if vr == "UI":
            for uid in value if isinstance(value, MultiValue) else [value]:
                self._uids[self._pseudonyms.uid(str(uid))] = str(uid)

    def apply(self, results: Mapping[Path, Dataset]) -> Mapping[Path, Dataset]:
        """New objects, in which the originals' UIDs, patient, study and dates stand again.

        An object of somebody else gets another SOP Instance UID, since its content is another, and
        so does what refers to it. Raises InputError for a study that is not among the originals.
        """
        new = {
            str(uid): derived_uid("reidentified", str(uid))
            for each in results.values()
            for uid in (each.SOPInstanceUID, each.SeriesInstanceUID)
            if str(uid) not in self._uids
        }
        known = {**new, **self._uids}
        return {path: self._restored(each, known, path) for path, each in results.items()}

    def _restored(self, result: Dataset, known: Mapping[str, str], path: Path) -> Dataset:
        original = self._studies.get(str(result.StudyInstanceUID))
        if original is None:
            raise InputError(
                f"{path.name}: its study is none of the originals, under this key",
                hint="give the images that were de-identified, and the key that was used",
            )
        made = copy.deepcopy(result)
        made.decode()
        if made.get("LongitudinalTemporalInformationModified") == "MODIFIED":
            days = self._pseudonyms.shift(*identity_of(original))
            made.walk(
                lambda dataset, element: (
                    shift_dates(dataset, element.tag, days)
                    if element.VR in ("DA", "DT") and not element.is_empty
                    else None
                )
            )
        made.walk(lambda dataset, element: _put_back(element, known))
        for keyword in _PATIENT_AND_STUDY:
            made.pop(keyword, None)
            if keyword in original:
                setattr(made, keyword, copy.deepcopy(original[keyword].value))
        for keyword in _SAYS_SO:
            made.pop(keyword, None)
        # Names of the original may need characters that the result's own set lacks.
        made.SpecificCharacterSet = "ISO_IR 192"
        made.file_meta = copy.deepcopy(result.file_meta)
        made.file_meta.MediaStorageSOPInstanceUID = UID(str(made.SOPInstanceUID))
        return made


def _put_back(element: DataElement, known: Mapping[str, str]) -> None:
    if element.VR == "UI" and element.value:
        value = element.value
        several = isinstance(value, MultiValue)
        back = [known.get(str(each), str(each)) for each in (value if several else [value])]
        element.value = back if several else back[0]
