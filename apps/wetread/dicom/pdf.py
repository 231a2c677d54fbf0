"""Encapsulated PDF: PS3.3 A.45.1, one report for a person to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from wetread.dicom import terms
from wetread.dicom.labels import LabelCounts
from wetread.dicom.report_pages import Picture, Report, Table, draw_report
from wetread.dicom.result_header import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSTIC_USE,
    ascii_text,
    code_item,
    predecessor_document,
    reference_item,
    result_header,
)
from wetread.dicom.volume import SourceVolume
from wetread.results import FindingsResult, ModelIdentity, ResultContext, SegmentationResult

ENCAPSULATED_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
NOT_REVIEWED = "No person has looked at this result. It is beside the reading of a radiologist."
NO_NAME = (
    "The patient is not named on these pages: they belong to the DICOM object that holds them, "
    "and to the study and series above."
)


def document_segmentation(
    result: SegmentationResult,
    source: SourceVolume,
    context: ResultContext,
    counts: LabelCounts,
    others: Sequence[Dataset],
) -> Dataset:
    """Sizes of all segments, absent ones too, and the montage. `others` are the job's objects."""
    rows = []
    for index, segment in enumerate(counts.segments):
        voxels = int(counts.totals[index])
        size = source.extent.in_words(voxels).replace("²", "2") if voxels else "not found"
        region = "" if segment.anatomic_region is None else segment.anatomic_region.meaning
        slices = f"{len(counts.slices_of(index))} of {source.shape[0]}"
        rows.append((segment.label, segment.type.meaning, region, size, slices))
    measured = "area" if source.is_projection else "volume"
    head = ("segment", "type", "region", measured, "slices")
    results = Table("Result: automatic segmentation", rows, (28, 24, 20, 16, 12), head)
    of_size = (
        "An area is the number of pixels times their size at the detector."
        if source.is_projection
        else "A volume is the number of voxels times their size."
    )
    return _document(result, source, context, others, results, of_size)


def document_findings(
    result: FindingsResult, source: SourceVolume, context: ResultContext, others: Sequence[Dataset]
) -> Dataset:
    """Each finding with probability and operating point, and the heat map if there is one."""
    rows = [
        (
            one.finding.meaning,
            f"{100 * one.probability:.1f} %",
            f"{100 * one.operating_point:.1f} %",
            "present" if one.is_present else "not present",
        )
        for one in result.findings
    ]
    head = ("finding", "probability", "present from", "statement")
    results = Table("Result: automatic classification", rows, (40, 20, 20, 20), head)
    note = "A probability is the network's, calibrated as the model's card says."
    return _document(result, source, context, others, results, note)


def _document(
    result: SegmentationResult | FindingsResult,
    source: SourceVolume,
    context: ResultContext,
    others: Sequence[Dataset],
    results: Table,
    note: str,
) -> Dataset:
    dataset = result_header(
        source,
        context,
        result.model,
        kind="PDF",
        sop_class_uid=ENCAPSULATED_PDF_STORAGE,
        modality="DOC",
        noun="report",
    )
    report = Report(
        title=f"{result.model.name}: preliminary report",
        warning=f"PRELIMINARY - {NOT_FOR_DIAGNOSTIC_USE.upper()}",
        results=(results, _checks(result)),
        picture=_picture(others),
        origin=(
            _source_table(source),
            _model_table(result.model, context),
            _references(others),
        ),
        notes=(NOT_REVIEWED, note, NO_NAME),
        foot=f"{MANUFACTURER}, preliminary. {NOT_FOR_DIAGNOSTIC_USE}. {dataset.SOPInstanceUID}",
        created_at=context.created_at,
    )
    _add_document(dataset, report, source)
    predecessor = context.predecessors.get("PDF")
    if predecessor is not None:
        dataset.PredecessorDocumentsSequence = [predecessor_document(predecessor)]
    return dataset


def _add_document(dataset: Dataset, report: Report, source: SourceVolume) -> None:
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = None
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    dataset.DocumentTitle = ascii_text(f"{report.title}. {NOT_FOR_DIAGNOSTIC_USE}", 1024)
    dataset.ConceptNameCodeSequence = [code_item(terms.IMAGING_MEASUREMENT_REPORT)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = [
        reference_item(each.SOPClassUID, each.SOPInstanceUID) for each in source.instances
    ]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    content = draw_report(report)
    dataset.EncapsulatedDocumentLength = len(content)
    dataset.EncapsulatedDocument = content + b"\0" * (len(content) % 2)


def _picture(others: Sequence[Dataset]) -> Picture | None:
    """The pixels of the Secondary Capture, if there is one."""
    for one in others:
        if "PixelData" in one and one.get("PhotometricInterpretation") == "RGB":
            shape = (one.Rows, one.Columns, 3)
            pixels = np.frombuffer(one.PixelData, np.uint8, int(np.prod(shape))).reshape(shape)
            return Picture(pixels, one.DerivationDescription)
    return None


def _checks(result: SegmentationResult | FindingsResult) -> Table:
    check = result.input_check
    verdict = "This model has no input gate" if check is None else check.text
    if check is not None and not check.is_like_training:
        verdict = f"CAUTION. {verdict}"
    return Table("Checks", [("input gate", verdict), ("review", "none, unverified")], (25, 75))


def _source_table(source: SourceVolume) -> Table:
    first, (slices, rows, columns) = source.instances[0], source.shape
    spacing = " x ".join(f"{each:.3g}" for each in source.spacing_mm[source.is_projection :])
    size = f"{rows} x {columns}"
    size = f"{size} pixels" if source.is_projection else f"{slices} slices of {size}"
    return Table(
        "What was read",
        [
            ("modality, images", f"{source.modality}, {size}, {spacing} mm"),
            ("study of", _day(str(first.get("StudyDate") or ""))),
            ("study", str(first.StudyInstanceUID)),
            (f"series {first.get('SeriesNumber') or ''}", str(first.SeriesInstanceUID)),
        ],
        (25, 75),
    )


def _model_table(model: ModelIdentity, context: ResultContext) -> Table:
    moment = context.created_at.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    return Table(
        "What read it",
        [
            ("model", f"{model.name}, version {model.version}"),
            ("weights SHA-256", model.weights_sha256),
            ("software", f"{MANUFACTURER} {context.software_version} at {context.station_name}"),
            ("made at", moment),
        ],
        (25, 75),
    )


def _references(others: Sequence[Dataset]) -> Table:
    rows = [(f"{one.Modality}, {one.SeriesDescription}", str(one.SOPInstanceUID)) for one in others]
    return Table("Other objects of this reading", rows, (40, 60))


def _day(text: str) -> str:
    """A DA value (PS3.5 6.2) as people write it; what is none, as it stands."""
    year, month, day = text[:4], text[4:6], text[6:]
    whole = len(text) == 8 and text.isdecimal()
    return f"{year}-{month}-{day}" if whole else text or "unknown date"
