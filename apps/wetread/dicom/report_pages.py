"""The pages of a report as PDF/A-2u (ISO 19005-2), the same bytes each time.

Its one typeface is that of our pictures, which has ASCII and little more; other characters become
"?". No text of the patient is on them: the object that holds the pages says whose they are.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from fpdf import FPDF, FontFace
from fpdf.enums import Align, DocumentCompliance
from numpy.typing import NDArray
from PIL import Image, ImageFont

from wetread.dicom.colour import RGB
from wetread.dicom.drawing import font_of
from wetread.dicom.result_header import ascii_text
from wetread.errors import EncodingError

FACE = "page"
INK, FAINT, LINE = (30, 30, 30), (95, 95, 95), (190, 190, 190)
PAPER, HEAD_FILL = (255, 255, 255), (236, 239, 243)
WARNING_FILL, WARNING_INK = (255, 226, 150), (80, 50, 0)
MARGIN_MM, FOOT_MM, LINE_MM = 16.0, 16.0, 5.0
PICTURE_TEXT_MM, WHOLE_PAGE_MM = 14.0, 240.0
TITLE, HEADING, TEXT, SMALL = 17, 11.5, 9.5, 7.5
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/"
 xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<xmp:CreatorTool>wetread</xmp:CreatorTool><xmp:CreateDate>{when}</xmp:CreateDate>
<xmp:ModifyDate>{when}</xmp:ModifyDate><xmp:MetadataDate>{when}</xmp:MetadataDate>
<pdf:Producer>wetread</pdf:Producer>
<pdfaid:part>2</pdfaid:part><pdfaid:conformance>U</pdfaid:conformance>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
# It tells at length which glyphs it keeps.
logging.getLogger("fontTools").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading; `widths` are the shares of the columns, `head` their names, if any."""

    heading: str
    rows: Sequence[Sequence[str]]
    widths: Sequence[int]
    head: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """RGB of shape (row, column, 3), and the words below it."""

    pixels: NDArray[np.uint8]
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What stands on the pages, from above, and at the foot of each."""

    title: str
    warning: str
    results: Sequence[Table]
    picture: Picture | None
    origin: Sequence[Table]
    notes: Sequence[str]
    foot: str
    created_at: datetime


class _Pages(FPDF):
    """A4 with a foot on each page."""

    def __init__(self, report: Report) -> None:
        super().__init__(format="A4", enforce_compliance=DocumentCompliance.PDFA_2U)
        self._report = report
        self.set_margin(MARGIN_MM)
        self.set_auto_page_break(True, FOOT_MM + 4)
        self.set_title(ascii_text(report.title, 200))
        self.set_lang("en")
        self.set_creator("wetread")
        self.set_producer("wetread")
        self.set_creation_date(report.created_at)
        when = report.created_at.isoformat(timespec="seconds")
        # Made here, for otherwise it holds the time at which it was written.
        self.set_xmp_metadata(XMP.format(title=escape(ascii_text(report.title, 200)), when=when))

    def footer(self) -> None:
        """The foot and the number of the page."""
        self.set_y(-FOOT_MM)
        self.write_line(self._report.foot, SMALL, FAINT, align="L", advance=False)
        self.set_x(MARGIN_MM)
        self.write_line(f"Page {self.page_no()}", SMALL, FAINT, align="R", advance=False)

    def write_line(
        self, text: str, size: float, ink: RGB = INK, align: str = "L", *, advance: bool = True
    ) -> None:
        """A paragraph over the whole width."""
        self.set_font(FACE, size=size)
        self.set_text_color(*ink)
        height = size * 0.5
        if not advance:
            self.cell(0, height, ascii_text(text, 400), align=align)
            return
        self.multi_cell(
            0, height, ascii_text(text, 2000), align=align, new_x="LMARGIN", new_y="NEXT"
        )


def draw_report(report: Report) -> bytes:
    """The pages as a PDF file.

    Raises EncodingError if this Pillow brings no TrueType face, without which none can be embedded.
    """
    with _typeface() as path:
        pages = _Pages(report)
        pages.add_font(FACE, fname=path)
        pages.add_page()
        _draw_title(pages, report)
        for table in report.results:
            _draw_table(pages, table)
        if report.picture is not None:
            _draw_picture(pages, report.picture)
        for table in report.origin:
            _draw_table(pages, table)
        pages.ln(2)
        for note in report.notes:
            pages.write_line(note, SMALL + 1, FAINT)
            pages.ln(1)
        return bytes(pages.output())


@contextmanager
def _typeface() -> Iterator[Path]:
    """The face of our pictures as a file, for so long as the pages are drawn."""
    face = font_of(12)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise EncodingError(
            "Pillow was built without FreeType, so there is no typeface for a PDF",
            hint="install Pillow from its wheel, or do not send PDF",
            stage="encode",
        )
    with tempfile.TemporaryDirectory(prefix="wetread-") as folder:
        path = Path(folder) / "face.ttf"
        path.write_bytes(face.font_bytes)
        yield path


def _draw_title(pages: _Pages, report: Report) -> None:
    pages.write_line(report.title, TITLE)
    pages.ln(2)
    pages.set_font(FACE, size=HEADING)
    pages.set_fill_color(*WARNING_FILL)
    pages.set_text_color(*WARNING_INK)
    text = ascii_text(report.warning, 200)
    pages.cell(0, 8, text, align="C", fill=True, new_x="LMARGIN", new_y="NEXT")
    pages.set_fill_color(*PAPER)


def _draw_table(pages: _Pages, table: Table) -> None:
    # A heading goes to the next page with its first rows.
    if pages.will_page_break(HEADING + 3 * LINE_MM):
        pages.add_page()
    pages.ln(5)
    pages.write_line(table.heading, HEADING)
    pages.ln(1)
    pages.set_font(FACE, size=TEXT)
    pages.set_text_color(*INK)
    pages.set_draw_color(*LINE)
    pages.set_line_width(0.2)
    with pages.table(
        col_widths=tuple(table.widths),
        text_align="LEFT",
        line_height=LINE_MM,
        padding=0.7,
        borders_layout="HORIZONTAL_LINES",
        first_row_as_headings=bool(table.head),
        headings_style=FontFace(fill_color=HEAD_FILL, color=INK),
    ) as drawn:
        for row in [table.head, *table.rows] if table.head else table.rows:
            drawn.row([ascii_text(cell, 400) for cell in row])


def _draw_picture(pages: _Pages, picture: Picture) -> None:
    """As large as fits below, or on a page of its own if there it is more than twice as large."""
    rows, columns = picture.pixels.shape[:2]

    def fitting_width() -> float:
        left = pages.page_break_trigger - pages.get_y() - PICTURE_TEXT_MM
        return float(min(pages.epw, left * columns / rows))

    if fitting_width() < min(pages.epw, WHOLE_PAGE_MM * columns / rows) / 2:
        pages.add_page()
    pages.ln(4)
    image = Image.fromarray(picture.pixels)
    pages.image(image, x=Align.C, w=fitting_width(), alt_text=ascii_text(picture.text, 200))
    pages.ln(1)
    pages.write_line(picture.text, SMALL + 1, FAINT)
