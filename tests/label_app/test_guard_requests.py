"""What a request may name, set and send.

MONAI Label's bare server writes and reads outside its folders, takes every param and upload, and
answers a failure with plain text.
"""

from __future__ import annotations

import http.client
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from annotated import NAME, weights
from gateway import eventually
from label_app.guarded import IMAGES, MOST_BYTES, MOST_SESSIONS, image_bytes, label_bytes, token_of

pytestmark = pytest.mark.timeout(120)
OUTSIDE = ["../../evil", "/var/evil", "..", ".", "a/b", "..%2f..%2fevil", "final\x00", "~", "Ä"]


@pytest.fixture
def unchanged(guard):
    """No file is written, wherever."""
    before = guard.files()
    yield
    assert guard.files() == before


@pytest.fixture
def elsewhere(guard) -> Path:
    """An image on the same machine that is not of the studies."""
    path = guard.folder / "app-private.nii.gz"
    path.write_bytes(image_bytes(9))
    yield path
    path.unlink()


def save(guard, role="annotator", name="label.nii.gz", body=None, **params):
    query = {"image": "first", "tag": "original"}
    form = {"model": NAME, **params.pop("form", {})}
    return guard.ask(
        role,
        "PUT",
        "/datastore/label",
        params={**query, **params},
        data={"params": json.dumps(form)},
        files={"label": (name, label_bytes() if body is None else body)},
    )


def infer(guard, image="first", model=NAME, role="user", files=None, **params):
    how = {"files": files} if files else {}
    return guard.ask(
        role,
        "POST",
        f"/infer/{model}",
        params={"image": image, "output": "image"},
        data={"params": json.dumps(params)},
        **how,
    )


