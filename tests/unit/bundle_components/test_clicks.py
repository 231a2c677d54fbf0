"""Clicks as channels, and clicks where a network errs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import SegResNetDS
from monai.transforms import Compose, Invertd, Orientationd, Spacingd

from wetread.bundle_components.clicks import (
    ClickBatch,
    ClickChannelsd,
    ClickLoss,
    click_map,
    deepest_error,
    load_grown,
    random_errors,
)

LABELS = ["background", "front", "back"]
AFFINE = np.diag([-2.0, 1.0, 3.0, 1.0])


def image_of(shape: tuple[int, ...] = (6, 8, 10)) -> MetaTensor:
    meta = {"original_affine": AFFINE, "spatial_shape": np.asarray(shape)}
    return MetaTensor(torch.zeros(1, *shape), affine=torch.from_numpy(AFFINE), meta=meta)


def network(channels: int) -> torch.nn.Module:
    torch.manual_seed(1)
    made: torch.nn.Module = SegResNetDS(3, 4, channels, 3, blocks_down=[1, 1], dsdepth=1)
    return made.eval()


class Always(torch.nn.Module):
    """Says background everywhere, or what it was clicked on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1:] * 10 + torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1, 1)


class TestChannels:
    def test_a_click_is_1_at_its_voxel_and_falls_off(self):
        found = click_map(torch.tensor([[2.0, 3.0, 4.0]]), (6, 8, 10), 2.0)
        assert found[2, 3, 4] == 1.0
        assert found[4, 3, 4] == pytest.approx(np.exp(-0.5))
        assert click_map(torch.empty(0, 3), (2, 2, 2), 2.0).sum() == 0

    def test_clicks_follow_the_image_through_what_turned_it(self):
        """In the file's voxels they are given; in the network's they lie on the same millimetre."""
        data: dict[str, Any] = {"image": image_of(), "back": [[1, 2, 3]]}
        turn = Compose(
            [
                Orientationd("image", axcodes="RAS", labels=None),
                Spacingd("image", pixdim=(1.0, 1.0, 1.0)),
                ClickChannelsd("image", LABELS, sigma=0.5),
            ]
        )
        prepared = turn(data)["image"]
        assert prepared.shape[0] == 4
        assert prepared[1:3].sum() == 0
        place = np.unravel_index(int(prepared[3].argmax()), prepared.shape[1:])
        millimetres = np.asarray(prepared.affine) @ [*place, 1]
        assert np.allclose(millimetres[:3], (AFFINE @ [1, 2, 3, 1])[:3], atol=0.51)

    def test_what_turned_the_image_can_still_be_undone(self):
        turn = Compose(
            [Orientationd("image", axcodes="RAS", labels=None), ClickChannelsd("image", LABELS)]
        )
        data = turn({"image": image_of()})
        answer = torch.arange(480, dtype=torch.float32).reshape(1, 6, 8, 10)
        data["pred"] = MetaTensor(answer, meta=data["image"].meta)
        back = Invertd("pred", turn, "image", nearest_interp=False)(data)["pred"]
        assert torch.equal(back.as_tensor(), answer.flip(1))

    @pytest.mark.parametrize(
        ("clicks", "said"),
        [
            ([[1, 2]], "lists of three numbers"),
            ("here", "lists of three numbers"),
            ([[1, 2, 10]], "outside the image"),
            ([[-1, 0, 0]], "outside the image"),
        ],
    )
    def test_what_is_no_click_in_the_image_is_refused(self, clicks, said):
        with pytest.raises(ValueError, match=said):
            ClickChannelsd("image", LABELS)({"image": image_of(), "front": clicks})


class TestErrors:
    def test_the_deepest_voxel_of_what_was_missed_most(self):
        label, answer = torch.zeros(9, 9, 9).long(), torch.zeros(9, 9, 9).long()
        label[2:7, 2:7, 2:7] = 2
        label[0, 0, 0] = 1
        assert deepest_error(answer, label) == (2, (4, 4, 4))
        assert deepest_error(label, label) is None

    def test_errors_are_drawn_with_their_true_label(self):
        label, answer = torch.zeros(4, 4, 4).long(), torch.zeros(4, 4, 4).long()
        label[1, 2, 3], answer[3, 3, 3] = 1, 2
        found = set(random_errors(answer, label, 40))
        assert found == {(1, (1, 2, 3)), (0, (3, 3, 3))}
        assert random_errors(label, label, 5) == []


