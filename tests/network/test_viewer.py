"""The viewer's server over an archive that writes down what it is asked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, Request, Response
from pydicom import Dataset, dcmread

from gateway import eventually
from network.neighbours import free_port, http_serving, orthanc
from phantom import write_series
from readings import reading_of, result_of
from unit.access.people import people_of
from wetread.access.browsers import Browsers
from wetread.access.roles import Role
from wetread.audit.events import Message
from wetread.config import UserConfig, ViewerConfig
from wetread.errors import LedgerError
from wetread.httpd import HttpServer
from wetread.ledger import Ledger
from wetread.viewer.frames import first_part
from wetread.viewer.site import viewer_site
from wetread.viewer.witness import Witness

STUDY = "/dicom-web/studies/1.2.3"
UID = "1.2.3.4.5"
STORED = f"studies/1.2.3/series/1.2.3.4/instances/{UID}"
INSTANCE = f"{STUDY}/series/1.2/instances/1.1"
BODY = b"--x\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--x--"
STOW = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
INDEX = "<html><head><script>one()</script></head></html>"
TOKEN = "a token"  # noqa: S105


@dataclass
class Asked:
    """A request as the archive sees it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Archive:
    """Says of everything where it lies."""

    asked: list[Asked] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def answer(request: Request) -> Response:
            body = await request.body()
            url = str(request.url)
            self.asked.append(Asked(request.method, url, dict(request.headers), body))
            root = f"http://{request.headers['host']}/dicom-web"
            text = f'[{{"BulkDataURI": "{root}/studies/1.2.3/bulk/1"}}]'
            if request.method == "POST":
                text = json.dumps(stored_at(f"{root}/{STORED}"))
            headers = {"Set-Cookie": "session=1", "Access-Control-Allow-Origin": "*"}
            return Response(text, media_type="application/dicom+json", headers=headers)

        return app


def stored_at(url: str) -> dict[str, Any]:
    """The answer to a store (PS3.18 10.5.3, PS3.4 Table GG)."""
    where = {
        "00081155": {"vr": "UI", "Value": [UID]},
        "00081190": {"vr": "UR", "Value": [url]},
    }
    return {"00081199": {"vr": "SQ", "Value": [where]}}


@dataclass
class Site:
    """A running viewer; `client` asks as a page of its own does. `events` is the audit trail."""

    client: httpx.Client
    archive: Archive
    url: str
    events: list[Message]

    def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.client.get(path, headers=named)

    def store(self, body: bytes = BODY, **headers: str) -> httpx.Response:
        own = {**STOW, "Origin": self.url, **headers}
        return self.client.post("/dicom-web/studies", content=body, headers=own)


@contextmanager
def serving(
    folder: Path,
    users: dict[str, UserConfig] | None = None,
    record: Callable[[Message], None] | None = None,
    browsers: Browsers | None = None,
    **values: Any,
) -> Iterator[Site]:
    events: list[Message] = []
    files = folder / "ohif"
    (files / "assets").mkdir(parents=True)
    (files / "index.html").write_text(INDEX)
    (files / "app.0123456789abcdef.js").write_text("1")
    (files / "decoder.wasm").write_bytes(b"\0asm")
    (folder / "secret.js").write_text("secret")
    archive = Archive()
    with http_serving(archive.app()) as url:
        port = free_port()
        if browsers is not None:
            values["public_url"] = f"http://127.0.0.1:{port}"
        config = ViewerConfig(**{"studies": f"{url}/dicom-web", "port": port, **values})
        site = viewer_site(config, users or {}, files, record or events.append, browsers)
        server = HttpServer(
            site, config.host, port, name="viewer", lifespan=True, proxies=config.proxies
        )
        server.start()
        own = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=own, timeout=15) as client:
                yield Site(client, archive, own, events)
        finally:
            server.stop(10)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(tmp_path) as running:
        yield running


def test_the_viewers_addresses_are_its_page_and_missing_files_are_not(site: Site) -> None:
    for path in ("/", "/segmentation?StudyInstanceUIDs=1.2.3", "/viewer"):
        found = site.get(path)
        assert (found.status_code, found.text) == (200, INDEX)
        assert found.headers["content-type"].startswith("text/html")
    assert site.get("/gone.js").status_code == 404
    assert site.get("/../secret.js").status_code == 404
    assert site.get("/%2e%2e/secret.js").status_code == 404


