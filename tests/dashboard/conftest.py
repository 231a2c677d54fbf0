"""A dashboard beside a gateway that has read one study, and Chromium, which reaches no host but
this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, sync_playwright

from gateway import Gateway, eventually, running_gateway, settings
from network.neighbours import free_port
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from unit.access.people import PASSWORD
from viewers.browser import CHROMIUM
from wetread.access import hashing
from wetread.access.roles import Role
from wetread.ledger import DeliveryState
from wetread.web.server import Dashboard

VIEWER = "http://127.0.0.1:8050"
PEOPLE = {"ann": Role.VIEWER, "bob": Role.OPERATOR, "eve": Role.ADMIN}
_FLAGS = (
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


@dataclass
class Ward:
    """What runs, and where. Results go to `inbox`; `away` is a share that is not mounted."""

    folder: Path
    gateway: Gateway
    dashboard: Dashboard
    series: PhantomSeries

    @property
    def url(self) -> str:
        return self.dashboard.address

    @property
    def job_id(self) -> str:
        return self.gateway.job(self.series.study_instance_uid).job_id


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory, tiny_ct: TinyModel) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    (folder / "inbox").mkdir()
    destinations = {
        "inbox": {"kind": "folder", "path": str(folder / "inbox")},
        "away": {"kind": "folder", "path": str(folder / "away"), "max_attempts": 1},
    }
    web = {"port": free_port(), "refresh_seconds": 0.2}
    config = settings(folder, tiny_ct, destinations, web=web)
    # Its pages lead to a viewer; that it is there is not theirs to know.
    shown = config.model_copy(
        update={"viewer": config.viewer.model_copy(update={"studies": f"{VIEWER}/dicom-web"})}
    )
    series = write_series(folder / "study", shape=(14, 47, 39))
    usual = hashing._HASHER
    hashing._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    try:
        with running_gateway(config) as gateway, Dashboard(shown) as dashboard:
            for name, role in PEOPLE.items():
                dashboard.site.accounts.add(name, role, PASSWORD)
            gateway.send(series.paths)
            ward = Ward(folder, gateway, dashboard, series)
            gateway.job(series.study_instance_uid)
            wait_for_deliveries(ward)
            yield ward
    finally:
        hashing._HASHER = usual


def wait_for_deliveries(ward: Ward) -> None:
    """Three are delivered, three are dead letters."""

    def settled() -> bool:
        found = ward.gateway.service.ledger.deliveries.list(job_id=ward.job_id)
        states = sorted(each.state for each in found)
        return states == [DeliveryState.DEAD] * 3 + [DeliveryState.DELIVERED] * 3

    eventually(settled)


@dataclass
class Screen:
    """A page of the dashboard, and all that it asked for and said."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Response | None:
        return self.page.goto(self.url + path)

    def log_in(self, name: str, path: str = "/") -> None:
        self.open(f"/login?next={path}")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in", exact=True).click()
        self.page.wait_for_url(self.url + path)

    def elsewhere(self) -> list[str]:
        """What it asked of another host."""
        return [each for each in self.asked if urlsplit(each).netloc != urlsplit(self.url).netloc]


@pytest.fixture(scope="module")
def chromium(ward: Ward) -> Iterator[Browser]:
    """After the gateway, which does not start beside the loop of Playwright."""
    assert ward.url
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(_FLAGS)
        )
        yield browser
        browser.close()


@contextmanager
def screen_of(
    chromium: Browser, url: str, *, width: int = 1280, scheme: str = "light"
) -> Iterator[Screen]:
    """A browser's window of its own, with no cookie yet."""
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(20_000)
    screen = Screen(context.new_page(), url)

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            screen.errors.append(message.text)

    context.on("request", lambda request: screen.asked.append(request.url))
    screen.page.on("console", said)
    screen.page.on("pageerror", lambda error: screen.errors.append(str(error)))
    screen.page.on("dialog", lambda dialog: dialog.accept())
    yield screen
    context.close()


@pytest.fixture
def screen(chromium: Browser, ward: Ward) -> Iterator[Screen]:
    """It asks of no other host, and nothing in it goes wrong."""
    with screen_of(chromium, ward.url) as found:
        yield found
        assert found.elsewhere() == []
        assert found.errors == []
