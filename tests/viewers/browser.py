"""OHIF in headless Chromium, which reaches no host but this one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import ConsoleMessage, Page, Request, Response, sync_playwright

CHROMIUM = "/usr/bin/chromium"
WAIT_SECONDS = 90.0
_FLAGS = (
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--ignore-gpu-blocklist", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
)
TYPES = {
    "": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
_MASK = """() => {
    const volume = services.segmentationService.getLabelmapVolume('1');
    const values = new Uint8Array(volume.voxelManager.getCompleteScalarDataArray());
    let text = '';
    for (const each of values) text += String.fromCharCode(each);
    const [{ segments }] = services.segmentationService.getSegmentations();
    return {
        names: Object.values(segments).map(each => [each.segmentIndex, each.label]),
        values: btoa(text),
        dimensions: Array.from(volume.dimensions),
        origin: Array.from(volume.origin),
        spacing: Array.from(volume.spacing),
        direction: Array.from(volume.direction),
    };
}"""
_COUNTS = """() => {
    const [found] = services.segmentationService.getSegmentations();
    if (!found) return null;
    const counts = {};
    for (const name of found.representationData.Labelmap.imageIds)
        for (const value of cornerstone.cache.getImage(name).voxelManager.getScalarData()) {
            const label = found.segments[value]?.label;
            if (label) counts[label] = (counts[label] || 0) + 1;
        }
    return counts;
}"""
# The client that the panel itself asks with; its parent in React's tree has it.
_SAVE = """async ([image, names]) => {
    const element = document.querySelector('.monaiLabelPanel');
    let node = element[Object.keys(element).find(each => each.startsWith('__reactFiber'))];
    while (typeof node.stateNode?.client !== 'function') node = node.return;
    const volume = services.segmentationService.getLabelmapVolume('1');
    const values = new Uint8Array(volume.voxelManager.getCompleteScalarDataArray());
    const answer = await node.stateNode.client().save_label(
        image, new Blob([values]), { label_info: names });
    return answer.status;
}"""


@dataclass(frozen=True)
class Mask:
    """What the viewer holds: values (column, row, slice), on a grid in LPS mm."""

    values: NDArray[np.uint8]
    affine: NDArray[np.float64]
    names: Mapping[int, str]

    def counts(self) -> dict[str, int]:
        """Voxels of each segment that has some."""
        found = {name: int((self.values == value).sum()) for value, name in self.names.items()}
        return {name: count for name, count in found.items() if count}

    def as_numbered(self, numbers: Mapping[str, int]) -> NDArray[np.uint8]:
        """The values with other numbers for the same names."""
        changed = np.zeros_like(self.values)
        for value, name in self.names.items():
            if (self.values == value).any():
                changed[self.values == value] = numbers[name]
        return changed


@dataclass
class Ohif:
    """The viewer's page, and all that it asked for and said."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    answered: list[Response] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def until(self, ask: str, seconds: float = WAIT_SECONDS) -> None:
        """Until a function of the page says true."""
        waited = 0.0
        while not self.page.evaluate(ask):
            assert waited < seconds, f"not within {seconds} s: {ask}"
            self.page.wait_for_timeout(100)
            waited += 0.1

    def log_in(self, name: str, token: str) -> None:
        self.page.fill("input[name=username]", name)
        self.page.fill("input[name=password]", token)
        self.page.click("button")

    def connect(self) -> None:
        """With what the panel's field says by itself, once all images are there."""
        self.page.locator("#monailabelServerURL").wait_for()
        self.until("() => document.querySelectorAll('.cornerstone-canvas').length >= 3")
        self.until(
            "() => { const found = cornerstone.cache.getVolumes();"
            " return found.length > 0 && found.every(each => each.loadStatus?.loaded ?? true) }"
        )
        self.page.click(".settingsTable button")
        self.tab("Active Learning").wait_for()
        self.until("() => Boolean(services.segmentationService.getLabelmapVolume('1'))")

    def tab(self, name: str) -> Any:
        return self.page.locator("label.tab-label", has_text=name)

    def answer_to(self, method: str, path: str, act: Callable[[], None]) -> Response:
        """What the server says to the request that `act` leads to."""
        with self.page.expect_response(
            lambda each: each.request.method == method and path in each.url
        ) as found:
            act()
        return found.value

    def run_model(self) -> Response:
        """On the series in the active viewport; the mask is there afterwards."""
        answer = self.answer_to(
            "POST", "/infer/", lambda: self.page.get_by_title("Run Segmentation").first.click()
        )
        self.until(
            "() => services.segmentationService.getLabelmapVolume('1')"
            ".voxelManager.getCompleteScalarDataArray().some(each => each)"
        )
        return answer

    def mask(self) -> Mask:
        told = self.page.evaluate(_MASK)
        values = np.frombuffer(base64.b64decode(told["values"]), np.uint8)
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(told["direction"], (3, 3)).T * told["spacing"]
        affine[:3, 3] = told["origin"]
        shaped = values.reshape(told["dimensions"], order="F")
        return Mask(shaped, affine, {int(value): name for value, name in told["names"]})

    def save(self, image: str, mask: Mask) -> int:
        """By the method of the panel's own client, for which it has no button; gives the status."""
        used = mask.counts()
        names = [{"name": name, "idx": idx} for idx, name in mask.names.items() if name in used]
        return int(self.page.evaluate(_SAVE, [image, names]))

    def open_segmentation(self, study: str) -> dict[str, int]:
        """The one of a study, to be corrected; gives the voxels of each of its segments."""
        self.page.goto(f"{self.url}/ohif/segmentation?StudyInstanceUIDs={study}")
        self.page.locator(".cornerstone-canvas").first.wait_for()
        self.page.locator('[data-cy="study-browser-thumbnail-no-image"]').first.dblclick()
        self.page.click('[data-cy="yes-hydrate-btn"]')
        self.until(f"() => Object.keys(({_COUNTS})() || {{}}).length > 0")
        counts: dict[str, int] = self.page.evaluate(_COUNTS)
        return counts

    def elsewhere(self) -> list[str]:
        """What it asked of another host."""
        return [
            each
            for each in self.asked
            if urlsplit(each).scheme not in ("blob", "data") and not each.startswith(f"{self.url}/")
        ]

    def of_another_type(self) -> list[tuple[str, int, str]]:
        """Files of the viewer that were not there, or not what their names say."""
        return [
            (each.url, each.status, _type_of(each))
            for each in self.answered
            if urlsplit(each.url).path.startswith("/ohif/")
            and each.status not in (303, 304)
            and (each.status, _type_of(each)) != (200, TYPES.get(_suffix(each), _type_of(each)))
        ]


