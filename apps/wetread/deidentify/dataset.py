"""De-identifying objects by PS3.15 Annex E: every attribute of the table, however deep it lies.

Beyond the table go: private attributes, attributes that no dictionary knows, overlays and curves as
a whole, the text of structured reports but for what names an algorithm, every UID that is none of
the standard's own, and dates and times that the table does not name.
"""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

from wetread import __version__
from wetread.config import DeidentifyConfig
from wetread.deidentify import profile
from wetread.deidentify.profile import action, options_of, row_of
from wetread.deidentify.pseudonyms import Pseudonyms
from wetread.deidentify.values import DUMMY_TEXT, dummy, moved
from wetread.dicom.opening import PARSING_ERRORS
from wetread.errors import InputError, UnsupportedSeriesError

_STANDARD_ROOT = "1.2.840.10008."
# What these UIDs name is the same for everybody.
_PUBLIC = ("SOPClass", "TransferSyntax", "CodingScheme", "ContextUID", "MappingResource")
_DATES = ("DA", "DT", "TM")
_TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."
# Secondary Capture, ultrasound, endoscopy and photographs: text often stands in the picture.
_PICTURES = tuple(
    "1.2.840.10008.5.1.4.1.1." + each for each in ("7", "3.1", "6.", "77.1.", "12.77")
)
# Concepts whose text is a product's name: Algorithm Name, Algorithm Version.
_SAFE_TEXT = {"111001", "111003"}
# Of annotations (PS3.3 C.10.5): values that the standard enumerates, and the name of a layer, which
# stands in the Graphic Layer Sequence, too, and there the table keeps it.
_NOBODYS_WORDS = {
    *("AnchorPointAnnotationUnits", "AnchorPointVisibility", "BoundingBoxAnnotationUnits"),
    *("BoundingBoxTextHorizontalJustification", "GraphicAnnotationUnits", "GraphicFilled"),
    *("GraphicLayer", "GraphicType"),
}
_DESCRIBED = {
    "keep": (profile.FULL_DATES, "UNMODIFIED"),
    "shift": (profile.MODIFIED_DATES, "MODIFIED"),
    "remove": (None, "REMOVED"),
}


class Deidentifier:
    """De-identifies objects, each by itself and all alike. Raises ConfigError for the key."""

    def __init__(self, config: DeidentifyConfig) -> None:
        self._config = config
        self.pseudonyms = Pseudonyms.from_file(config.key_file)
        self._options = options_of(config)

    def apply(self, original: Dataset, path: Path) -> Dataset:
        """A new object; the same for the same original, byte for byte.

        Raises UnsupportedSeriesError for what cannot be cleaned: documents, and pictures that may
        show who it is. Raises InputError if the object cannot be parsed.
        """
        self._check(original, path)
        identity = identity_of(original)
        cleaner = _Cleaner(self._options, self._config.dates, self.pseudonyms, identity)
        try:
            made = copy.deepcopy(original)
            made.remove_private_tags()
            cleaner.clean(made)
        except PARSING_ERRORS as error:
            raise InputError(
                f"{path.name}: cannot be de-identified: {error}", hint="ask for it again"
            ) from error
        self._describe(made, identity)
        made.file_meta = _file_meta(original, str(made.SOPInstanceUID))
        made.preamble = bytes(128)
        return made

    def _check(self, original: Dataset, path: Path) -> None:
        sop_class = str(original.get("SOPClassUID") or "")
        if sop_class.startswith(_DOCUMENTS):
            raise UnsupportedSeriesError(
                f"{path.name}: a document of any content cannot be de-identified",
                hint="leave it out",
            )
        if self._config.allow_burned_in:
            return
        burned_in = str(original.get("BurnedInAnnotation") or "")
        visible = str(original.get("RecognizableVisualFeatures") or "")
        if burned_in == "YES" or visible == "YES":
            what = "burned-in annotation" if burned_in == "YES" else "recognizable visual features"
            raise UnsupportedSeriesError(
                f"{path.name}: it says that it has {what}",
                hint="leave it out, or look at it and set allow_burned_in",
            )
        if burned_in != "NO" and _may_show_text(original, sop_class):
            raise UnsupportedSeriesError(
                f"{path.name}: it does not say whether text is burned in, as it often is there",
                hint="leave it out, or look at it and set allow_burned_in",
            )

    def _describe(self, made: Dataset, identity: tuple[str, str]) -> None:
        dates, said = _DESCRIBED[self._config.dates]
        used: list[Code] = [profile.BASIC, *([dates] if dates else [])]
        if "ContentSequence" in made:
            used.append(profile.STRUCTURED_CONTENT)
        used += sorted(self._options - {profile.STRUCTURED_CONTENT, dates} - set(used))
        made.PatientID = made.PatientName = self.pseudonyms.patient(*identity)
        made.PatientIdentityRemoved = "YES"
        made.DeidentificationMethod = f"wetread {__version__}, PS3.15 Annex E"
        made.DeidentificationMethodCodeSequence = Sequence(map(_code_item, used))
        made.LongitudinalTemporalInformationModified = said


