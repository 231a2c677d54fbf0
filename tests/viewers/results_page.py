"""The viewer of results in a browser: what it draws, a hand with a brush, and how it saves."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Error, Response
from pydicom import dcmread

from phantom import PhantomSeries
from viewers.browser import TYPES, Ohif

_DRAWN = """() => {
    const [found] = services.segmentationService.getSegmentations();
    const images = found?.representationData?.Labelmap?.imageIds ?? [];
    return images.map(name => {
        const image = cornerstone.cache.getImage(name);
        const source = cornerstone.metaData.get('instance', image?.referencedImageId);
        if (!source) return null;
        let text = '';
        for (const each of image.voxelManager.getScalarData()) text += String.fromCharCode(each);
        return [source.SOPInstanceUID, btoa(text)];
    }).filter(Boolean);
}"""
_NAMES = """() => {
    const [found] = services.segmentationService.getSegmentations();
    return Object.values(found?.segments ?? {}).map(each => [each.label, each.segmentIndex]);
}"""
_IS_DRAWN = """() => services.segmentationService.getSegmentations().some(found =>
    (found.representationData?.Labelmap?.imageIds ?? []).some(name =>
        cornerstone.cache.getImage(name)?.voxelManager.getScalarData().some(each => each)))"""
# Of the report in the active viewport, once they are read.
_REPORT = """() => {
    const grid = services.viewportGridService;
    const shown = grid.getDisplaySetsUIDsForViewport(grid.getActiveViewportId());
    const found = shown.map(each => services.displaySetService.getDisplaySetByUID(each));
    const report = found.find(each => each?.Modality === 'SR' && each.isLoaded);
    return report?.measurements?.length ?? -1;
}"""


# How many contours each ROI of the opened RT Structure Set has.
_CONTOURS = """() => {
    const drawn = services.segmentationService.getSegmentations()
        .find(each => each.representationData?.Contour?.annotationUIDsMap?.size);
    const counts = [...(drawn?.representationData.Contour.annotationUIDsMap ?? [])];
    return counts.map(([index, uids]) => [drawn.segments[index].label, uids.size]);
}"""
# Of the image in the active viewport.
_SHOWN_IMAGE = """() => {
    const { viewportGridService: grid, cornerstoneViewportService: viewports } = services;
    const viewport = viewports.getCornerstoneViewport(grid.getActiveViewportId());
    return cornerstone.metaData.get('instance', viewport.getCurrentImageId()).SOPInstanceUID;
}"""


@dataclass(frozen=True)
class ResultsPage:
    """A page of the viewer; the series is the one that is looked at."""

    ohif: Ohif

    def open(self, address: str) -> None:
        """Until the first image is there, and nothing lies over the page."""
        page = self.ohif.page
        page.goto(address)
        page.locator(".cornerstone-canvas").first.wait_for()
        notice = page.locator('[data-cy="confirm-and-hide-button"]')
        if notice.is_visible():
            notice.click()

    def wait_for_mask(self) -> None:
        self.ohif.until(_IS_DRAWN)

    def names(self) -> Mapping[str, int]:
        """The value that each segment has in the browser."""
        return dict(self.ohif.page.evaluate(_NAMES))

    def mask(self, series: PhantomSeries) -> NDArray[np.uint8]:
        """What is drawn, (slice, row, column) on the grid of the series."""
        values = np.zeros(series.shape, np.uint8)
        places = slices_of(series)
        for uid, text in self.ohif.page.evaluate(_DRAWN):
            plane = np.frombuffer(base64.b64decode(text), np.uint8)
            values[places[uid]] = plane.reshape(series.shape[1:])
        return values

    def counts(self, series: PhantomSeries) -> dict[str, int]:
        """Voxels of each segment."""
        mask = self.mask(series)
        return {name: int((mask == value).sum()) for name, value in self.names().items()}

    def stroke(self, tool: str) -> None:
        """A short one in the middle of the image, by the mouse."""
        page = self.ohif.page
        page.locator(f'[data-cy="{tool}-btn"]').click()
        box = page.locator(".cornerstone-canvas").first.bounding_box()
        assert box is not None
        across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(across, down)
        page.mouse.down()
        page.mouse.move(across + 40, down + 10, steps=6)
        page.mouse.up()

    def save(self) -> Response:
        """By the viewer's own buttons; gives the archive's answer once it is shown."""
        page = self.ohif.page
        # On a slow machine the menu closes again under the pointer.
        while not self._export():
            page.keyboard.press("Escape")
        button = page.locator('[data-cy="input-dialog-save-button"] button')
        before = self.shown()
        answer = self.ohif.answer_to("POST", "/dicom-web/studies", button.click)
        self.ohif.until(f"() => !{before!r}.includes(({_SHOWN})())")
        self.wait_for_mask()
        return answer

    def _export(self) -> bool:
        page = self.ohif.page
        page.locator('[data-cy="segmentation-collapsed-more-btn-Labelmap"]').click()
        try:
            page.get_by_role("menuitem", name="Export").click(timeout=5_000)
            page.get_by_role("menuitem", name="DICOM SEG").click(timeout=5_000)
        except Error:
            return False
        return True

    def shown(self) -> str:
        """The id of the Segmentation that is drawn."""
        return str(self.ohif.page.evaluate(_SHOWN))

    def place(self, series: PhantomSeries) -> int:
        """Which slice of the series is shown."""
        return slices_of(series)[self.ohif.page.evaluate(_SHOWN_IMAGE)]

    def open_contours(self) -> dict[str, int]:
        """Those of the study's RT Structure Set; gives how many each of its ROIs has."""
        page = self.ohif.page
        entry = page.locator('[data-cy="study-browser-thumbnail-no-image"]', has_text="RTSTRUCT")
        entry.dblclick()
        self.ohif.until(f"() => ({_CONTOURS})().length > 0")
        return dict(page.evaluate(_CONTOURS))

    def open_report(self, number: int) -> int:
        """The one of that place in the list on the left; gives its number of measurements."""
        page = self.ohif.page
        report = page.locator('[data-cy="study-browser-thumbnail-no-image"]', has_text="SR")
        report.nth(number).dblclick()
        self.ohif.until(f"() => ({_REPORT})() >= 0")
        # What cannot be drawn says so a moment later.
        page.wait_for_timeout(500)
        return int(page.evaluate(_REPORT))

    def complaints(self) -> list[str]:
        """What the page says of things that went wrong."""
        return self.ohif.page.get_by_text("Something went wrong").all_inner_texts()

    def of_another_type(self) -> list[tuple[str, int, str]]:
        """Files of the viewer that were not there, or not what their names say."""
        found = []
        for each in self.ohif.answered:
            path = PurePosixPath(urlsplit(each.url).path)
            kind = each.headers.get("content-type", "").partition(";")[0]
            is_file = each.url.startswith("http") and "dicom-web" not in path.parts
            if is_file and (each.status, kind) != (200, TYPES.get(path.suffix, kind)):
                found.append((each.url, each.status, kind))
        return found


_SHOWN = """() => services.segmentationService.getSegmentations()[0]?.segmentationId ?? ''"""


def slices_of(series: PhantomSeries) -> dict[str, int]:
    """Where in the expected array each instance lies, by SOP Instance UID."""
    headers = [dcmread(path, stop_before_pixels=True) for path in series.paths]
    normal = series.affine[:3, 0]
    headers.sort(key=lambda each: float(np.dot(normal, each.ImagePositionPatient)))
    return {str(each.SOPInstanceUID): index for index, each in enumerate(headers)}
