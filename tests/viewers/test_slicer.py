"""3D Slicer's module MONAI Label: its own client, and its requests by name."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from annotated import CODES, FIRST, LABEL_INFO, NAME, label_of, nifti, voxels
from conftest import ROOT
from gateway import eventually
from phantom import PhantomSeries
from viewers.conftest import READER, TOKEN, Served
from wetread.label.environment import DEFAULT_FOLDER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CLIENT = Path(__file__).with_name("slicer_client.py")


@dataclass(frozen=True)
class Replayed:
    """What Slicer's client was told, and what it worked on."""

    told: dict[str, Any]
    series: PhantomSeries
    image: nibabel.Nifti1Image

    @property
    def uid(self) -> str:
        return self.series.series_instance_uid

    @property
    def truth(self) -> NDArray[np.uint8]:
        return label_of(self.series, self.image)

    def file(self, key: str) -> nibabel.Nifti1Image:
        return nibabel.load(self.told[key]["file"])


@pytest.fixture(scope="module")
def replayed(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    folder = tmp_path_factory.mktemp("slicer")
    series = served.add("for slicer", oblique_degrees=25.0)
    image = served.annotating.image(series.series_instance_uid, folder)
    (folder / "label.nii.gz").write_bytes(nifti(label_of(series, image), image.affine))
    asked = {
        "url": served.url,
        "name": READER,
        "token": TOKEN,
        "image": series.series_instance_uid,
        "other": str(folder / "image.nii.gz"),
        "label": str(folder / "label.nii.gz"),
        "names": LABEL_INFO,
        "model": NAME,
        "folder": str(folder),
    }
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    python = ROOT / DEFAULT_FOLDER / "bin/python"
    done = subprocess.run(
        [str(python), "-W", "ignore", str(CLIENT), str(folder / "asked.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Replayed(json.loads(done.stdout), series, image)


class TestItsOwnClient:
    def test_it_learns_that_it_must_log_in_and_does(self, replayed):
        assert replayed.told["auth_enabled"] is True
        assert (replayed.told["valid_before"], replayed.told["valid_after"]) == (False, True)

    def test_it_is_told_of_models_trainers_and_strategies(self, replayed):
        info = replayed.told["info"]
        assert info["models"][NAME]["type"] == "segmentation"
        assert FIRST in json.dumps(info["models"][NAME]["labels"])
        assert info["trainers"][NAME]["config"]["max_epochs"] == 10
        assert "first" in info["strategies"]

    def test_the_next_sample_names_the_image_and_why(self, replayed):
        chosen = replayed.told["next"]
        assert chosen["id"]
        assert chosen["reason"]

    @pytest.mark.parametrize("key", ["infer", "session_infer"])
    def test_a_mask_is_the_phantoms_on_the_images_own_grid(self, replayed, key):
        """Of an image of the archive, and of one that Slicer sent."""
        mask = replayed.file(key)
        assert np.allclose(mask.affine, replayed.image.affine, atol=1e-3)
        assert np.array_equal(voxels(mask), replayed.truth)
        assert "label_names" in replayed.told[key]["params"]

    def test_a_session_holds_the_image_that_was_sent(self, replayed):
        assert replayed.told["session"]["image"].endswith(".nii.gz")

    def test_a_saved_label_is_a_segmentation_and_comes_back_as_it_was(self, replayed, served):
        [stored] = served.segmentations(replayed.series)
        codes = {
            each.SegmentLabel: each.SegmentedPropertyTypeCodeSequence[0].CodeValue
            for each in stored.SegmentSequence
        }
        assert codes == CODES
        assert replayed.told["saved"]["image"] == replayed.uid
        assert "final" in replayed.told["datastore"]["objects"][replayed.uid]["labels"]
        label = nibabel.load(replayed.told["downloaded"])
        assert np.array_equal(voxels(label), replayed.truth)

    def test_a_training_starts_is_seen_and_stops(self, replayed, served):
        told = replayed.told
        assert told["running_before"] is False
        assert told["started"]["status"] in ("SUBMITTED", "RUNNING")
        assert told["running"] is True
        assert told["status"]["id"] == told["started"]["id"]
        assert told["status"]["status"] in ("SUBMITTED", "RUNNING")
        get = served.annotating.get
        eventually(lambda: get("/train/", check_if_running=True).status_code == 404, 30)


class TestItsRequests:
    """The names of queries and fields that the module sends, one by one."""

    def test_an_image_goes_in_by_the_older_name_of_the_path(self, served, replayed):
        """An archive takes images from its own senders, so that the answer is a reason."""
        answer = served.annotating.client.put(
            "/datastore/",
            params={"image": "sent"},
            data={"params": "{}"},
            files={"file": ("sent.nii.gz", replayed.image.to_bytes())},
        )
        assert answer.status_code in (400, 409, 422)
        assert set(answer.json()) == {"error", "hint"}

    def test_an_inference_is_params_and_a_file(self, served, replayed):
        """And JSON alone where no file is asked for."""
        how: dict[str, Any] = {"data": {"params": json.dumps({"client_id": "slicer"})}}
        post = served.annotating.client.post
        answer = post(f"/infer/{NAME}", params={"image": replayed.uid}, **how)
        assert answer.headers["content-type"].startswith("multipart/form-data")
        assert b'name="params"' in answer.content
        assert b'name="image"; filename="' in answer.content
        bare = post(f"/infer/{NAME}", params={"image": replayed.uid, "output": "json"}, **how)
        assert bare.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("method", "names"), [("GET", {"label": "uid"}), ("HEAD", {"image": "uid"})]
    )
    def test_a_label_is_asked_for_by_two_names(self, served, replayed, method, names):
        params = {**dict.fromkeys(names, replayed.uid), "tag": "final"}
        answer = served.annotating.client.request(method, "/datastore/label", params=params)
        assert answer.status_code == 200

    def test_a_label_goes_in_under_its_tag(self, served, replayed):
        """Without one it is final; a tag that leads out of the folder is refused."""
        answer = served.annotating.client.put(
            "/datastore/label",
            params={"image": replayed.uid, "tag": "../out"},
            data={"params": json.dumps({"label_info": LABEL_INFO})},
            files={"label": ("label.nii.gz", nifti(replayed.truth, replayed.image.affine))},
        )
        assert answer.status_code in (400, 422)
        assert set(answer.json()) == {"error", "hint"}

    def test_no_training_is_404_and_an_unknown_one_too(self, served):
        get = served.annotating.get("/train/", check_if_running=True)
        assert get.status_code == 404
        assert served.annotating.post("/train/no_such_model").status_code == 404