def test_files_say_what_they_are_and_are_isolated(site: Site) -> None:
    script, wasm = site.get("/app.0123456789abcdef.js"), site.get("/decoder.wasm")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert wasm.headers["content-type"] == "application/wasm"
    for each in (site.get("/"), script, wasm, site.get(f"{STUDY}/series")):
        assert each.headers["cross-origin-opener-policy"] == "same-origin"
        assert each.headers["cross-origin-embedder-policy"] == "require-corp"
        assert each.headers["cross-origin-resource-policy"] == "same-origin"
        assert each.headers["x-content-type-options"] == "nosniff"


def test_the_page_runs_its_own_scripts_only(site: Site) -> None:
    """The one that stands in it is named by its hash."""
    policy = site.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "'sha256-" in policy
    scripts = policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe-inline" not in scripts
    assert "http" not in policy


def test_settings_name_the_archive_on_this_origin(site: Site) -> None:
    text = site.get("/app-config.js").text
    assert "wadoRoot: '/dicom-web'" in text
    assert 'const reader = "";' in text
    assert "'VERSION'" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/studies?limit=5",
        f"{STUDY}/series",
        f"{STUDY}/series/1.2/metadata",
        INSTANCE,
        f"{INSTANCE}/frames/1,2",
        f"{INSTANCE}/frames/1/rendered",
        f"{STUDY}/series/1.2/instances/1.1/bulk/0040A730/1/7FE00010",
    ],
)
def test_what_a_viewer_needs_is_passed_on(site: Site, path: str) -> None:
    assert site.get(path, Accept="application/dicom+json").status_code == 200
    [asked] = site.archive.asked
    assert asked.url.endswith(path)
    assert asked.headers["accept"] == "application/dicom+json"


@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/../instances",
        "/dicom-web/studies/../../changes",
        "/dicom-web/studies/..",
        "/dicom-web/servers",
        "/dicom-web/studies/1.2.3/reject/113001%5EDCM",
        f"{INSTANCE}/frames/1%2F..%2F..",
    ],
)
def test_nothing_else_of_the_archive_is_reached(site: Site, path: str) -> None:
    request = site.client.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())
    assert site.client.send(request).status_code in (200, 404)
    assert site.archive.asked == []


def test_what_the_archive_says_of_itself_names_this_origin(site: Site) -> None:
    found = site.get(f"{STUDY}/series/1.2/metadata")
    assert found.json() == [{"BulkDataURI": f"{site.url}/dicom-web/studies/1.2.3/bulk/1"}]
    assert "set-cookie" not in found.headers
    assert "access-control-allow-origin" not in found.headers
    assert found.headers["content-security-policy"].startswith("sandbox")


def test_a_list_of_attributes_becomes_one_question_an_attribute(site: Site) -> None:
    """Orthanc before 1.12 takes a list for one attribute that it does not know."""
    site.get("/dicom-web/studies?includefield=00081030%2C00080061&PatientName=a%2Cb")
    [asked] = site.archive.asked
    query = "includefield=00081030&includefield=00080061&PatientName=a%2Cb"
    assert asked.url.endswith(f"?{query}")


