"""An administrator's and a radiologist's work on the pages, in a browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from playwright.sync_api import Browser, expect

from conftest import ROOT
from network.neighbours import free_port, http_serving
from phantom import write_series
from unit.access.people import PASSWORD
from wetread.audit.events import Message
from wetread.config import Config
from wetread.ledger import DeliveryState
from wetread.viewer.server import viewer_server
from wetread.viewer.settings import address_of
from wetread.web.server import Dashboard

from .conftest import VIEWER, Screen, Ward, screen_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_by_keyboard_alone_from_the_log_in_to_a_study(screen: Screen, ward: Ward) -> None:
    """Without a mouse: name, password, the skip link, a study, and out again."""
    page, press = screen.page, screen.page.keyboard.press
    screen.open("/")
    page.keyboard.type("bob")
    press("Tab")
    page.keyboard.type(PASSWORD)
    press("Enter")
    page.wait_for_url(f"{ward.url}/")
    press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    press("Enter")
    link = page.locator(f'a[href="/studies/{ward.series.study_instance_uid}"]').first
    for _ in range(60):
        press("Tab")
        if link.evaluate("each => each === document.activeElement"):
            break
    outline = link.evaluate("each => getComputedStyle(each).outlineStyle")
    assert outline == "solid"
    press("Enter")
    page.wait_for_url(f"**/studies/{ward.series.study_instance_uid}")
    page.get_by_role("button", name="Log out").focus()
    press("Enter")
    page.wait_for_url(f"{ward.url}/login")


def test_a_study_is_shown_from_its_first_image_to_the_last_delivery(
    screen: Screen, ward: Ward
) -> None:
    study = ward.series.study_instance_uid
    screen.log_in("ann", f"/studies/{study}")
    page = screen.page
    steps = page.get_by_role("list", name="How far it is").get_by_role("listitem")
    told = [each.splitlines()[:2] for each in steps.all_inner_texts()]
    assert [name for name, _ in told] == ["Received", "Complete", "Routed", "Read", "Delivered"]
    assert told[0][1] == "14 images"
    assert told[2][1] == "to tiny"
    assert told[3][1] == "1 of 1"
    assert told[4][1].startswith("3 of ")
    expect(page.get_by_text("Rule every CT")).to_contain_text("read by tiny → inbox, away")
    condition = page.locator("details tr", has_text="modality").locator("td")
    assert condition.all_inner_texts() == ["every CT", "modality", "CT", "CT", "yes"]
    stages = page.locator(".line .stage").all_inner_texts()
    assert stages[:5] == ["receive", "assemble", "route", "read", "read"]
    assert set(stages[5:]) == {"deliver"}
    link = page.get_by_role("link", name="Open in the viewer")
    assert (link.get_attribute("href") or "").startswith(
        f"{VIEWER}/segmentation?StudyInstanceUIDs={study}"
    )


def test_nothing_of_the_patient_is_on_a_page(screen: Screen, ward: Ward) -> None:
    study = ward.series.study_instance_uid
    screen.log_in("eve")
    for path in ("/", "/studies", f"/studies/{study}", "/jobs", f"/jobs/{ward.job_id}"):
        screen.open(path)
        assert "Phantom" not in screen.page.content()


def test_a_study_appears_and_is_read_while_one_looks(screen: Screen, ward: Ward, tmp_path) -> None:
    """By the server's news: the page is not loaded again."""
    screen.log_in("ann")
    page = screen.page
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    page.evaluate("window.sameDocument = true")
    series = write_series(tmp_path / "more", shape=(6, 24, 20), row_spacing_mm=8.0, seed="more")
    ward.gateway.send(series.paths)
    row = page.locator("tr", has=page.locator(f'a[href="/studies/{series.study_instance_uid}"]'))
    expect(row.last).to_contain_text("Ellipsoid")
    assert page.evaluate("window.sameDocument")


