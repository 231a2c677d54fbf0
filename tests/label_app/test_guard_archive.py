"""A server without users on loopback, and the archive that it lends to pages of its own."""

from __future__ import annotations

import base64

import pytest

from label_app.guarded import PASSWORD

pytestmark = pytest.mark.timeout(120)
ORIGIN = "https://viewer.example"
UID = "1.2.840.10008"
STUDY = f"studies/{UID}"
OWN = f"Basic {base64.b64encode(f'wetread:{PASSWORD}'.encode()).decode()}"


@pytest.fixture
def ask(open_server):
    open_server.archive.take()
    return open_server.annotating.client.request


@pytest.fixture
def archive(open_server):
    yield open_server.archive
    open_server.archive.answers.clear()


class TestProxy:
    @pytest.mark.parametrize(
        "path",
        [
            "qido/studies",
            "qido/series",
            f"qido/{STUDY}/series",
            f"wado/{STUDY}/metadata",
            f"wado/{STUDY}/series/{UID}.1",
            f"wado/{STUDY}/series/{UID}.1/metadata",
            f"wado/{STUDY}/instances",
            f"wado/{STUDY}/series/{UID}.1/instances/{UID}.2",
            f"wado/{STUDY}/series/{UID}.1/instances/{UID}.2/frames/1,2,3",
            f"wado/{STUDY}/series/{UID}.1/instances/{UID}.2/rendered",
            f"wado/{STUDY}/series/{UID}.1/instances/{UID}.2/bulk/00420011/1/7fe00010",
            f"wado/{STUDY}/series/{UID}.1/thumbnail",
        ],
    )
    def test_what_ohif_reads_comes_from_the_archive(self, ask, archive, path):
        """With the query, which MONAI Label's proxy drops, and this server's own credentials."""
        answer = ask("GET", f"/proxy/dicom/{path}?limit=5&PatientName=A%2AB&includefield=0008,103E")
        assert (answer.status_code, answer.json()) == (200, [])
        assert answer.headers["content-type"] == "application/dicom+json"
        [seen] = archive.take()
        expected = f"/dicom-web/{path.partition('/')[2]}"
        assert seen.path == f"{expected}?limit=5&PatientName=A%2AB&includefield=0008,103E"
        assert seen.headers["authorization"] == OWN

    def test_a_list_of_fields_is_one_that_every_orthanc_reads(self, ask, archive):
        """OHIF escapes its commas, and Orthanc 1.10 then gives none of the fields."""
        query = "PatientName=A%2CB&includefield=00081030%2c00080060&limit=5"
        ask("GET", f"/proxy/dicom/qido/studies?{query}")
        [seen] = archive.take()
        expected = "PatientName=A%2CB&includefield=00081030,00080060&limit=5"
        assert seen.path == f"/dicom-web/studies?{expected}"

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "patients",
            "../tools/find",
            "..%2ftools%2ffind",
            "studies/..%2f..%2fsystem",
            "studies/1.2/../../system",
            f"{STUDY}/reject",
            f"{STUDY}/series/{UID}/instances/{UID}/frames/x",
            f"{STUDY}/series/{UID}/instances/{UID}/bulk/../../x",
            f"{STUDY}%0a",
            f"{STUDY}%3Fa=b",
            "studies/1.2a",
            "studies/١.٢",
            "studies//series",
            f"{STUDY}/series/{'1.' * 400}1",
        ],
    )
    def test_any_other_path_is_not_the_archives(self, open_server, ask, archive, path):
        for kind in ("qido", "wado"):
            url = f"{open_server.annotating.server.url}/proxy/dicom/{kind}/{path}"
            assert ask("GET", url).status_code == 404
        assert archive.take() == []

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    def test_the_archive_is_read_and_added_to_only(self, ask, archive, method):
        assert ask(method, f"/proxy/dicom/wado/{STUDY}").status_code == 405
        assert ask("POST", "/proxy/dicom/qido/studies").status_code == 405
        assert ask("POST", f"/proxy/dicom/wado/{STUDY}/series").status_code == 404
        assert archive.take() == []

    def test_nothing_that_says_who_asked_goes_to_the_archive(self, ask, archive):
        told = {
            "Authorization": "Bearer theirs",
            "Cookie": "wetread_login=theirs; other=1",
            "Forwarded": "host=theirs",
            "X-Forwarded-For": "10.1.2.3",
            "Origin": "http://127.0.0.1",
            "Referer": "http://127.0.0.1/theirs",
            "User-Agent": "theirs",
            "X-Custom": "theirs",
            "Accept": "application/dicom+json",
        }
        ask("GET", "/proxy/dicom/qido/studies", headers=told)
        [seen] = archive.take()
        assert seen.headers["accept"] == "application/dicom+json"
        assert seen.headers["authorization"] == OWN
        assert set(seen.headers) <= {
            *("accept", "accept-encoding", "authorization", "connection", "host")
        }
        assert "theirs" not in str(seen)
        assert seen.headers["host"] in archive.url

    def test_what_a_reader_exports_is_stored_as_it_is(self, ask, archive):
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + bytes(range(256)) * 999
        kind = 'multipart/related; type="application/dicom"; boundary=x'
        answer = ask(
            "POST",
            "/proxy/dicom/wado/studies",
            content=body,
            headers={"Content-Type": kind, "Cookie": "a=theirs"},
        )
        assert answer.status_code == 200
        [seen] = archive.take()
        assert (seen.method, seen.path) == ("POST", "/dicom-web/studies")
        assert (seen.body, seen.headers["content-type"]) == (body, kind)
        assert "cookie" not in seen.headers

    def test_an_answer_comes_as_it_is_without_what_is_between_the_two(self, ask, archive):
        content = bytes(range(256)) * 10_000
        archive.answers["/dicom-web/studies"] = (
            206,
            {"Content-Type": "multipart/related; boundary=q", "ETag": '"1"', "Set-Cookie": "a=b"},
            content,
        )
        answer = ask("GET", "/proxy/dicom/wado/studies")
        assert (answer.status_code, answer.content) == (206, content)
        assert answer.headers["content-type"] == "multipart/related; boundary=q"
        assert answer.headers["etag"] == '"1"'
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (401, {"WWW-Authenticate": 'Basic realm="archive"'}),
            (403, {}),
            (302, {"Location": "http://127.0.0.1:1/elsewhere"}),
        ],
    )
    def test_a_refusal_of_the_archive_is_not_passed_on_as_ours(self, ask, archive, status, headers):
        """A browser would ask its user for the archive's password, or go where it is sent."""
        archive.answers["/dicom-web/studies"] = (status, headers, b"no")
        answer = ask("GET", "/proxy/dicom/qido/studies")
        assert answer.status_code == 502
        assert str(status) in answer.json()["error"]
        assert not {"www-authenticate", "location"} & set(answer.headers)

    def test_a_folder_has_no_archive(self, guard):
        answer = guard.ask("user", "GET", "/proxy/dicom/qido/studies")
        assert answer.status_code == 404
        assert "are a folder" in answer.json()["error"]


