"""Several people on the images of one folder, through the server with users."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from annotated import FIRST, LABEL_INFO, NAME, SECOND, nifti
from gateway import eventually
from label_app.guarded import Guarded, token_of

pytestmark = pytest.mark.timeout(200)
SHAPE = (16, 16, 16)
# Voxels of 6 mm³.
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
ANN, BOB, REVIEWER = "annotator", "admin", "reviewer"


def cuboid(first: int, value: int = 1) -> NDArray[np.uint8]:
    """8 x 8 x 8 voxels that begin at `first` of the first axis."""
    label = np.zeros(SHAPE, np.uint8)
    label[first : first + 8, 4:12, 4:12] = value
    return label


class People:
    """What they ask for."""

    def __init__(self, guard: Guarded) -> None:
        self.guard = guard

    def ask(self, who: str, method: str, path: str, **how: Any) -> httpx.Response:
        return self.guard.ask(who, method, path, **how)

    def add(self) -> str:
        """A new image, whose ellipsoid by the tiny bundle is `cuboid(2)`."""
        name = f"people-{uuid4().hex[:12]}"
        values = np.where(cuboid(2) > 0, 1144, 1024).astype(np.float32)
        answer = self.ask(
            ANN,
            "PUT",
            "/datastore/image",
            files={"file": (f"{name}.nii.gz", nifti(values, AFFINE))},
        )
        assert answer.status_code == 200, answer.text
        return name

    def save(self, who: str, image: str, label: NDArray[np.uint8], **params: Any) -> httpx.Response:
        return self.ask(
            who,
            "PUT",
            "/datastore/label",
            params={"image": image},
            data={"params": json.dumps({"label_info": LABEL_INFO, **params})},
            files={"label": ("label.nii.gz", nifti(label, AFFINE))},
        )

    def post(self, who: str, action: str, image: str, **fields: Any) -> httpx.Response:
        return self.ask(who, "POST", f"/work/{action}", data={"image": image, **fields})

    def image(self, image: str, who: str = REVIEWER) -> dict[str, Any]:
        answer = self.ask(who, "GET", "/work/image", params={"image": image})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def label_of(self, image: str, who: str) -> dict[str, Any]:
        """His newest label."""
        of_him = [each for each in self.image(image)["labels"] if each["annotator"] == who]
        newest: dict[str, Any] = of_him[0]
        return newest

    def say(self, who: str, image: str, label: str, state: str, reason: str = "") -> httpx.Response:
        return self.post(who, "review", image, label=label, state=state, reason=reason)

    def free_all(self) -> None:
        """Whatever other tests have left with somebody."""
        for each in self.ask(REVIEWER, "GET", "/work").json()["images"]:
            for hold in each["holds"]:
                self.post(REVIEWER, "release", each["image"], reader=hold["reader"])

    def final(self, image: str) -> NDArray[np.uint8]:
        """The label that training gets."""
        pairs = self.ask(ANN, "GET", "/datastore/", params={"output": "train"}).json()
        [pair] = [each for each in pairs if image in each["image"]]
        return np.asarray(nibabel.load(pair["label"]).dataobj).astype(np.uint8)


@pytest.fixture
def people(guard: Guarded) -> People:
    return People(guard)


@pytest.fixture
def image(people: People) -> Iterator[str]:
    name = people.add()
    yield name
    people.ask("admin", "DELETE", "/datastore/", params={"id": name})


def test_two_readers_of_one_image_keep_their_own_labels(people: People, image: str) -> None:
    """The figures are arithmetic: one cuboid lies 3 voxels of 2 mm beside the other."""
    people.save(ANN, image, cuboid(2)).raise_for_status()
    people.save(BOB, image, cuboid(5)).raise_for_status()
    assert np.array_equal(people.final(image), cuboid(5))
    found = people.image(image)
    assert {each["annotator"] for each in found["labels"]} == {ANN, BOB}
    [agreement] = found["agreement"]
    assert agreement["readers"] == [BOB, ANN]
    [pair] = agreement["pairs"]
    figures = pair["segments"][FIRST]
    assert figures["dice"] == pytest.approx(2 * 5 / 16)
    assert figures["hd95_mm"] == pytest.approx(6.0)
    assert 0 < figures["mean_surface_mm"] < 6.0
    assert pair["segments"][SECOND] == {"dice": 1.0, "mean_surface_mm": None, "hd95_mm": None}
    assert agreement["volumes_ml"][ANN] == {FIRST: pytest.approx(512 * 6 / 1000), SECOND: 0.0}


def test_the_approved_label_is_the_one_that_counts(people: People, image: str) -> None:
    for who, first in ((ANN, 2), (BOB, 5)):
        people.save(who, image, cuboid(first)).raise_for_status()
    label = people.label_of(image, ANN)
    answer = people.say(REVIEWER, image, label["id"], "approved")
    assert answer.status_code == 200, answer.text
    assert np.array_equal(people.final(image), cuboid(2))
    people.save(BOB, image, cuboid(6)).raise_for_status()
    assert np.array_equal(people.final(image), cuboid(2))
    steps = people.label_of(image, ANN)["steps"]
    assert [(each["state"], each["by"]) for each in steps] == [
        ("corrected", ANN),
        ("approved", REVIEWER),
    ]


def test_a_returned_label_counts_no_more(people: People, image: str) -> None:
    """The image is without a label again, and its reader sees why."""
    people.save(ANN, image, cuboid(2)).raise_for_status()
    label = people.label_of(image, ANN)["id"]
    assert people.say(REVIEWER, image, label, "returned").status_code == 400
    people.say(REVIEWER, image, label, "returned", "too far left").raise_for_status()
    gone = people.ask(ANN, "GET", "/datastore/label", params={"label": image, "tag": "final"})
    assert gone.status_code == 404
    found = people.image(image, ANN)
    assert (found["state"], found["returned_to"]) == ("returned", [ANN])
    assert found["labels"][0]["steps"][-1]["reason"] == "too far left"
    again = people.say(REVIEWER, image, label, "approved")
    assert again.status_code == 409
    assert "is returned, not to be approved" in again.json()["error"]
    people.save(ANN, image, cuboid(3)).raise_for_status()
    assert np.array_equal(people.final(image), cuboid(3))


def test_nobody_approves_his_own_label(people: People, image: str) -> None:
    people.save(REVIEWER, image, cuboid(2)).raise_for_status()
    label = people.label_of(image, REVIEWER)["id"]
    own = people.say(REVIEWER, image, label, "approved")
    assert (own.status_code, own.json()["error"]) == (403, "reviewer has drawn it")
    people.say("admin", image, label, "approved").raise_for_status()


def test_a_consensus_is_a_label_of_its_own(people: People, image: str) -> None:
    """What two of three have drawn, with how each of them did."""
    alone = people.post(REVIEWER, "consensus", image)
    assert alone.status_code == 409
    for who, first in ((ANN, 4), (BOB, 4), (REVIEWER, 6)):
        people.save(who, image, cuboid(first)).raise_for_status()
    made = people.post(REVIEWER, "consensus", image)
    assert made.status_code == 200, made.text
    assert made.json()["readers"] == [BOB, ANN, REVIEWER]
    assert np.array_equal(people.final(image), cuboid(4))
    figures = made.json()["performance"][FIRST]
    assert figures[ANN]["sensitivity"] == pytest.approx(1.0, abs=1e-3)
    assert figures[REVIEWER]["sensitivity"] == pytest.approx(6 / 8, abs=1e-3)
    agreed = people.image(image)["labels"][0]
    assert (agreed["is_consensus"], agreed["counts"], agreed["from_model"]) == (True, True, {})
    assert len(people.image(image)["agreement"][0]["readers"]) == 3
    own = people.say("admin", image, agreed["id"], "approved")
    assert own.status_code == 403
    info = people.ask(
        ANN, "GET", "/datastore/label/info", params={"label": image, "tag": "final"}
    ).json()
    assert info["consensus"]["labels"] == made.json()["labels"]


def test_what_is_with_one_reader_is_saved_by_no_other(people: People, image: str) -> None:
    people.post(ANN, "take", image).raise_for_status()
    refused = people.save(BOB, image, cuboid(2))
    assert refused.status_code == 409
    assert f"{image} is with {ANN} since 20" in refused.json()["error"]
    assert " until 20" in refused.json()["error"]
    assert people.post(BOB, "take", image).status_code == 409
    people.save(ANN, image, cuboid(2)).raise_for_status()
    assert people.image(image)["holds"] == []
    people.save(BOB, image, cuboid(2)).raise_for_status()


def test_a_reviewer_breaks_a_lock_and_an_annotator_only_his_own(people: People, image: str) -> None:
    people.post(BOB, "take", image).raise_for_status()
    assert people.post(ANN, "release", image, reader=BOB).status_code == 403
    assert people.post(ANN, "release", image).status_code == 404
    people.post(REVIEWER, "release", image, reader=BOB).raise_for_status()
    people.save(ANN, image, cuboid(2)).raise_for_status()


def test_a_lock_ends_by_itself(people: People, image: str) -> None:
    """This one after a second."""
    people.post(BOB, "take", image, hours=1 / 3600).raise_for_status()
    assert people.post(BOB, "take", image, hours=0).status_code == 400
    assert eventually(lambda: people.save(ANN, image, cuboid(2)).status_code == 200)


def test_what_was_assigned_is_the_next_one(people: People, image: str) -> None:
    """Also for a second reader, after the first has saved his."""
    for who in (ANN, BOB):
        given = people.post(REVIEWER, "assign", image, reader=who)
        assert given.json()["given_by"] == REVIEWER
    people.save(BOB, image, cuboid(2)).raise_for_status()
    assert people.ask(ANN, "POST", "/activelearning/random", json={}).json()["id"] == image
    assert people.post(REVIEWER, "assign", image, reader="user").status_code == 404
    assert people.post(REVIEWER, "assign", "no-such-image", reader=ANN).status_code == 404
    people.save(ANN, image, cuboid(2)).raise_for_status()


def test_two_who_ask_at_once_get_two_images(people: People, image: str) -> None:
    other = people.add()
    people.free_all()
    for each in ("first", "second", "third"):
        people.post(REVIEWER, "assign", each, reader=REVIEWER).raise_for_status()
    found: dict[str, str] = {}

    def ask(who: str) -> None:
        headers = {"Authorization": f"Bearer {token_of(who)}"}
        url = f"{people.guard.annotating.server.url}/activelearning/first"
        found[who] = httpx.post(url, json={}, headers=headers, timeout=60).json().get("id", "")

    threads = [threading.Thread(target=ask, args=(who,)) for who in (ANN, BOB)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(found.values()) == {image, other}
    third = people.ask("admin", "POST", "/activelearning/first", json={}).json()
    assert third["id"] == found[BOB]
    for each in ("first", "second", "third"):
        people.post(REVIEWER, "release", each).raise_for_status()
    people.ask("admin", "DELETE", "/datastore/", params={"id": other})


def test_two_who_save_at_once_are_both_kept(people: People, image: str) -> None:
    """Ten labels from two readers, and the file that counts is one of them, whole."""
    answers: list[int] = []

    def save(who: str) -> None:
        url, headers = (
            people.guard.annotating.server.url,
            {"Authorization": f"Bearer {token_of(who)}"},
        )
        for first in range(2, 7):
            answer = httpx.put(
                f"{url}/datastore/label",
                params={"image": image},
                data={"params": json.dumps({"label_info": LABEL_INFO})},
                files={"label": ("label.nii.gz", nifti(cuboid(first), AFFINE))},
                headers=headers,
                timeout=60,
            )
            answers.append(answer.status_code)

    threads = [threading.Thread(target=save, args=(who,)) for who in (ANN, BOB)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert answers == [200] * 10
    labels = people.image(image)["labels"]
    assert sorted(each["annotator"] for each in labels) == [BOB] * 5 + [ANN] * 5
    assert np.array_equal(people.final(image), cuboid(6))


def test_an_edit_is_measured_against_what_the_model_showed(people: People, image: str) -> None:
    """One row of 8 x 8 voxels taken away, another of another image without an answer."""
    shown = people.ask(
        ANN,
        "POST",
        f"/infer/{NAME}",
        params={"image": image, "output": "image"},
        data={"params": json.dumps({"result_extension": ".nrrd", "result_dtype": "uint8"})},
    )
    assert shown.status_code == 200, shown.text
    drawn = cuboid(2)
    drawn[2] = 0
    people.save(ANN, image, drawn, model=NAME, seconds_spent=30).raise_for_status()
    label = people.label_of(image, ANN)
    proposal = label["edit_distance"]["proposal"]
    assert (proposal["came_by"], proposal["model"], proposal["version"]) == ("infer", NAME, "0.4.2")
    assert len(proposal["weights_sha256"]) == 64
    figures = label["edit_distance"]["segments"][FIRST]
    assert figures["dice"] == pytest.approx(2 * 7 / 15, abs=1e-4)
    assert figures["hd95_mm"] == pytest.approx(2.0)
    assert figures["changed_ml"] == pytest.approx(64 * 6 / 1000)
    assert label["seconds_spent"] == 30
    people.save(BOB, image, drawn).raise_for_status()
    unknown = people.label_of(image, BOB)
    assert unknown["edit_distance"] is None
    assert f"no answer of {NAME} to {BOB}" in unknown["no_edit_distance"]


def test_what_a_batch_proposed_is_compared_too(people: People, image: str) -> None:
    """It is proposed, which nobody can approve."""
    answer = people.ask(
        ANN,
        "PUT",
        "/datastore/label",
        params={"image": image, "tag": "original"},
        data={"params": json.dumps({"model": NAME})},
        files={"label": ("label.nii.gz", nifti(cuboid(2), AFFINE))},
    )
    assert answer.status_code == 200, answer.text
    [proposed] = people.image(image)["labels"]
    assert (proposed["state"], people.image(image)["state"]) == ("proposed", "proposed")
    refused = people.say(REVIEWER, image, proposed["id"], "approved")
    assert refused.status_code == 409
    assert "is proposed, not to be approved" in refused.json()["error"]
    people.save(BOB, image, cuboid(4)).raise_for_status()
    edits = people.label_of(image, BOB)["edit_distance"]
    assert edits["proposal"]["came_by"] == "original"
    assert edits["segments"][FIRST]["hd95_mm"] == pytest.approx(4.0)


def test_a_file_that_somebody_put_there_is_not_lost(people: People, image: str) -> None:
    """A label from before, of which nothing is known, is one of several then."""
    place = people.guard.studies / "labels/final" / f"{image}.nii.gz"
    people.save(ANN, image, cuboid(2)).raise_for_status()
    place.write_bytes(nifti(cuboid(7), AFFINE))
    people.save(BOB, image, cuboid(3)).raise_for_status()
    readers = [each["annotator"] for each in people.image(image)["labels"]]
    assert readers == [BOB, "unknown", ANN]


class TestPage:
    def page(self, people: People, who: str, path: str) -> httpx.Response:
        return people.ask(who, "GET", path, headers={"Accept": "text/html"})

    def test_a_reviewer_sees_all_and_acts_by_forms(self, people, image):
        for who, first in ((ANN, 2), (BOB, 5)):
            people.save(who, image, cuboid(first)).raise_for_status()
        listed = self.page(people, REVIEWER, "/work?show=review")
        assert image in listed.text
        shown = self.page(people, REVIEWER, f"/work/image?image={image}")
        assert shown.headers["content-security-policy"].startswith("default-src 'none'")
        assert "<script" not in shown.text
        for said in ("0.625", "6.00", "Approve", "Make and store their consensus", "Assign"):
            assert said in shown.text
        label = people.label_of(image, ANN)["id"]
        fields = {"image": image, "label": label, "state": "returned", "reason": "<b>left</b>"}
        sent = people.ask(
            REVIEWER, "POST", "/work/review", data=fields, headers={"Accept": "text/html"}
        )
        assert (sent.status_code, sent.headers["location"]) == (
            303,
            f"/work/image?image={image}",
        )
        refused = people.ask(
            REVIEWER, "POST", "/work/review", data=fields, headers={"Accept": "text/html"}
        )
        assert refused.status_code == 409
        assert 'role="alert"' in refused.text
        again = self.page(people, REVIEWER, f"/work/image?image={image}").text
        assert "&lt;b&gt;left&lt;/b&gt;" not in again
        own = self.page(people, ANN, f"/work/image?image={image}").text
        assert "<b>left" not in own

    def test_an_annotator_sees_his_own_and_takes_what_is_free(self, people, image):
        """And not what others have drawn of it: he is to draw by himself."""
        other = people.add()
        people.save(BOB, image, cuboid(2)).raise_for_status()
        mine = self.page(people, ANN, "/work").text
        assert image not in mine
        assert other in self.page(people, ANN, "/work?show=free").text
        taken = people.ask(
            ANN,
            "POST",
            "/work/take",
            data={"image": other, "next": "/work?show=mine&page=1"},
            headers={"Accept": "text/html"},
        )
        assert taken.headers["location"] == "/work?show=mine&page=1"
        assert other in self.page(people, ANN, "/work").text
        assert self.page(people, ANN, "/work?show=all").status_code == 403
        assert people.image(image, ANN)["labels"] == []
        away = people.ask(
            ANN,
            "POST",
            "/work/release",
            data={"image": other, "next": "//evil.example/work"},
            headers={"Accept": "text/html"},
        )
        assert away.headers["location"] == f"/work/image?image={other}"
        people.ask("admin", "DELETE", "/datastore/", params={"id": other})

    def test_a_stranger_logs_in_first_and_comes_back(self, people):
        sent = people.guard.client.get("/work?show=mine", headers={"Accept": "text/html"})
        assert sent.headers["location"] == "/login?next=/work%3Fshow%3Dmine"

    def test_a_form_of_another_site_does_nothing(self, people, image):
        login = people.guard.client.post(
            "/login", data={"username": ANN, "password": token_of(ANN)}
        )
        people.guard.client.cookies.clear()
        cookie = {"Cookie": f"wetread_login={login.cookies['wetread_login']}"}
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = people.guard.client.post(
                "/work/take", data={"image": image}, headers={**cookie, **headers}
            )
            assert answer.status_code == 403
        assert people.image(image)["holds"] == []


def test_a_restart_forgets_nothing(people: People, image: str) -> None:
    """Killed, not stopped: labels, states, holds and the proposal are as they were."""
    people.ask(
        BOB,
        "POST",
        f"/infer/{NAME}",
        params={"image": image, "output": "json"},
        data={"params": "{}"},
    ).raise_for_status()
    people.save(ANN, image, cuboid(2)).raise_for_status()
    people.say(REVIEWER, image, people.label_of(image, ANN)["id"], "approved").raise_for_status()
    people.post(REVIEWER, "assign", image, reader=BOB).raise_for_status()
    before = people.image(image)
    people.guard.annotating.server.kill()
    people.guard.annotating.server.start()
    assert people.image(image) == before
    people.save(BOB, image, cuboid(5)).raise_for_status()
    assert people.label_of(image, BOB)["edit_distance"]["proposal"]["came_by"] == "infer"
    assert np.array_equal(people.final(image), cuboid(2))