class TestBatch:
    def batch(self) -> dict[str, torch.Tensor]:
        label = torch.zeros(2, 1, 8, 8, 8)
        label[:, :, 2:6, 2:6, 2:6] = 1
        return {"image": torch.zeros(2, 4, 8, 8, 8), "label": label}

    def test_a_fixed_number_of_clicks_each_where_those_before_left_most(self):
        image, label = ClickBatch(Always(), 3, sigma=1.0, fixed=2)(self.batch())
        assert image.shape == (2, 4, 8, 8, 8)
        assert label.shape == (2, 1, 8, 8, 8)
        for each in image:
            assert int((each[2] == 1.0).sum()) == 2
            assert each[3].sum() == 0

    def test_in_training_a_share_of_the_images_is_clicked_on(self):
        torch.manual_seed(3)
        clicked = [
            bool(image[1:].any())
            for _ in range(40)
            for image in ClickBatch(Always(), 3, share=0.5)(self.batch())[0]
        ]
        assert 20 < sum(clicked) < 60

    def test_weighted_it_also_says_how_near_a_click_each_voxel_is(self):
        image, target = ClickBatch(Always(), 3, fixed=1, weighted=True)(self.batch())
        assert target.shape == (2, 2, 8, 8, 8)
        assert torch.equal(target[:, 0], self.batch()["label"][:, 0])
        assert torch.equal(target[:, 1], image[:, 1:].amax(1))

    def test_the_network_is_left_as_it_was(self):
        asked = Always().train()
        ClickBatch(asked, 3)(self.batch())
        assert asked.training


class TestLoss:
    """One voxel is clicked, and the whole image is another loss's business."""

    class Nothing(torch.nn.Module):
        def forward(self, _pred: object, label: torch.Tensor) -> torch.Tensor:
            assert label.shape[1] == 1
            return torch.tensor(0.25)

    def target(self, near: float) -> torch.Tensor:
        target = torch.zeros(1, 2, 2, 2, 2)
        target[0, :, 1, 1, 1] = torch.tensor([1.0, near])
        return target

    def test_near_a_click_an_error_costs_its_cross_entropy(self):
        pred = torch.zeros(1, 2, 2, 2, 2)
        lost = ClickLoss(self.Nothing(), weight=2.0)(pred, self.target(1.0))
        assert float(lost) == pytest.approx(0.25 + 2 * np.log(2))

    def test_without_a_click_nothing_is_added(self):
        assert (
            float(ClickLoss(self.Nothing())(torch.zeros(1, 2, 2, 2, 2), self.target(0.0))) == 0.25
        )

    def test_of_deep_supervision_the_finest_answer_counts(self):
        fine, coarse = torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 2, 1, 1, 1)
        lost = ClickLoss(self.Nothing())([fine, coarse], self.target(1.0))
        assert float(lost) == pytest.approx(0.25 + np.log(2))


class TestGrowing:
    def test_with_no_click_it_answers_as_the_network_before(self, tmp_path: Path):
        """The new channels begin at 0; the answer is the same to the last bit."""
        before, after = network(1), network(4)
        torch.save({f"networks.0.{k}": v for k, v in before.state_dict().items()}, tmp_path / "m")
        load_grown(after, tmp_path / "m", "networks.0.")
        x = torch.rand(1, 1, 8, 8, 8)
        grown = after(torch.cat([x, torch.rand(1, 3, 8, 8, 8)], 1))
        assert torch.allclose(grown, before(x), atol=1e-6)

    def test_any_other_difference_is_an_error(self, tmp_path: Path):
        torch.save({"weight": torch.zeros(2, 1)}, tmp_path / "m")
        with pytest.raises(RuntimeError, match="Missing key"):
            load_grown(network(4), tmp_path / "m")