class TestNames:
    @pytest.mark.usefixtures("unchanged")
    @pytest.mark.parametrize("tag", OUTSIDE)
    def test_a_label_is_written_under_no_other_folder(self, guard, tag):
        answer = save(guard, tag=tag)
        assert answer.status_code == 400
        assert "hint" in answer.json()

    @pytest.mark.usefixtures("unchanged")
    @pytest.mark.parametrize("image", OUTSIDE[:6])
    def test_an_image_is_written_under_no_other_name(self, guard, image):
        answer = guard.ask(
            "annotator",
            "PUT",
            "/datastore/image",
            params={"image": image},
            files={"file": ("image.nii.gz", image_bytes())},
        )
        assert answer.status_code == 400

    @pytest.mark.parametrize("tag", OUTSIDE[:6])
    def test_a_label_is_read_from_no_other_folder(self, guard, tag):
        for path in ("/datastore/label", "/datastore/label/info"):
            answer = guard.ask("user", "GET", path, params={"label": "first", "tag": tag})
            assert answer.status_code == 400, answer.text

    @pytest.mark.parametrize("way", ["image", "image/info"])
    def test_no_file_of_the_machine_is_an_image(self, guard, elsewhere, way):
        for image in (str(elsewhere), "../app-private", "/etc/passwd"):
            answer = guard.ask("user", "GET", f"/datastore/{way}", params={"image": image})
            assert answer.status_code == 400, answer.text

    def test_no_file_of_the_machine_is_read_by_a_model(self, guard, elsewhere):
        """By its path, or by its name in the folder that the server runs in."""
        assert infer(guard, image=str(elsewhere)).status_code == 400
        here = guard.annotating.server.settings.folder / "private.nii.gz"
        here.write_bytes(image_bytes(8))
        assert infer(guard, image=here.name).status_code == 404
        here.unlink()

    @pytest.mark.usefixtures("unchanged")
    @pytest.mark.parametrize(
        "params",
        [
            {"image": "/etc/passwd"},
            {"model": "other"},
            {"label": "/etc/passwd"},
            {"label": "settings.json"},
            {"session": {"image": "/etc/passwd"}},
            {"model_filename": "../../../evil.pt"},
            {"save_label": True},
            {"label_tag": "../../evil"},
            {"result_write_to_file": False},
            {"result_extension": "/../../evil.nrrd"},
            {"result_dtype": "object"},
            {"device": "cuda:0; rm"},
            {"device": {"a": 1}},
            {"foreground": [["/etc/passwd", 1, 2]]},
            {"foreground": "all"},
            {"bundle_path": "/var"},
            {"logging": "DEBUG"},
            {"_image_id": "x"},
        ],
    )
    def test_a_model_is_given_known_params_only(self, guard, params):
        form = {"params": json.dumps(params)}
        answer = guard.ask("user", "POST", f"/infer/{NAME}?image=first", data=form)
        assert answer.status_code == 400
        [key] = params
        assert key in answer.json()["error"]

    def test_what_the_viewers_send_is_known(self, guard):
        """OHIF's, Slicer's for clicks, and the configuration that /info/ shows."""
        models = guard.ask("user", "GET", "/info/").json()["models"]
        config = {
            key: value[0] if isinstance(value, list) else value
            for key, value in models[NAME]["config"].items()
        }
        points = {label: [[1, 2, 3]] for label in models[NAME]["labels"]}
        slicer = {
            "client_id": "user-xyz",
            "foreground": [[1, 2, 3], [4.5, 5, 6]],
            "background": [],
            "roi": [1, 2, 3, 4, 5, 6],
            "slice": 3,
            "reset_state": True,
            "label": next(iter(points)),
        }
        ohif = {"restore_label_idx": False, "result_compress": False, "label_prompt": [1, 2]}
        form = {"result_extension": ".nrrd", "result_dtype": "uint8"}
        answer = infer(guard, **{**config, **points, **slicer, **ohif, **form})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        ("path", "body", "key"),
        [
            (f"/train/{NAME}", {"bundle_path": "/var"}, "bundle_path"),
            (f"/train/{NAME}", {"model": "other"}, "model"),
            (f"/train/{NAME}", {"max_epochs": "many"}, "max_epochs"),
            (f"/train/{NAME}", {"max_epochs": True}, "max_epochs"),
            (f"/train/{NAME}", {"train_ds": "/etc/passwd"}, "train_ds"),
            ("/train/", {NAME: {"gpus": "0"}}, "gpus"),
            ("/train/", {NAME: "/etc"}, NAME),
            (f"/batch/infer/{NAME}", {"label_tag": "final"}, "label_tag"),
            (f"/batch/infer/{NAME}", {"image": "/etc/passwd"}, "image"),
            (f"/batch/infer/{NAME}", {"images": ["/etc/passwd"]}, "images"),
            (f"/batch/infer/{NAME}", {"max_workers": 64}, "max_workers"),
            ("/activelearning/random", {"strategy": "other"}, "strategy"),
            ("/activelearning/random", {"label_tag": "../x"}, "label_tag"),
        ],
    )
    def test_a_task_is_given_known_keys_only(self, guard, path, body, key):
        """`bundle_path` would go onto the path from which a training imports its code."""
        answer = guard.ask("admin", "POST", path, json=body)
        assert answer.status_code == 400
        assert key in answer.json()["error"]
        assert guard.ask("user", "GET", "/train/?check_if_running=true").status_code == 404

    @pytest.mark.usefixtures("unchanged")
    @pytest.mark.parametrize("form", [{"path": "/etc"}, {"ts": 1}, {"model": "../x"}])
    def test_a_label_is_given_known_params_only(self, guard, form):
        assert save(guard, form=form).status_code == 400

    @pytest.mark.parametrize("text", ["[1]", "{", '"x"', "null"])
    def test_params_that_are_no_object(self, guard, text):
        answer = guard.ask("user", "POST", f"/infer/{NAME}?image=first", data={"params": text})
        assert answer.status_code == 400
        assert "params is no JSON" in answer.json()["error"]

    @pytest.mark.usefixtures("unchanged")
    @pytest.mark.parametrize("session", ["..", "../../studies", "x", "%2e%2e"])
    def test_a_session_is_no_folder(self, guard, session):
        answer = guard.ask(
            "user", "POST", f"/infer/{NAME}?session_id={session}", data={"params": "{}"}
        )
        assert answer.status_code == 404
        assert guard.ask("user", "DELETE", f"/session/{session}").status_code in (404, 405)


