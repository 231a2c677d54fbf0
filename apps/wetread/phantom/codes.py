"""What each structure is called in DICOM: SNOMED CT codes of PS3.16, and a colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.sr.coding import Code

from wetread.dicom import terms
from wetread.phantom.anatomy import Anatomy
from wetread.results import Segment

HEAD = Code("69536005", "SCT", "Head")
CHEST = Code("816094009", "SCT", "Chest")
SKIN = Code("39937001", "SCT", "Skin")
SUBCUTANEOUS_TISSUE = Code("71966008", "SCT", "Subcutaneous tissue")
SKULL = Code("89546000", "SCT", "Skull")
CEREBROSPINAL_FLUID = Code("65216001", "SCT", "Cerebrospinal Fluid")
GREY_MATTER = Code("40146001", "SCT", "Cerebral Gray Matter")
WHITE_MATTER = Code("68523003", "SCT", "Cerebral White Matter")
DEEP_GREY_MATTER = Code("42695009", "SCT", "Thalamus")
LATERAL_VENTRICLE = Code("66720007", "SCT", "Lateral Ventricle")
THIRD_VENTRICLE = Code("49841001", "SCT", "Third ventricle")
MUSCLE = Code("71616004", "SCT", "Muscle")
LUNG = Code("39607008", "SCT", "Lung")
HEART = Code("80891009", "SCT", "Heart")
AORTA = Code("113262008", "SCT", "Thoracic aorta")
LIVER = Code("10200004", "SCT", "Liver")
STOMACH = Code("69695003", "SCT", "Stomach")
TRACHEA = Code("44567001", "SCT", "Trachea")
SPINE = Code("421060004", "SCT", "Spine")
RIB = Code("113197003", "SCT", "Rib")
STERNUM = Code("56873002", "SCT", "Sternum")
CLAVICLE = Code("51299004", "SCT", "Clavicle")
LESION = Code("52988006", "SCT", "Lesion")
CYST = Code("367643001", "SCT", "Cyst")
OEDEMA = Code("79654002", "SCT", "Edema")
HAEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")
NODULE = Code("27925004", "SCT", "Nodule")
POSTERO_ANTERIOR = Code("272479007", "SCT", "postero-anterior")


@dataclass(frozen=True, slots=True)
class Kind:
    """Category and type of a segment, and its colour in CIELab."""

    category: Code
    type: Code
    cielab: tuple[float, float, float]


_ANATOMY, _TISSUE = terms.ANATOMICAL_STRUCTURE, terms.TISSUE
_ABNORMAL = terms.MORPHOLOGICALLY_ABNORMAL_STRUCTURE
STRUCTURES: Mapping[str, Kind] = {
    "skin": Kind(_TISSUE, SKIN, (75.0, 18.0, 25.0)),
    "fat": Kind(_TISSUE, SUBCUTANEOUS_TISSUE, (85.0, 2.0, 55.0)),
    "skull": Kind(_ANATOMY, SKULL, (90.0, 2.0, 14.0)),
    "cerebrospinal fluid": Kind(_TISSUE, CEREBROSPINAL_FLUID, (60.0, -5.0, -40.0)),
    "cortical grey matter": Kind(_TISSUE, GREY_MATTER, (55.0, 5.0, 5.0)),
    "white matter": Kind(_TISSUE, WHITE_MATTER, (88.0, 0.0, 5.0)),
    "deep grey matter": Kind(_ANATOMY, DEEP_GREY_MATTER, (50.0, 30.0, -30.0)),
    "lateral ventricles": Kind(_ANATOMY, LATERAL_VENTRICLE, (55.0, -20.0, -45.0)),
    "third ventricle": Kind(_ANATOMY, THIRD_VENTRICLE, (45.0, -10.0, -50.0)),
    "skin and fat": Kind(_TISSUE, SUBCUTANEOUS_TISSUE, (85.0, 2.0, 55.0)),
    "muscle": Kind(_TISSUE, MUSCLE, (45.0, 45.0, 25.0)),
    "left lung": Kind(_ANATOMY, LUNG, (70.0, 30.0, -5.0)),
    "right lung": Kind(_ANATOMY, LUNG, (75.0, 20.0, -15.0)),
    "heart": Kind(_ANATOMY, HEART, (50.0, 65.0, 45.0)),
    "great vessels": Kind(_ANATOMY, AORTA, (45.0, 70.0, 55.0)),
    "liver": Kind(_ANATOMY, LIVER, (45.0, 35.0, 35.0)),
    "stomach": Kind(_ANATOMY, STOMACH, (65.0, 25.0, 20.0)),
    "trachea": Kind(_ANATOMY, TRACHEA, (80.0, -25.0, -10.0)),
    "spine": Kind(_ANATOMY, SPINE, (85.0, 5.0, 30.0)),
    "ribs": Kind(_ANATOMY, RIB, (88.0, 2.0, 20.0)),
    "sternum": Kind(_ANATOMY, STERNUM, (82.0, 5.0, 22.0)),
    "clavicles": Kind(_ANATOMY, CLAVICLE, (80.0, 8.0, 28.0)),
}
LESIONS: Mapping[str, Code] = {
    "cyst": CYST,
    "oedema": OEDEMA,
    "haemorrhage": HAEMORRHAGE,
    "calcification": LESION,
    "nodule": NODULE,
    "consolidation": LESION,
}
_LESION_COLOUR = (65.0, 60.0, 60.0)
REGIONS: Mapping[str, Code] = {"head": HEAD, "chest": CHEST}


def segments_of(anatomy: Anatomy) -> tuple[Segment, ...]:
    """One segment a structure, by label value; a lesion says its class in its label."""
    return tuple(_segment(anatomy, name, value) for value, name in enumerate(anatomy.names, 1))


def _segment(anatomy: Anatomy, name: str, value: int) -> Segment:
    label, region = name.capitalize(), None
    if name == "lesion" and anatomy.lesion is not None:
        kind = Kind(_ABNORMAL, LESIONS[anatomy.lesion.kind], _LESION_COLOUR)
        label, region = f"Lesion: {anatomy.lesion.kind}", _host(anatomy)
    else:
        kind = STRUCTURES[name]
    return Segment(value, value, label, kind.category, kind.type, kind.cielab, name, region)


def _host(anatomy: Anatomy) -> Code:
    """Where the lesion lies."""
    return STRUCTURES[anatomy.structures[-1].inside].type