class _Cleaner:
    """For the objects of one patient."""

    def __init__(
        self,
        options: frozenset[Code],
        dates: str,
        pseudonyms: Pseudonyms,
        identity: tuple[str, str],
    ) -> None:
        self._options, self._dates, self._pseudonyms = options, dates, pseudonyms
        self._back = -pseudonyms.shift(*identity)

    def clean(self, dataset: Dataset, *, all_text: bool = False) -> None:
        """In place. With `all_text` no text stays at all."""
        for tag in list(dataset.keys()):
            if tag.group in (0x0000, 0x0002) or tag.element == 0 or _is_foreign(tag):
                del dataset[tag]
                continue
            what = self._action(dataset, tag)
            if what == "X":
                del dataset[tag]
            elif what or _vr_of(dataset, tag) in ("SQ", "UI", *_DATES) or all_text:
                self._clean_element(dataset, tag, what, all_text=all_text)
        if "TextValue" in dataset:
            _clean_text(dataset)

    def _action(self, dataset: Dataset, tag: BaseTag) -> str:
        row = row_of(tag)
        if row is None:
            return ""
        what = action(row, self._options)
        # Of what options clean, only dates and sequences can be cleaned here.
        can = what != "C" or _vr_of(dataset, tag) in ("SQ", *_DATES)
        return what if can else action(row, frozenset())

    def _clean_element(self, dataset: Dataset, tag: BaseTag, what: str, *, all_text: bool) -> None:
        element = dataset[tag]
        if all_text and element.VR in _TEXT and element.keyword not in _NOBODYS_WORDS:
            element.value = DUMMY_TEXT
        elif element.VR == "SQ":
            self._clean_sequence(dataset, tag, what, all_text=all_text)
        elif element.VR == "UI":
            element.value = self._other_uids(element.keyword, element.value)
        elif what == "K" or element.is_empty:
            return
        elif element.VR in _DATES and what in ("", "C"):
            self._clean_time(dataset, tag)
        elif what == "Z":
            element.clear()
        elif what == "D":
            element.value = dummy(element.VR)

    def _clean_sequence(self, dataset: Dataset, tag: BaseTag, what: str, *, all_text: bool) -> None:
        if what == "Z":
            dataset[tag].value = Sequence()
            return
        for item in dataset[tag].value:
            # A dummy in the place of a sequence: the same, and nothing that somebody wrote.
            self.clean(item, all_text=all_text or what == "D")

    def _other_uids(self, keyword: str, value: object) -> object:
        if any(word in keyword for word in _PUBLIC):
            return value
        if isinstance(value, str):
            kept = not value or value.startswith(_STANDARD_ROOT)
            return value if kept else self._pseudonyms.uid(str(value))
        return [self._other_uids(keyword, each) for each in value or ()]  # type: ignore[attr-defined]

    def _clean_time(self, dataset: Dataset, tag: BaseTag) -> None:
        element = dataset[tag]
        if self._dates == "keep" or (self._dates == "shift" and element.VR == "TM"):
            return
        if self._dates == "remove":
            element.value = dummy(element.VR)
            return
        shift_dates(dataset, tag, self._back)


def identity_of(dataset: Dataset) -> tuple[str, str]:
    """Patient ID and its issuer, which make one patient's pseudonym."""
    return str(dataset.get("PatientID") or ""), str(dataset.get("IssuerOfPatientID") or "")


def shift_dates(dataset: Dataset, tag: BaseTag, days: timedelta) -> None:
    """Move a DA or DT element, each of its values."""
    element = dataset[tag]
    values = element.value if element.VM > 1 else [element.value]
    shifted = [moved(str(each), days) for each in values]
    element.value = shifted if element.VM > 1 else shifted[0]


def _clean_text(item: Dataset) -> None:
    """In structured content what people wrote goes; codes and numbers stay."""
    concept = (item.get("ConceptNameCodeSequence") or [Dataset()])[0]
    is_dicom = concept.get("CodingSchemeDesignator") == "DCM"
    if not (is_dicom and concept.get("CodeValue") in _SAFE_TEXT):
        item.TextValue = DUMMY_TEXT


def _is_foreign(tag: BaseTag) -> bool:
    if tag.is_private or tag.group & 0xFF00 in (0x5000, 0x6000):
        return True
    return not dictionary_has_tag(tag)


def _vr_of(dataset: Dataset, tag: BaseTag) -> str:
    vr = dataset.get_item(tag).VR
    return str(dictionary_VR(tag) if vr in (None, "UN") else vr)


def _may_show_text(original: Dataset, sop_class: str) -> bool:
    if "PixelData" not in original:
        return False
    kinds = {str(each).upper() for each in original.get("ImageType") or ()}
    captured = any("SCREEN" in each for each in kinds)
    return sop_class.startswith(_PICTURES) or "ConversionType" in original or captured


def _code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning[:64]
    return item


def _file_meta(original: Dataset, sop_instance_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = original.SOPClassUID
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = original.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return meta