class TestUploads:
    @pytest.mark.parametrize(
        "name",
        ["C:\\Users\\me\\label.nii.gz", "/home/me/.x/a.b/label.nii.gz", "../../label.nii.gz"],
    )
    def test_a_name_on_the_viewers_machine_says_only_how_it_ends(self, guard, name):
        assert save(guard, name=name).status_code == 200

    @pytest.mark.usefixtures("unchanged")
    def test_an_image_that_is_there_is_not_replaced(self, guard):
        answer = guard.ask(
            "annotator",
            "PUT",
            "/datastore/",
            params={"image": "first"},
            files={"file": ("other.nii.gz", image_bytes(5))},
        )
        assert answer.status_code == 400
        assert "first is there already" in answer.json()["error"]

    def test_an_image_is_added_and_removed(self, guard):
        sent = image_bytes(6)
        added = guard.ask("annotator", "PUT", "/datastore/", files={"file": ("extra.nii.gz", sent)})
        assert added.json() == {"image": "extra"}
        back = guard.ask("user", "GET", "/datastore/image", params={"image": "extra"})
        assert back.content == sent
        gone = guard.ask("admin", "DELETE", "/datastore/image", params={"id": "extra"})
        assert gone.status_code == 200
        assert guard.ask("user", "HEAD", "/datastore/image?image=extra").status_code == 404

    @pytest.mark.usefixtures("unchanged")
    def test_a_body_over_the_limit_is_refused_by_what_it_says(self, guard):
        answer = save(guard, body=b"\0" * (MOST_BYTES + 1))
        assert answer.status_code == 413
        assert f"over {MOST_BYTES} bytes" in answer.json()["error"]

    @pytest.mark.usefixtures("unchanged")
    @pytest.mark.parametrize("path", ["/datastore/label?image=first", "/session/"])
    def test_a_body_that_does_not_say_its_size_is_counted(self, guard, path):
        """In chunks, so that nothing announces how much there is."""

        def body():
            yield b'--x\r\nContent-Disposition: form-data; name="label"; '
            yield b'filename="label.nii.gz"\r\n\r\n'
            for _ in range(MOST_BYTES // 100_000 + 2):
                yield b"\0" * 100_000
            yield b"\r\n--x--\r\n"

        answer = guard.ask(
            "annotator",
            "PUT",
            path,
            content=body(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert answer.status_code == 413

    def test_a_body_without_a_file_has_a_small_limit(self, guard):
        answer = guard.ask("admin", "POST", "/train/", json={"x": "y" * 1_000_001})
        assert answer.status_code == 413

    def test_a_stranger_uploads_nothing(self, guard):
        """He is refused before his body is read: only its head was sent."""
        address = guard.annotating.server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.putrequest("PUT", "/datastore/label?image=first")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        assert connection.getresponse().status == 401
        connection.close()

    def test_weights_that_are_no_weights_are_refused(self, guard):
        place = guard.annotating.copy / "models/model.pt"
        before = place.read_bytes()
        for name, content in (("model.pt", b"no weights"), ("model.sh", b""), ("a.pt", evil())):
            answer = guard.ask("admin", "PUT", f"/model/{NAME}", files={"file": (name, content)})
            assert answer.status_code in (400, 422), answer.text
        assert place.read_bytes() == before

    def test_an_admin_replaces_weights(self, guard):
        file = io.BytesIO()
        torch.save(weights(), file)
        answer = guard.ask(
            "admin", "PUT", f"/model/{NAME}", files={"file": ("model.pt", file.getvalue())}
        )
        assert answer.status_code == 200, answer.text
        sent = guard.ask("admin", "GET", f"/model/{NAME}")
        assert sent.content == file.getvalue()
        checksum = guard.ask("admin", "GET", f"/model/info/{NAME}").json()["checksum"]
        assert checksum == answer.json()["checksum"]


class TestSessions:
    @pytest.fixture(autouse=True)
    def _ended(self, guard):
        self.open = []
        yield
        for role, session in self.open:
            guard.ask(role, "DELETE", f"/session/{session}")

    def begin(self, guard, role="user", files=None, **params):
        one = [("files", ("image.nii.gz", image_bytes()))]
        answer = guard.ask(role, "PUT", "/session/", params=params, files=files or one)
        if answer.status_code == 200:
            self.open.append((role, answer.json()["session_id"]))
        return answer

    def test_an_image_of_a_session_is_read_by_a_model(self, guard):
        session = self.begin(guard).json()["session_id"]
        answer = guard.ask(
            "user",
            "POST",
            f"/infer/{NAME}?image=local&session_id={session}",
            data={"params": "{}"},
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("multipart/form-data")

    def test_a_session_is_its_owners(self, guard):
        session = self.begin(guard).json()["session_id"]
        assert guard.ask("user", "GET", f"/session/{session}").status_code == 200
        for method in ("GET", "DELETE"):
            assert guard.ask("admin", method, f"/session/{session}").status_code == 404

    def test_there_are_only_so_many(self, guard):
        for _ in range(MOST_SESSIONS):
            assert self.begin(guard).status_code == 200
        refused = self.begin(guard, role="annotator")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        role, session = self.open.pop()
        guard.ask(role, "DELETE", f"/session/{session}")
        assert self.begin(guard, role="annotator").status_code == 200

    def test_one_that_is_over_gives_way(self, guard):
        first = self.begin(guard, expiry=1).json()["session_id"]
        self.begin(guard)
        assert eventually(lambda: self.begin(guard).status_code == 200)
        assert guard.ask("user", "GET", f"/session/{first}").status_code == 404

    def test_archives_are_not_unpacked(self, guard):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../evil.nii", b"\0" * 10_000_000)
        files = [("files", ("image.zip", packed.getvalue()))]
        answer = self.begin(guard, files=files, uncompress=True)
        assert answer.status_code == 400
        assert "not unpacked" in answer.json()["error"]
        assert self.begin(guard, files=files).status_code == 400

    @pytest.mark.parametrize("name", ["..", "", "a\x00b", "x" * 200, "same.dcm"])
    def test_slices_have_names_of_their_own(self, guard, name):
        files = [("files", ("same.dcm", b"1")), ("files", (name, b"2"))]
        assert self.begin(guard, files=files).status_code == 400


class TestManyAtOnce:
    def test_beyond_those_that_may_wait_one_is_told_to_come_back(self, guard):
        def burst():
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda _: infer(guard), range(8)))
            assert {each.status_code for each in answers} <= {200, 503}
            return [each for each in answers if each.status_code == 503]

        busy = eventually(burst)
        assert int(busy[0].headers["retry-after"]) > 0
        assert "run or wait" in busy[0].json()["error"]
        assert infer(guard).status_code == 200


class TestFailures:
    @pytest.mark.parametrize(
        ("method", "path", "status", "said"),
        [
            ("POST", "/infer/nope?image=first", 404, "no model 'nope'"),
            ("POST", f"/infer/{NAME}?image=nope", 404, "no image 'nope'"),
            ("POST", f"/infer/{NAME}", 400, "the image ''"),
            ("POST", f"/infer/{NAME}?image=first&output=dicom_seg", 400, "query.output"),
            ("POST", "/activelearning/nope", 404, "no strategy 'nope'"),
            ("POST", "/train/nope", 404, "no model to train 'nope'"),
            ("POST", f"/train/{NAME}?run_sync=true", 400, "run_sync"),
            ("POST", "/scoring/nope", 404, "no scoring method 'nope'"),
            ("POST", "/batch/infer/nope", 404, "no model 'nope'"),
            ("GET", "/datastore/image?image=nope", 404, "no image 'nope'"),
            ("GET", "/datastore/label?label=first&tag=none", 404, "no label 'none'"),
            ("DELETE", "/datastore/image?id=nope", 404, "no image 'nope'"),
            ("GET", "/datastore/image", 400, "query.image"),
            ("GET", "/session/nope", 404, "no session 'nope'"),
            ("GET", "/model/nope", 404, "no model 'nope'"),
            ("GET", "/datastore/?output=nope", 400, "query.output"),
            ("GET", "/logs/?lines=-1", 400, "query.lines"),
            ("GET", "/nowhere", 404, "nothing is at /nowhere"),
            ("DELETE", "/info/", 405, "DELETE is not for /info/"),
        ],
    )
    def test_each_is_json_with_what_happened_and_what_to_do(
        self, guard, method, path, status, said
    ):
        answer = guard.ask("admin", method, path)
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error", "hint"}
        assert said in answer.json()["error"]

    def test_an_error_that_nobody_foresaw_has_a_number_in_the_log(self, guard):
        """And no traceback or path in the answer."""
        broken = guard.annotating.copy / "models/model.pt"
        before = broken.read_bytes()
        broken.write_bytes(b"broken")
        answer = infer(guard)
        broken.write_bytes(before)
        assert answer.status_code == 500
        assert set(answer.json()) == {"error", "hint"}
        assert str(guard.folder) not in answer.text
        number = answer.json()["error"].rpartition(" ")[2]
        log = guard.ask("reviewer", "GET", "/logs/", params={"lines": 500})
        assert log.headers["content-type"].startswith("text/plain")
        assert f"error {number}" in log.text
        assert "Traceback" in log.text

    def test_the_log_is_text_whatever_is_asked(self, guard):
        """MONAI Label's page runs scripts of other hosts."""
        answer = guard.ask("reviewer", "GET", "/logs/?html=true&lines=2")
        assert answer.headers["content-type"].startswith("text/plain")
        assert len(answer.text.splitlines()) == 2

    def test_nothing_that_was_uploaded_is_left_behind(self, guard):
        for image in IMAGES:
            infer(guard, image=image)
        save(guard)
        save(guard, body=b"nonsense")
        temporary = guard.annotating.server.settings.folder / "tmp"
        assert eventually(lambda: not list(temporary.iterdir()))

    def test_tokens_are_in_no_log(self, guard):
        log = guard.annotating.server.log.read_text(encoding="utf-8")
        assert token_of("admin") not in log


def evil() -> bytes:
    """A file of torch that holds more than weights."""
    file = io.BytesIO()
    torch.save({"run": Path("/etc/passwd")}, file)
    return file.getvalue()
