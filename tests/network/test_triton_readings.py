"""Whole pipelines on a real Triton, asked by programs that know nothing of wetread."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK
import tritonclient.grpc
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from conftest import ROOT
from gateway import eventually
from triton_server import ENVIRONMENT, pending
from wetread.config import EmbeddedModel
from wetread.infer.base import no_progress
from wetread.infer.bundle import open_model
from wetread.infer.subjects import volume_of_modalities
from wetread.label.environment import DEFAULT_FOLDER, open_environment
from wetread.models.export import build_models
from wetread.models.readings import write_reading
from wetread.results import FindingsResult, SegmentationResult
from wetread.triton.server import TritonServer

BUNDLES = (
    "brain_mr_extraction",
    "chest_xray_classification",
    "hippocampus_mr_segmentation",
    "lung_ct_classification",
    "multimodal_fusion",
)
SEGMENTER = "hippocampus_mr_segmentation"
REPOSITORY = ROOT / ".cache" / "triton_models"
HEAD = ROOT / ".cache" / "head" / "ch2.nii.gz"
PAGE = ROOT / "triton_models" / "README.md"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    models = []
    for name in BUNDLES:
        bundle = ROOT / "bundles" / name
        models += [each.network for each in build_models(bundle, REPOSITORY, no_progress)]
        models.append(write_reading(bundle, REPOSITORY).name)
    log = tmp_path_factory.mktemp("readings") / "triton.log"
    with TritonServer(REPOSITORY, models, ENVIRONMENT, log=log) as running:
        assert not running.failed, running.failed
        yield running


def examples() -> list[str]:
    """The programs on the page."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run_alone(program: str, folder: Path) -> str:
    """What a program prints that has nothing of wetread."""
    without = "import sys\nsys.modules['wetread'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", without + program],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(
    server: TritonServer, bundle: str, image: NDArray[Any], affine: NDArray[Any] | None = None
) -> tritonclient.grpc.InferResult:
    given = [tritonclient.grpc.InferInput("image", image.shape, "FP32")]
    given[0].set_data_from_numpy(np.ascontiguousarray(image, np.float32))
    if affine is not None:
        given.append(tritonclient.grpc.InferInput("affine", (4, 4), "FP64"))
        given[1].set_data_from_numpy(np.asarray(affine, np.float64))
    with closing(tritonclient.grpc.InferenceServerClient(server.grpc_url)) as client:
        return client.infer(f"{bundle}_reading", given)


def read_here(
    bundle: str, image: NDArray[Any], affine: NDArray[Any]
) -> SegmentationResult | FindingsResult:
    config = EmbeddedModel(bundle=ROOT / "bundles" / bundle)
    volume = highdicom.Volume(image, affine, coordinate_system="PATIENT")
    with closing(open_model(bundle, config, REPOSITORY)) as model:
        return model.read(volume, no_progress)


def test_twelve_lines_get_a_brain(server: TritonServer, tmp_path: Path) -> None:
    """Colin27, whose brain is 1956.4 mL; on its own grid, on the right side."""
    program = examples()[0]
    assert len([line for line in program.splitlines() if line.strip()]) <= 12
    (tmp_path / "head.nii.gz").symlink_to(HEAD)
    said = run_alone(program.replace("127.0.0.1:8001", server.grpc_url), tmp_path)
    assert said.strip() == "1956.4 mL"
    brain, head = nibabel.load(tmp_path / "brain.nii.gz"), nibabel.load(HEAD)
    assert brain.shape == head.shape
    assert np.array_equal(brain.affine, head.affine)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ head.affine
    here = read_here("brain_mr_extraction", np.asarray(head.dataobj, np.float32), lps)
    assert isinstance(here, SegmentationResult)
    assert np.array_equal(np.asarray(brain.dataobj), here.labelmap)


def test_a_picture_is_judged_over_http(server: TritonServer, tmp_path: Path) -> None:
    rows, columns = np.indices((320, 288))
    grey = 128 + 60 * np.sin(rows / 31) * np.cos(columns / 23)
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "chest.png")
    program = examples()[1].replace("127.0.0.1:8000", server.http_url)
    said = json.loads(run_alone(program, tmp_path).replace("'", '"'))
    here = read_here("chest_xray_classification", grey.astype(np.uint8)[None] * 1.0, np.eye(4))
    assert isinstance(here, FindingsResult)
    assert said == pytest.approx(dict(here.probabilities), abs=1e-4)


def test_a_mirrored_affine_is_a_mirrored_mask(server: TritonServer) -> None:
    """The voxels are the same; what they are called is not, and so the mask is another."""
    random = np.random.default_rng(3)
    image = random.normal(100, 20, (36, 48, 36)).astype(np.float32)
    image[10:26, 12:36, 12:24] += 80
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    for each in (affine, np.diag([1.0, -1.0, 1.0, 1.0])):
        here = read_here("hippocampus_mr_segmentation", image, each)
        assert isinstance(here, SegmentationResult)
        served = ask(server, "hippocampus_mr_segmentation", image, each).as_numpy("labelmap")
        assert (served == here.labelmap).mean() > 0.9999


def test_a_volume_of_slices_is_judged_as_a_whole(server: TritonServer) -> None:
    """Of CT, which comes in Hounsfield units, with the slices through the network in batches."""
    values = np.random.default_rng(6).normal(-400, 300, (20, 96, 80)).astype(np.float32)
    affine = np.diag([2.5, 0.7, 0.7, 1.0])
    here = read_here("lung_ct_classification", values, affine)
    assert isinstance(here, FindingsResult)
    found = ask(server, "lung_ct_classification", values, affine).as_numpy("probabilities")
    assert found == pytest.approx(list(here.probabilities.values()), abs=1e-4)