@contextmanager
def ohif(url: str) -> Iterator[Ohif]:
    """A page that is still empty."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(_FLAGS)
        )
        context = browser.new_context(viewport={"width": 1400, "height": 850})
        # Else a tour of eleven steps covers the page.
        context.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")
        context.set_default_timeout(WAIT_SECONDS * 1000)
        viewer = Ohif(context.new_page(), url)
        _write_down(viewer)
        yield viewer
        browser.close()


def _write_down(viewer: Ohif) -> None:
    def asked(request: Request) -> None:
        viewer.asked.append(request.url)

    def answered(response: Response) -> None:
        viewer.answered.append(response)

    def said(message: ConsoleMessage) -> None:
        where = message.location["url"] if message.type == "error" else ""
        # The answer to whether a training runs is 404 where none does.
        if message.type == "error" and "/train/?check_if_running" not in where:
            viewer.errors.append(f"{message.text} ({where})")

    viewer.page.context.on("request", asked)
    viewer.page.context.on("response", answered)
    viewer.page.on("console", said)
    viewer.page.on("pageerror", lambda error: viewer.errors.append(str(error)))
    viewer.page.on("dialog", lambda dialog: dialog.accept())


def _suffix(answer: Response) -> str:
    return PurePosixPath(urlsplit(answer.url).path).suffix


def _type_of(answer: Response) -> str:
    return answer.headers.get("content-type", "").partition(";")[0]