class TestOtherSites:
    """There is nobody to be told apart, but a browser still says whose page is asking."""

    @pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost", "LOCALHOST:1", "[::1]:8070"])
    def test_this_machine_may_be_asked_by_its_names(self, ask, host):
        assert ask("GET", "/info/", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "[::2]", "a@b", "10.0.0.1"],
    )
    @pytest.mark.parametrize("path", ["/info/", "/proxy/dicom/qido/studies", "/ohif/", "/login"])
    def test_a_name_that_was_made_to_lead_here_is_refused(self, ask, archive, host, path):
        answer = ask("GET", path, headers={"Host": host})
        assert answer.status_code == 403
        assert "127.0.0.1 or localhost" in answer.json()["hint"]
        assert archive.take() == []

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", ""])
    def test_a_page_of_another_site_changes_nothing(self, ask, origin):
        for method, path in (("POST", "/activelearning/random"), ("DELETE", "/train/")):
            answer = ask(method, path, headers={"Origin": origin})
            assert answer.status_code == 403

    def test_programs_and_pages_of_ours_do(self, open_server, ask):
        for headers in ({}, {"Origin": open_server.annotating.server.url}, {"Origin": ORIGIN}):
            assert ask("DELETE", "/train/", headers=headers).status_code == 200

    def test_only_a_named_origin_may_read(self, ask):
        """And never with a cookie."""
        named = ask("GET", "/info/", headers={"Origin": ORIGIN})
        assert named.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in named.headers
        other = ask("GET", "/info/", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers

    def test_only_a_named_origin_may_prepare_a_change(self, ask):
        wanted = {"Access-Control-Request-Method": "PUT"}
        named = ask("OPTIONS", "/datastore/label", headers={**wanted, "Origin": ORIGIN})
        assert named.status_code == 200
        assert named.headers["access-control-allow-origin"] == ORIGIN
        other = ask(
            "OPTIONS", "/datastore/label", headers={**wanted, "Origin": "https://evil.example"}
        )
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers

    def test_without_named_origins_no_other_page_reads_anything(self, guard):
        for method in ("GET", "OPTIONS"):
            answer = guard.ask("user", method, "/info/", headers={"Origin": ORIGIN})
            assert not [name for name in answer.headers if name.startswith("access-control")]


class TestWithoutUsers:
    def test_everybody_is_local_and_may_do_all(self, ask):
        who = ask("GET", "/auth/token/valid").json()
        assert (who["username"], who["roles"]) == ("local", ["admin"])

    def test_there_is_nothing_to_log_in_to(self, ask):
        """Slicer reads the 404 as that it need not."""
        assert ask("GET", "/auth/").status_code == 404
        assert ask("GET", "/login").headers["location"] == "/ohif/"
        token = ask("POST", "/auth/token", data={"username": "a", "password": "b"})
        assert token.status_code == 404