def read_by(server: TritonServer, model: str) -> int:
    """How many inputs went through a network so far, the warm-up too."""
    with closing(tritonclient.grpc.InferenceServerClient(server.grpc_url)) as client:
        [found] = client.get_inference_statistics(model).model_stats
    return int(found.inference_count)


def test_a_volume_that_nobody_waits_for_is_not_read(server: TritonServer) -> None:
    """It stands behind another one of the same pipeline when its client goes."""
    shape, affine = (64, 64, 64), np.diag([-3.0, -3.0, 3.0, 1.0])
    image = np.random.default_rng(9).normal(100, 20, shape).astype(np.float32)
    given = [
        tritonclient.grpc.InferInput("image", shape, "FP32"),
        tritonclient.grpc.InferInput("affine", (4, 4), "FP64"),
    ]
    for each, values in zip(given, (image, affine), strict=True):
        each.set_data_from_numpy(values)
    before = read_by(server, "brain_mr_locator")
    answers: queue.Queue[Any] = queue.Queue()
    with closing(tritonclient.grpc.InferenceServerClient(server.grpc_url)) as client:

        def asked() -> Any:
            return client.async_infer(
                "brain_mr_extraction_reading", given, lambda result, error: answers.put(error)
            )

        asked()
        gone = asked()
        eventually(lambda: pending(server, "brain_mr_extraction_reading") == 1)
        gone.cancel()
        asked()
        errors = [answers.get(timeout=60) for _ in range(3)]
    assert sorted(error is None for error in errors) == [False, True, True]
    assert read_by(server, "brain_mr_locator") == before + 2


def test_several_modalities_are_one_image(server: TritonServer) -> None:
    """The fourth axis; T2 is absent."""
    image = np.random.default_rng(2).normal(40, 30, (44, 48, 40, 4)).astype(np.float32)
    image[..., 1] = 0
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    bundle = "multimodal_fusion"
    volume = volume_of_modalities(image, affine, ("t1", "t2", "flair", "ct"))
    config = EmbeddedModel(bundle=ROOT / "bundles" / bundle)
    with closing(open_model(bundle, config, REPOSITORY)) as model:
        here = model.read(volume, no_progress)
    assert isinstance(here, FindingsResult)
    found = ask(server, bundle, image, affine).as_numpy("probabilities")
    assert found == pytest.approx(list(here.probabilities.values()), abs=1e-4)


def test_the_answer_names_the_weights_that_the_gateway_names(server: TritonServer) -> None:
    image = np.random.default_rng(1).random((1, 64, 64))
    answer = ask(server, "chest_xray_classification", image)
    said = json.loads(answer.as_numpy("model")[0])
    here = read_here("chest_xray_classification", image.astype(np.float32), np.eye(4))
    assert said["weights_sha256"] == here.model.weights_sha256
    assert said["version"] == here.model.version


def test_a_picture_unlike_those_of_training_is_told_apart(server: TritonServer) -> None:
    image = np.random.default_rng(1).random((1, 300, 280))
    [warning] = ask(server, "chest_xray_classification", image).as_numpy("warning")
    assert warning.decode().startswith("Unlike what this model was trained on: distance ")


@pytest.mark.parametrize(
    ("bundle", "image", "affine", "reason"),
    [
        ("chest_xray_classification", np.zeros((1, 64, 64)), None, "has no contrast"),
        ("chest_xray_classification", np.full((1, 64, 64), np.nan), None, "4096 voxels are NaN"),
        ("hippocampus_mr_segmentation", np.ones((9, 9, 9)), np.zeros((4, 4)), "affine: "),
        ("hippocampus_mr_segmentation", np.ones((9, 9, 9)), None, "expected 2 inputs"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_reason(
    server: TritonServer, bundle: str, image: Any, affine: Any, reason: str
) -> None:
    with pytest.raises(InferenceServerException) as raised:
        ask(server, bundle, image, affine)
    assert reason in raised.value.message()
    # The next one is read.
    assert ask(server, "chest_xray_classification", np.eye(64)[None]).as_numpy("model")[0]


def test_the_annotation_server_gets_the_same_mask(server: TritonServer, tmp_path: Path) -> None:
    """From its own environment, for a viewer that wants NRRD; on the image's grid."""
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (20.0, -7.0, 3.0)
    values = np.random.default_rng(5).normal(300, 80, (30, 44, 28)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "image.nii.gz")
    program = f"""
from pathlib import Path
from lib.bundles import read_bundle
from lib.infers.served import ServedInfer
task = ServedInfer(read_bundle(Path({str(ROOT / "bundles" / SEGMENTER)!r})), "http://{server.http_url}")
file, said = task({{"image": {str(tmp_path / "image.nii.gz")!r}, "result_extension": ".nrrd"}})
Path(file).rename({str(tmp_path / "mask.nrrd")!r})
"""
    python = open_environment(ROOT / DEFAULT_FOLDER).python
    done = subprocess.run(
        [python, "-c", program],
        env={"PYTHONPATH": str(ROOT / "apps/annotate")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mask = SimpleITK.ReadImage(str(tmp_path / "mask.nrrd"))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    here = read_here(SEGMENTER, values, lps)
    assert isinstance(here, SegmentationResult)
    found = SimpleITK.GetArrayFromImage(mask).transpose(2, 1, 0)
    assert np.array_equal(found, here.labelmap)
    assert np.allclose(mask.GetOrigin(), lps[:3, 3])