class TestDeadLetters:
    """A share was not mounted; now it is."""

    def test_a_viewer_sees_them_and_has_no_button(self, screen: Screen) -> None:
        screen.log_in("ann", "/deliveries?state=dead")
        page = screen.page
        expect(page.locator("tbody tr").first).to_contain_text("away")
        assert page.get_by_role("button", name="Retry").count() == 0
        assert page.get_by_role("button", name="Cancel").count() == 0

    def test_a_viewer_who_asks_all_the_same_is_refused(self, screen: Screen, ward: Ward) -> None:
        screen.log_in("ann")
        dead = ward.dashboard.ledger.deliveries.list(state=DeliveryState.DEAD)[0]
        told = screen.page.evaluate(
            """async path => {
                const headers = JSON.parse(document.body.getAttribute('hx-headers'));
                const answer = await fetch(path, { method: 'POST', headers });
                return [answer.status, (await answer.json()).error];
            }""",
            f"/api/deliveries/{dead.delivery_id}/retry",
        )
        assert told == [403, "this needs the role operator"]
        assert ward.dashboard.ledger.deliveries.get(dead.delivery_id).state == DeliveryState.DEAD
        screen.errors.clear()

    def test_an_operator_tests_mounts_and_sends_again(self, screen: Screen, ward: Ward) -> None:
        screen.log_in("bob", "/destinations")
        page = screen.page
        page.get_by_role("button", name="Test away").click()
        expect(page.get_by_role("alert")).to_contain_text("away")
        (ward.folder / "away").mkdir(exist_ok=True)
        page.get_by_role("button", name="Test away").click()
        expect(page.locator("#said").get_by_role("status")).to_be_visible()
        page.get_by_role("link", name="Deliveries").click()
        page.get_by_role("link", name="dead").click()
        rows = page.locator("tbody tr")
        before = rows.count()
        page.get_by_role("button", name="Retry").nth(1).click()
        expect(page.get_by_text("is queued again")).to_be_visible()
        expect(rows).to_have_count(before - 1)
        page.get_by_role("button", name="Cancel").first.click()
        expect(page.get_by_text("is cancelled")).to_be_visible()
        page.get_by_role("button", name="Retry all").click()
        expect(page.get_by_text("No dead letters")).to_be_visible()
        screen.open(f"/studies/{ward.series.study_instance_uid}")
        expect(page.get_by_role("list", name="How far it is")).to_contain_text(
            re.compile(r"Delivered\s*(\d) of \1")
        )
        assert len(list((ward.folder / "away").rglob("*.dcm"))) >= 2


def test_a_page_of_another_origin_can_do_nothing(chromium: Browser, ward: Ward) -> None:
    """It is even of the same host, so that the browser sends the cookie along."""
    job = ward.job_id
    form = (
        f'<form method="post" action="{ward.url}/jobs/{job}/retry"></form>'
        "<script>document.forms[0].submit()</script>"
    )
    with elsewhere(form) as evil, screen_of(chromium, ward.url) as screen:
        screen.log_in("bob")
        # Not one that the page before asked for.
        with screen.page.expect_response(lambda each: each.request.method == "POST") as found:
            screen.page.goto(evil)
        assert found.value.status == 403
        assert "only this server's own pages may do this" in found.value.text()
        assert "wetread=" in (found.value.request.all_headers().get("cookie") or "")
    assert ward.dashboard.ledger.jobs.get(job).attempt == 1


def test_the_rules_say_what_becomes_of_a_study(screen: Screen, ward: Ward) -> None:
    screen.log_in("bob", "/rules")
    page = screen.page
    page.locator("#files").set_input_files([str(path) for path in ward.series.paths])
    page.get_by_role("button", name="Try").click()
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("Rule every CT → read by tiny → inbox, away")
    condition = verdict.locator("tbody td")
    assert condition.all_inner_texts() == ["every CT", "modality", "CT", "CT", "yes"]