def test_the_archive_sees_this_servers_login_and_nothing_of_the_callers(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("ours")
    with serving(tmp_path, studies_token_file=tmp_path / "token") as site:
        site.get(
            f"{STUDY}/series", Authorization="Bearer theirs", Cookie="a=1", X_Forwarded_For="1"
        )
    [asked] = site.archive.asked
    assert asked.headers["authorization"] == "Bearer ours"
    assert not {"cookie", "x-forwarded-for", "referer"} & set(asked.headers)


def test_a_page_of_this_origin_stores(site: Site) -> None:
    assert site.store().status_code == 200
    [asked] = site.archive.asked
    assert (asked.method, asked.body) == ("POST", BODY)
    assert asked.headers["content-type"] == STOW["Content-Type"]


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_stores_nothing(site: Site, origin: str) -> None:
    assert site.store(Origin=origin).status_code == 403
    without = site.client.post("/dicom-web/studies", content=BODY, headers=STOW)
    assert without.status_code == 403
    assert site.archive.asked == []


def test_another_name_that_leads_here_is_refused(site: Site) -> None:
    """As where a stranger's page lets its own name point to this machine."""
    found = site.get(f"{STUDY}/series", Host="evil.example:8050")
    assert found.status_code == 421
    assert "evil.example" in found.json()["error"]
    port = site.url.rpartition(":")[2]
    assert site.get(f"{STUDY}/series", Host=f"localhost:{port}").status_code == 200
    assert len(site.archive.asked) == 1


def test_only_reading_and_storing_are_taken(site: Site) -> None:
    for method in ("DELETE", "PUT", "PATCH", "OPTIONS"):
        assert site.client.request(method, f"{STUDY}").status_code == 405
    assert site.archive.asked == []


def test_too_much_is_not_stored(tmp_path: Path) -> None:
    """Whether it says so before, or goes on without saying."""
    with serving(tmp_path, max_upload_bytes=1000) as site:
        assert site.store(bytes(1001)).status_code == 413
        headers = {**STOW, "Origin": site.url}
        endless = site.client.post(
            "/dicom-web/studies", content=(bytes(100) for _ in range(20)), headers=headers
        )
    assert endless.status_code == 413
    assert [each for each in site.archive.asked if each.body] == []


def test_what_is_no_dicom_is_not_stored(site: Site) -> None:
    assert site.store(**{"Content-Type": "text/plain"}).status_code == 415
    assert site.archive.asked == []


def test_a_frame_that_the_archive_cannot_cut_is_cut_here(tmp_path: Path) -> None:
    """As Orthanc does not where a mask's frames begin within a byte; others are passed on."""
    series = write_series(tmp_path / "series", shape=(6, 21, 19))
    path = tmp_path / "seg.dcm"
    path.write_bytes(reading_of(series, result_of(series.mask())).files["SEG"])
    seg, image = dcmread(path), dcmread(series.paths[0])
    with orthanc(tmp_path) as archive:
        for each in (path, *series.paths):
            archive.upload(each)
        with serving(tmp_path, studies=archive.dicomweb_url) as site:
            bare = httpx.get(f"{archive.url}{frame_of(seg, 2)}")
            found, beyond = site.get(frame_of(seg, 2)), site.get(frame_of(seg, 99))
            passed_on = site.get(frame_of(image, 1))
    assert bare.status_code == 400
    content = first_part(found.content, found.headers["content-type"])
    assert content is not None
    bits = np.unpackbits(np.frombuffer(content, np.uint8), count=21 * 19, bitorder="little")
    assert np.array_equal(bits.reshape(21, 19), seg.pixel_array[1])
    assert beyond.status_code == 404
    assert image.PixelData in passed_on.content


def frame_of(dataset: Dataset, number: int) -> str:
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    return "/dicom-web/studies/{}/series/{}/instances/{}/frames/".format(*uids) + str(number)


def test_an_archive_that_is_down_is_said_so(tmp_path: Path) -> None:
    with serving(tmp_path, studies=f"http://127.0.0.1:{free_port()}/dicom-web") as site:
        found = site.get(f"{STUDY}/series")
    assert found.status_code == 502
    assert found.json()["error"] == "the archive does not answer"


def test_users_need_a_token_and_only_annotators_store(tmp_path: Path) -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    users = {
        "eve": UserConfig(roles=("user",), token_sha256=digest),
        "anna": UserConfig(roles=("annotator",), token_sha256=digest),
    }
    with serving(tmp_path, users) as site:
        bare = site.get("/")
        assert bare.status_code == 401
        assert bare.headers["www-authenticate"].startswith("Basic ")
        site.client.auth = httpx.BasicAuth("anna", "another")
        assert site.get(f"{STUDY}/series").status_code == 401
        site.client.auth = httpx.BasicAuth("eve", TOKEN)
        assert site.get(f"{STUDY}/series").status_code == 200
        assert site.store().status_code == 403
        site.client.auth = httpx.BasicAuth("anna", TOKEN)
        assert site.store().status_code == 200
        assert 'const reader = "anna";' in site.get("/app-config.js").text
    assert [each.headers.get("authorization") for each in site.archive.asked] == [None, None]


def who_did_what(event: Message) -> tuple[str, str, str]:
    """The person, the event by its code's meaning, and the first thing it was about."""
    person = event["ActiveParticipant"][0]
    assert person["UserIsRequestor"] == "true"
    assert person["NetworkAccessPointID"] == "127.0.0.1"
    objects = event["ParticipantObjectIdentification"]
    about = objects[0]["ParticipantObjectID"] if objects else ""
    return person["UserID"], event["EventIdentification"]["EventID"]["originalText"], about


def test_who_looks_searches_and_stores_is_audited(tmp_path: Path) -> None:
    """A look at a study is one event, however many parts of it are asked for."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    users = {
        name: UserConfig(roles=("annotator",), token_sha256=digest) for name in ("anna", "bert")
    }
    with serving(tmp_path, users) as site:
        site.client.auth = httpx.BasicAuth("anna", TOKEN)
        site.get("/dicom-web/studies?PatientName=Doe%2A&limit=5")
        for path in (f"{STUDY}/series", f"{STUDY}/series/1.2/metadata", f"{INSTANCE}/frames/1"):
            site.get(path)
        site.get("/dicom-web/studies/1.2.4/series")
        site.store()
        site.client.auth = httpx.BasicAuth("bert", TOKEN)
        site.get(f"{STUDY}/series")
        events = site.events
    accessed, find = "DICOM Instances Accessed", "1.2.840.10008.5.1.4.1.2.2.1"
    assert [who_did_what(each) for each in events] == [
        ("anna", "Query", find),
        ("anna", accessed, "1.2.3"),
        ("anna", accessed, "1.2.4"),
        ("anna", "DICOM Instances Transferred", "1.2.3"),
        ("bert", accessed, "1.2.3"),
    ]
    [found] = events[3]["ParticipantObjectIdentification"][0]["ParticipantObjectDescription"]
    assert found["SOPClass"] == [{"NumberOfInstances": "1", "Instance": [{"UID": "1.2.3.4.5"}]}]


def test_what_was_searched_for_is_not_in_the_trail(site: Site) -> None:
    """It may be a patient; which attributes were asked by is."""
    site.get("/dicom-web/studies?PatientName=Doe%2A&00100020=12345")
    [event] = site.events
    [asked] = event["ParticipantObjectIdentification"]
    assert base64.b64decode(asked["ParticipantObjectQuery"]) == b"PatientName, 00100020"


def test_what_the_archive_does_not_have_was_not_seen(tmp_path: Path) -> None:
    with serving(tmp_path, studies=f"http://127.0.0.1:{free_port()}/dicom-web") as site:
        site.get(f"{STUDY}/series")
        assert site.events == []


def test_a_wrong_token_is_an_alert(tmp_path: Path) -> None:
    """A browser that shows no name at first is none."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    with serving(tmp_path, {"eve": UserConfig(roles=("user",), token_sha256=digest)}) as site:
        site.get("/")
        assert site.events == []
        site.client.auth = httpx.BasicAuth("eve", "another")
        site.get("/")
        [alert] = site.events
    assert who_did_what(alert)[:2] == ("unknown", "Security Alert")
    assert alert["EventIdentification"]["EventOutcomeDescription"] == "wrong name or token"


def test_without_room_for_the_event_nothing_is_shown(tmp_path: Path) -> None:
    full: list[bool] = [True]

    def record(message: Message) -> None:
        if full:
            raise LedgerError("the disk is full", hint="make room")

    with serving(tmp_path, record=record) as site:
        refused = site.get(f"{STUDY}/series/1.2/metadata")
        assert refused.status_code == 503
        assert refused.json()["error"] == "the audit trail cannot be written, so nothing is shown"
        assert site.get("/dicom-web/studies").status_code == 503
        full.clear()
        assert site.get(f"{STUDY}/series/1.2/metadata").status_code == 200


DASHBOARD = "http://127.0.0.1:8060"


@pytest.fixture
def browsers(ledger: Ledger) -> Browsers:
    """Of a dashboard where `ann` is a viewer, `bob` an operator and `new` has to change."""
    people = people_of(ledger, time.time)
    people.accounts.add("new", Role.ADMIN, "a password of today", must_change=True)
    return Browsers(people.accounts, people.sessions, DASHBOARD)


def logged_in(site: Site, browsers: Browsers, name: str) -> None:
    site.client.cookies.set("wetread", browsers.sessions.open(name))


def test_whoever_has_logged_in_at_the_dashboard_is_known(
    tmp_path: Path, browsers: Browsers
) -> None:
    """A viewer sees; an operator stores, too; each under their own name."""
    with serving(tmp_path, browsers=browsers) as site:
        logged_in(site, browsers, "ann")
        assert site.get(f"{STUDY}/series").status_code == 200
        refused = site.store()
        assert (refused.status_code, refused.json()["error"]) == (403, "ann may not store")
        logged_in(site, browsers, "bob")
        assert 'const reader = "bob";' in site.get("/app-config.js").text
        assert site.store().status_code == 200
        alert = site.events[1]["EventIdentification"]["EventOutcomeDescription"]
        events = [who_did_what(each)[:2] for each in site.events]
    assert alert == "ann may not store"
    assert events == [
        ("ann", "DICOM Instances Accessed"),
        ("ann", "Security Alert"),
        ("bob", "DICOM Instances Transferred"),
    ]


def test_others_are_sent_to_the_dashboard(tmp_path: Path, browsers: Browsers) -> None:
    """A page leads there and back; a program, a stale session and a first password get nothing."""
    opened = "/segmentation?StudyInstanceUIDs=1.2.3"
    with serving(tmp_path, browsers=browsers) as site:
        for secret in ("", "of yesterday", browsers.sessions.open("new")):
            site.client.cookies.set("wetread", secret)
            page = site.get(opened, Accept="text/html")
            assert page.status_code == 303
            path = "%2Fsegmentation%3FStudyInstanceUIDs%3D1.2.3"
            assert page.headers["location"] == f"{DASHBOARD}/viewer?to={path}"
            refused = site.get(f"{STUDY}/series", Accept="application/dicom+json")
            assert (refused.status_code, refused.json()["error"]) == (401, "nobody is logged in")
            assert site.store().status_code == 401
        assert site.archive.asked == []


def test_a_session_does_not_let_another_site_store(tmp_path: Path, browsers: Browsers) -> None:
    """Its page may send the cookie along; its origin it cannot hide."""
    with serving(tmp_path, browsers=browsers) as site:
        logged_in(site, browsers, "bob")
        assert site.store(Origin=DASHBOARD).status_code == 403
        assert site.archive.asked == []


def test_while_the_ledger_is_away_it_says_so(
    tmp_path: Path, browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise LedgerError("the database does not answer", hint="is it up?")

    with serving(tmp_path, browsers=browsers) as site:
        logged_in(site, browsers, "ann")
        monkeypatch.setattr(type(browsers.sessions), "user_of", away)
        answer = site.get(f"{STUDY}/series")
        assert (answer.status_code, answer.json()["error"]) == (503, "the ledger does not answer")
        assert site.archive.asked == []


def test_while_the_event_is_written_nothing_is_shown_yet(tmp_path: Path) -> None:
    """OHIF asks for many images at once; with the first that is refused, all are."""
    started, go_on = threading.Event(), threading.Event()

    def record(message: Message) -> None:
        started.set()
        assert go_on.wait(10)
        raise LedgerError("the disk is full", hint="make room")

    with serving(tmp_path, record=record) as site, ThreadPoolExecutor(6) as pool:
        paths = [f"{STUDY}/series/1.2/instances/1.{number}/frames/1" for number in range(6)]
        asked = [pool.submit(httpx.get, site.url + path, timeout=15) for path in paths]
        assert started.wait(10)
        eventually(lambda: len(site.archive.asked) == 6)
        assert not any(each.done() for each in asked)
        go_on.set()
        assert {each.result().status_code for each in asked} == {503}


@pytest.mark.parametrize("answer", [b"", b"<html>"])
def test_a_store_of_which_nobody_knows_is_told_as_such(answer: bytes) -> None:
    found: list[Message] = []
    asyncio.run(Witness(found.append, "archive").stored("studies/1.2.3", answer))
    [event] = found
    why = "the archive's answer names nothing that is stored"
    assert event["EventIdentification"]["EventOutcomeIndicator"] == "4"
    assert event["EventIdentification"]["EventOutcomeDescription"] == why
    assert event["ParticipantObjectIdentification"][0]["ParticipantObjectID"] == "1.2.3"


def test_a_store_without_an_answer_is_told_as_such(tmp_path: Path) -> None:
    """The archive may have taken it before it fell silent."""
    with serving(tmp_path, studies=f"http://127.0.0.1:{free_port()}/dicom-web") as site:
        assert site.store().status_code == 502
    [event] = site.events
    assert event["EventIdentification"]["EventOutcomeIndicator"] == "4"
    assert event["EventIdentification"]["EventOutcomeDescription"] == "no answer: ConnectError"
    assert event["ParticipantObjectIdentification"][0]["ParticipantObjectID"] == "unknown"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("studies", json.dumps(stored_at(f"http://pacs/{STORED}"))),
        ("studies/1.2.3", json.dumps({"00081199": {"Value": [{"00081155": {"Value": [UID]}}]}})),
        ("studies", f'<Value number="1">http://pacs/{STORED}</Value>'),
    ],
)
def test_what_is_stored_is_read_from_each_form_of_answer(path: str, answer: str) -> None:
    """An item's address may be left out, and a server may answer in XML."""
    found: list[Message] = []
    asyncio.run(Witness(found.append, "archive").stored(path, answer.encode()))
    [event] = found
    study = event["ParticipantObjectIdentification"][0]
    assert study["ParticipantObjectID"] == "1.2.3"
    [described] = study["ParticipantObjectDescription"][0]["SOPClass"]
    assert described == {"NumberOfInstances": "1", "Instance": [{"UID": UID}]}


def test_behind_a_proxy_the_address_is_the_persons(tmp_path: Path) -> None:
    with serving(tmp_path, proxies=("127.0.0.1",)) as site:
        site.get(f"{STUDY}/series", X_Forwarded_For="10.9.8.7")
    [event] = site.events
    assert event["ActiveParticipant"][0]["NetworkAccessPointID"] == "10.9.8.7"
