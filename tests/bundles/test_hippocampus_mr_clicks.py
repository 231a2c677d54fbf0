"""The network of clicks heeds them: what no mask alone can show."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import KeepLargestConnectedComponent
from numpy.typing import NDArray

from conftest import ROOT
from decathlon import write_decathlon
from wetread.config import EmbeddedModel
from wetread.infer.base import no_progress
from wetread.infer.bundle import open_model
from wetread.infer.files import volume_from_nifti
from wetread.models.export import build_models

REPOSITORY = ROOT / ".cache" / "triton_models"
BUNDLE = ROOT / "bundles" / "hippocampus_mr_clicks"
LABELS = ("background", "Anterior hippocampus", "Posterior hippocampus")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def parser() -> ConfigParser:
    opened = ConfigParser()
    opened.read_config(str(BUNDLE / "configs/inference.json"))
    opened["bundle_root"] = str(BUNDLE)
    network = opened.get_parsed_content("network")
    network.load_state_dict(torch.load(BUNDLE / "models/model.pt", weights_only=True))
    network.eval()
    return opened


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_decathlon(tmp_path_factory.mktemp("data"), 1)
    return folder / "imagesTr" / "ball_000.nii.gz"


def probabilities(
    parser: ConfigParser, image: Path, clicks: dict[str, list[list[int]]]
) -> NDArray[np.float32]:
    """(label, x, y, z), on the voxels of the file, which are 1 mm and RAS."""
    data = parser.get_parsed_content("preprocessing")({"image": str(image), **clicks})
    with torch.inference_mode():
        inferer, network = (parser.get_parsed_content(name) for name in ("inferer", "network"))
        answer = inferer(data["image"][None], network)[0]
    found: NDArray[np.float32] = torch.softmax(answer.as_tensor(), 0).numpy()
    return found


@pytest.mark.parametrize("label", LABELS)
def test_a_click_makes_its_label_likelier_where_it_was_less_likely(
    parser: ConfigParser, image: Path, label: str
) -> None:
    """At ten voxels of the border, one by one; more than 12 mm away hardly anything changes."""
    number = LABELS.index(label)
    without = probabilities(parser, image, {})
    border = np.argwhere((without[number] > 0.1) & (without[number] < 0.4))
    gains = []
    for place in border[:: len(border) // 10][:10]:
        change = probabilities(parser, image, {label: [place.tolist()]}) - without
        gains.append(change[(number, *place)])
        far = np.linalg.norm(np.indices(without.shape[1:]).T - place, axis=-1).T > 12
        assert np.abs(change)[:, far].mean() < 0.02
    assert len(gains) == 10
    assert np.mean(gains) > 0.1
    assert min(gains) > 0


def test_the_gateway_reads_without_a_click(parser: ConfigParser, image: Path) -> None:
    """As torch does: the same label, at most one voxel on a border excepted."""
    build_models(BUNDLE, REPOSITORY, no_progress)
    with closing(open_model(BUNDLE.name, EmbeddedModel(bundle=BUNDLE), REPOSITORY)) as model:
        found = model.read(volume_from_nifti(image), no_progress).labelmap
    whole = probabilities(parser, image, {}).argmax(0)
    keep = KeepLargestConnectedComponent(applied_labels=[1, 2])
    wanted = np.asarray(keep(torch.from_numpy(whole[None])))[0]
    assert np.count_nonzero(wanted) > 40
    assert np.count_nonzero(found != wanted) <= 1