def test_what_is_no_study_is_told_on_the_page(screen: Screen, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    screen.log_in("bob", "/rules")
    screen.page.locator("#files").set_input_files(str(tmp_path / "notes.txt"))
    screen.page.get_by_role("button", name="Try").click()
    expect(screen.page.get_by_role("alert")).to_contain_text("no DICOM file")


def test_a_new_user_comes_in_and_chooses_a_password(
    screen: Screen, chromium: Browser, ward: Ward
) -> None:
    screen.log_in("eve", "/users")
    page = screen.page
    page.get_by_label("Name").fill("kim")
    page.get_by_label("Role", exact=True).select_option("operator")
    page.get_by_role("button", name="Add").click()
    password = page.locator(".said code").inner_text()
    with screen_of(chromium, ward.url) as other:
        other.open("/login")
        other.page.get_by_label("Name").fill("kim")
        other.page.get_by_label("Password").fill(password)
        other.page.get_by_role("button", name="Log in").click()
        other.page.get_by_label("Now").fill(password)
        other.page.get_by_label("New, 12 to 256 characters").fill(PASSWORD)
        other.page.get_by_label("The new one again").fill(PASSWORD)
        other.page.get_by_role("button", name="Change password").click()
        other.page.wait_for_url(f"{ward.url}/")
    screen.open("/users")
    page.get_by_role("button", name="Remove kim").click()
    expect(page.get_by_text("kim is removed.")).to_be_visible()


def test_an_open_page_leads_to_the_log_in_once_the_session_has_ended(
    screen: Screen, ward: Ward, tmp_path
) -> None:
    screen.log_in("ann", "/studies")
    expect(screen.page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    [cookie] = [each for each in screen.page.context.cookies() if each["name"] == "wetread"]
    ward.dashboard.site.sessions.close(cookie["value"])
    series = write_series(tmp_path / "late", shape=(6, 24, 20), row_spacing_mm=8.0, seed="late")
    ward.gateway.send(series.paths)
    screen.page.wait_for_url(f"{ward.url}/login?next=%2Fstudies")
    screen.errors.clear()


class elsewhere:  # noqa: N801 - it reads as a verb
    """A server of somebody else, with one page."""

    def __init__(self, page: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_one_log_in_opens_dashboard_and_viewer(ward: Ward, chromium: Browser) -> None:
    """From the viewer to the log-in and back to what was asked for, under the same name."""
    events: list[Message] = []
    with archive_of_nothing() as archive:
        config = beside(ward, archive)
        with Dashboard(config) as dashboard, screen_of(chromium, dashboard.address) as screen:
            viewer = viewer_server(config, events.append, dashboard.site.browsers)
            viewer.start()
            try:
                page, asked = screen.page, address_of(config.viewer) + "/?modalities=CT"
                page.goto(asked)
                page.get_by_label("Name").fill("ann")
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Log in", exact=True).click()
                page.wait_for_url(asked)
                expect(page.get_by_text("No studies available")).to_be_visible()
            finally:
                viewer.stop(10)
    searched = [each["ActiveParticipant"][0]["UserID"] for each in events]
    assert set(searched) == {"ann"}


@contextmanager
def archive_of_nothing() -> Iterator[str]:
    app = FastAPI()
    app.get("/{path:path}")(lambda: JSONResponse([], media_type="application/dicom+json"))
    with http_serving(app) as url:
        yield f"{url}/dicom-web"


def beside(ward: Ward, archive: str) -> Config:
    """The ward's settings with a viewer that is not for everybody, and a dashboard of its own."""
    config, port = ward.dashboard.site.config, free_port()
    viewer = {"studies": archive, "port": port, "public_url": f"http://127.0.0.1:{port}"}
    viewer["folder"] = ROOT / ".cache/ohif"
    return config.model_copy(
        update={
            "viewer": config.viewer.model_copy(update=viewer),
            "web": config.web.model_copy(update={"port": free_port()}),
        }
    )
