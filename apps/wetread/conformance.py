"""The DICOM conformance statement (PS3.2), from the tables that the code itself goes by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.pixels.decoders.base import get_decoder
from pydicom.sr.coding import Code
from pydicom.uid import UID, JPEGExtended12Bit

from wetread import __version__
from wetread.config import DicomDestination, DicomwebDestination
from wetread.config import ListenerConfig as Listener
from wetread.dicom import terms
from wetread.dicom.commitment import COMMITMENT_SOP_CLASS
from wetread.dicom.headers import CLASSIC, ENHANCED, PROJECTION
from wetread.dicom.network import (
    CONTEXTS_PER_ASSOCIATION,
    LABEL_MAP_SEGMENTATION,
    MAXIMUM_PDU_BYTES,
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
    VERIFICATION_SOP_CLASS,
)
from wetread.dicom.pdf import ENCAPSULATED_PDF_STORAGE
from wetread.dicom.pm import PARAMETRIC_MAP_STORAGE
from wetread.dicom.pr import GRAYSCALE_SOFTCOPY_PRESENTATION_STATE
from wetread.dicom.retrieve import (
    RETRIEVE_FAILURES,
    STUDY_ROOT_FIND,
    STUDY_ROOT_MOVE,
    retrieve_status,
)
from wetread.dicom.rtstruct import RT_STRUCTURE_SET_STORAGE
from wetread.dicom.sc import SECONDARY_CAPTURE
from wetread.dicom.seg import SEGMENTATION_STORAGE
from wetread.dicom.sr import COMPREHENSIVE_3D_SR
from wetread.dicom.tls import CIPHERS
from wetread.errors import (
    ERROR_CODES,
    InputError,
    LedgerError,
    MissingAttributeError,
    StorageError,
    WetreadError,
)
from wetread.pull.query import Wanted, instance_identifier
from wetread.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_UNENCODED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RESULTS = (
    (SEGMENTATION_STORAGE, "masks: BINARY, a frame for each slice with a segment"),
    (COMPREHENSIVE_3D_SR, "measurements and findings: TID 1500, preliminary, unverified"),
    (SECONDARY_CAPTURE, "pictures for a person: RGB, not for diagnostic use"),
    (PARAMETRIC_MAP_STORAGE, "what speaks for a finding, 0 to 1: float"),
    (RT_STRUCTURE_SET_STORAGE, "masks as contours: CLOSED_PLANAR, holes by keyhole, unapproved"),
    (GRAYSCALE_SOFTCOPY_PRESENTATION_STATE, "outlines, names, sizes and findings over the images"),
    (
        ENCAPSULATED_PDF_STORAGE,
        "a report for a person: PDF/A-2u, unverified, without a patient's name",
    ),
)
_FAILURES: tuple[tuple[type[WetreadError], str], ...] = (
    (StorageError, "the disk is short of `min_free_bytes`, or cannot be written"),
    (LedgerError, "the database does not answer; nothing is kept of this instance"),
    (MissingAttributeError, "an identifying attribute is absent or empty"),
    (InputError, "the data set cannot be read, or is another than the request says"),
    (WetreadError, "anything else"),
)
_TEMPLATES = (
    ("1500", "Measurement Report", "the root"),
    ("1204", "Language of Content Item and Descendants", "English"),
    ("1001", "Observation Context", "a device observer, TID 1004"),
    (
        "1411",
        "Volumetric ROI Measurements",
        "a segment: volume, mean, deviation, outlines",
    ),
    ("1501", "Measurement Group", "a finding; a segment of a projection; one that is absent"),
    ("4019", "Algorithm Identification", "the model, its version and the SHA-256 of its weights"),
)


def statement() -> str:
    """The statement as Markdown."""
    parts = (
        _overview(),
        _received(),
        _understood(),
        _sent(),
        _asked(),
        _associations(),
        _web(),
        _content(),
        _security(),
    )
    return "\n".join(parts)


def _overview() -> str:
    rows = [
        ("Verification", VERIFICATION_SOP_CLASS, "yes", "yes"),
        (f"Storage ({len(STORAGE_SOP_CLASSES)} SOP classes)", "see below", "results", "yes"),
        (
            "Storage Commitment Push Model",
            COMMITMENT_SOP_CLASS,
            "of results",
            "of what was received",
        ),
        ("Study Root Query/Retrieve - FIND", STUDY_ROOT_FIND, "of archives", "no"),
        ("Study Root Query/Retrieve - MOVE", STUDY_ROOT_MOVE, "to the listener", "no"),
    ]
    return _lines(
        "# DICOM conformance statement",
        f"Of wetread {__version__}, by PS3.2. `wetread conformance` prints it from the tables",
        "that the program itself goes by.",
        "",
        "wetread receives studies, reads the series that its rules name with the models that",
        "they name, and sends what was found. Results are preliminary and say that they are not",
        "for diagnostic use. Nothing that was received is changed, and no image is sent on.",
        "",
        _table(("service", "SOP class", "SCU", "SCP"), rows),
        "",
        f"Implementation Class UID `{IMPLEMENTATION_CLASS_UID}`, version name",
        f"`{IMPLEMENTATION_VERSION_NAME}`.",
    )


def _received() -> str:
    rows = [("0000", "written to disk and recorded in the ledger")]
    rows += [(f"{ERROR_CODES[error].store_status:04X}", when) for error, when in _FAILURES]
    classes = sorted(STORAGE_SOP_CLASSES, key=lambda uid: (_named(uid), uid))
    return _lines(
        "## Storage as an SCP",
        "Each SOP class below in each transfer syntax below, at level 2 (full): every element",
        "is kept, byte for byte, as it came. Others, private ones too, if",
        "`listener.private_sop_classes` names them. A success is said once the instance is on",
        "disk. Elements are not coerced. The same bytes again are a success and change nothing.",
        "",
        _table(("status", "when"), rows),
        "",
        "### Transfer syntaxes",
        "*Read* says whether a model can be given such an image; all are received.",
        "",
        _table(
            ("transfer syntax", "UID", "read"),
            [(UID(uid).name, uid, _read(uid)) for uid in TRANSFER_SYNTAXES],
        ),
        "",
        "### SOP classes",
        _table(("SOP class", "UID"), [(_named(uid), uid) for uid in classes]),
    )


def _understood() -> str:
    rows = [
        (_named(uid), uid, modality, kind)
        for kind, classes in (
            ("slices form one regular volume", CLASSIC),
            ("frames form one regular volume", ENHANCED),
            ("one projection", PROJECTION),
        )
        for uid, modality in classes.items()
    ]
    return _lines(
        "## What models read",
        "Of the stored instances, those of these classes; the others are kept and left alone.",
        "",
        _table(("SOP class", "UID", "modality", "condition"), rows),
    )


def _sent() -> str:
    return _lines(
        "## Storage as an SCU",
        "Results, in Explicit VR Little Endian; a destination says by `send` which of them it",
        "wants. Sent again they have the same bytes and the same UIDs.",
        "",
        _table(
            ("SOP class", "UID", "what it says"),
            [(_named(uid), uid, what) for uid, what in _RESULTS],
        ),
        "",
        "A success or a warning of PS3.4 B.2.3 is a delivery; A7xx, an abort, a refused",
        "connection and a silence are tried again; any other status is not. With `commitment` a",
        "destination is asked to keep what it got (N-ACTION), and its N-EVENT-REPORT is taken",
        "on the same or on another association.",
    )


def _asked() -> str:
    example = Wanted(modality="MR")
    identifiers = (
        example.study_identifier(),
        example.series_identifier(""),
        instance_identifier("", ""),
    )
    rows = [
        (str(each.QueryRetrieveLevel), element.name, str(element.tag))
        for each in identifiers
        for element in each
    ]
    statuses = [
        (f"{code:04X}", *retrieve_status(code)) for code in sorted({*RETRIEVE_FAILURES, 0xC000})
    ]
    return _lines(
        "## Query and retrieve as an SCU",
        "`wetread pull` asks by baseline behaviour, without relational queries, in the default",
        "character set or, if a condition needs it, in ISO_IR 192. Range matching for the date,",
        "wildcards for descriptions and the Patient ID. Matches are looked at again, since an",
        "optional key may be ignored. C-MOVE names a whole study, or its series one by one; a",
        "C-CANCEL is sent when a person stops the command.",
        "",
        _table(("level", "key", "tag"), rows),
        "",
        _table(("failure", "meaning", "what a person is told"), statuses),
    )


def _associations() -> str:
    listener = Listener()
    to = DicomDestination(kind="dicom", host="pacs", port=104, called_ae_title="PACS")
    rows = [
        ("AE title", listener.ae_title, to.calling_ae_title),
        ("port", listener.port, "that of the destination"),
        ("associations at once", listener.max_associations, f"{to.max_concurrent} a destination"),
        ("largest PDU that is taken, bytes", MAXIMUM_PDU_BYTES, MAXIMUM_PDU_BYTES),
        ("presentation contexts", CONTEXTS_PER_ASSOCIATION, "one for each class that is sent"),
        ("asynchronous operations", "none", "none"),
        ("ends an idle association after, s", f"{listener.idle_timeout_seconds:g}", "at once"),
        (
            "waits for a message, s",
            f"{listener.dimse_timeout_seconds:g}",
            f"{to.timeout_seconds:g}",
        ),
        ("who", "callers in `accept_calling_ae_titles`, by title and address", "—"),
    ]
    return _lines(
        "## Associations",
        "Defaults; every one of them is a key of `wetread.toml`.",
        "",
        _table(("", "as acceptor", "as requestor"), [tuple(map(str, row)) for row in rows]),
    )


def _web() -> str:
    to = DicomwebDestination(kind="dicomweb", url="http://pacs")
    return _lines(
        "## DICOM web services",
        _table(
            ("service", "origin server", "user agent"),
            [
                (
                    "Studies service, Store (PS3.18 10.5)",
                    "`POST /dicom-web/studies` and `/studies/STUDY`, `application/dicom`",
                    f"one instance a request, time-out {to.timeout_seconds:g} s",
                ),
                (
                    "Studies service, Search (PS3.18 10.6)",
                    "no",
                    "to test a destination, and the archive",
                ),
                (
                    "Worklist service (PS3.18 11)",
                    "no",
                    "Search, Retrieve, Update, Change State; input by WADO-RS",
                ),
                ("Studies service, Retrieve (PS3.18 10.4)", "no", "corrections from the archive"),
            ],
        ),
    )


def _content() -> str:
    codes = sorted(
        (value for value in vars(terms).values() if isinstance(value, Code)),
        key=lambda code: (code.scheme_designator, code.value),
    )
    return _lines(
        "## Structured Reports",
        _table(("TID", "template", "used for"), _TEMPLATES),
        "",
        "### Codes",
        "Beside those that a bundle's `dicom.json` brings for its segments and classes.",
        "",
        _table(("value", "scheme", "meaning"), [tuple(code[:3]) for code in codes]),
        "",
        "## Character sets",
        "Specific Character Set and the values of a patient go into results with the bytes that",
        "they came with, whatever the set. What wetread itself writes is ASCII. Nothing of a",
        "patient goes into a log.",
        "",
        "## Private attributes",
        "None is written. Those that come stay in the instance.",
    )


def _security() -> str:
    return _lines(
        "## Security",
        "TLS 1.2 and 1.3 by the BCP 195 RFC 8996, 9325 profile (PS3.15 B.12), at the listener",
        f"and to destinations, with client certificates where set; TLS 1.2 ciphers `{CIPHERS}`.",
        "Callers are named by AE title and network. See [deploy/README.md](README.md).",
    )


def _read(uid: str) -> str:
    if uid in _UNENCODED or uid == _DEFLATED:
        return "yes"
    if uid == JPEGExtended12Bit:
        return "8 bits only"
    try:
        return "yes" if get_decoder(UID(uid)).is_available else "no"
    except NotImplementedError:
        return "no"


def _named(uid: str) -> str:
    return "Label Map Segmentation Storage" if uid == LABEL_MAP_SEGMENTATION else UID(uid).name


def _lines(heading: str, *lines: str) -> str:
    return "\n".join((heading, *lines, ""))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    every = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in every)
