"""OHIF as the annotation server serves it, and what a browser is told of it."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.timeout(120)
SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture
def ohif(guard):
    """A file of the viewer, as a user gets it."""
    return lambda path: guard.ask("user", "GET", f"/ohif/{path}")


@pytest.mark.parametrize(
    ("path", "media_type", "begins"),
    [
        ("assets/images/settings.svg", "image/svg+xml", b"<svg"),
        ("assets/android-chrome-144x144.png", "image/png", b"\x89PNG"),
        ("dicom-microscopy-viewer/dicomMicroscopyViewer.min.js", "text/javascript", None),
        ("dicom-microscopy-viewer/5004fdc02f329ce53b69.wasm", "application/wasm", b"\0asm"),
        ("app.bundle.css", "text/css", None),
        ("manifest.json", "application/json", b"{"),
        ("assets/manifest.webapp", "application/manifest+json", None),
    ],
)
def test_nested_files_are_themselves(ohif, path, media_type, begins):
    """On MONAI Label's bare server, one in a subfolder is the viewer's page."""
    answer = ohif(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert not answer.text.startswith("<!doctype html>")
    assert begins is None or answer.content.lstrip().startswith(begins)


@pytest.mark.parametrize("path", ["", "index.html", "viewer", "monai-label", "a/b/c"])
def test_a_page_of_the_viewer_is_its_page(ohif, path):
    answer = ohif(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert '<div id="root">' in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "missing.js",
        "assets/missing.png",
        "assets/images/",
        "../../../config.py",
        "%2e%2e/%2e%2e/endpoints/ohif.py",
        "..%2f..%2fohif.py",
        "//etc/passwd.txt",
        "sw.js",
        "google.js",
        "_headers.txt",
    ],
)
def test_what_is_not_there_is_not_the_viewers_page(guard, ohif, path):
    url = f"{guard.annotating.server.url}/ohif/{path}"
    answer = guard.ask("user", "GET", url)
    assert answer.status_code == 404 or "<div id=" in answer.text
    if "." in path.rsplit("/", 1)[-1]:
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "hint"}


def test_the_page_needs_nothing_of_another_host(ohif):
    page = ohif("").text
    assert not re.findall(r'(?:src|href)="https?://', page)
    assert "importScripts" not in ohif("init-service-worker.js").text
    styles = ohif("app.bundle.css").text
    assert "://fonts." not in styles
    assert len(styles) > 100_000


def test_the_page_may_run_what_is_here_and_ask_here_only(ohif):
    policy = dict(
        each.strip().split(" ", 1)
        for each in ohif("").headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self' blob: data:"
    assert "'unsafe-inline'" not in policy["script-src"]
    assert policy["script-src"].count("'sha256-") == 2


def test_the_viewer_is_told_of_this_origin(ohif):
    """Its panel would ask port 8000 otherwise, and its work list another path."""
    answer = ohif("app-config.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "MONAILABEL_SERVER_URL" in answer.text
    assert "window.location.origin" in answer.text
    assert "'/proxy/dicom/qido'" in answer.text


def test_the_bare_address_leads_to_the_viewer(guard):
    for path in ("/", "/ohif"):
        answer = guard.ask("user", "GET", path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ohif/")


@pytest.mark.parametrize(
    ("role", "path"),
    [("user", "/ohif/"), ("user", "/info/"), (None, "/info/"), ("user", "/nope"), (None, "/login")],
)
def test_every_answer_says_what_a_browser_must_not_do(guard, role, path):
    answer = guard.ask(role, "GET", path)
    assert {name: answer.headers[name] for name in SAFE} == SAFE
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_images_of_patients_stay_in_no_cache(guard):
    answer = guard.ask("user", "GET", "/datastore/image?image=first")
    assert answer.headers["cache-control"] == "no-store"
