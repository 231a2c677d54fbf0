"""Mutual information and Dice by arithmetic; what is asked of a network leaves it as it was."""

from __future__ import annotations

import math

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import BasicUNet, SegResNetDS

from wetread.bundle_components.networks import MeanOfNetworks
from wetread.bundle_components.uncertainty import (
    AcquisitionError,
    Dropout,
    Ensemble,
    Flips,
    Way,
    encoders_of,
    evaluating,
    mean_dice,
    probabilities,
    uncertainty,
    uncertainty_of,
)

IMAGE = torch.rand(1, 16, 16, 16, generator=torch.Generator().manual_seed(3))


def small(seed: int = 0) -> SegResNetDS:
    torch.manual_seed(seed)
    return SegResNetDS(
        spatial_dims=3,
        init_filters=4,
        out_channels=3,
        norm="instance",
        blocks_down=[1, 1],
        dsdepth=2,
    )


class Constant(torch.nn.Module):
    """The same logits for every voxel."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shape = (1, -1, *(1 for _ in image.shape[2:]))
        return self.logits.view(shape).expand(image.shape[0], -1, *image.shape[2:])


class WithDropout(torch.nn.Module):
    """A layer that drops, and one that differs in training and must not."""

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout3d(probability)
        self.norm = torch.nn.BatchNorm3d(1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.dropout(self.norm(image).expand(-1, 3, -1, -1, -1))
        assert not self.training
        assert not self.norm.training
        return found


def answers(*foreground: list[float]) -> list[torch.Tensor]:
    """Each of two classes, from the probability of the second at each voxel."""
    return [torch.stack([1 - torch.tensor(each), torch.tensor(each)]) for each in foreground]


def test_two_answers_that_contradict_each_other_have_a_bit_between_them() -> None:
    """One says 1, the other 0: the mean's entropy is ln 2, and neither has any of its own."""
    found = uncertainty_of(answers([1.0], [0.0]))
    assert found.information == pytest.approx(math.log(2))
    assert (found.agreement, found.voxels) == (0.0, 1)


def test_the_mutual_information_of_two_answers() -> None:
    """0.9 and 0.6: H(0.75) = 0.5623, less the mean of H(0.9) = 0.3251 and H(0.6) = 0.6730."""
    found = uncertainty_of(answers([0.9], [0.6]))
    assert found.information == pytest.approx(0.562335 - (0.325083 + 0.673012) / 2, abs=1e-5)
    assert found.agreement == 1.0


def test_what_all_answers_find_blurred_is_no_disagreement() -> None:
    """Entropy alone would call this the least sure."""
    assert uncertainty_of(answers([0.55], [0.55], [0.55])).information == pytest.approx(0, abs=1e-6)


def test_background_does_not_dilute_the_figure() -> None:
    """A thousand voxels that all call background with certainty change nothing."""
    alone = uncertainty_of(answers([1.0, 0.9], [0.0, 0.6]))
    diluted = uncertainty_of(answers([1.0, 0.9] + [0.0] * 1000, [0.0, 0.6] + [0.0] * 1000))
    assert alone == diluted
    assert alone.voxels == 2


def test_a_voxel_that_one_answer_alone_finds_counts() -> None:
    """Voxels: found by both, by one, by none; Dice is 2·1 / (2 + 1)."""
    found = uncertainty_of(answers([1.0, 1.0, 0.0], [1.0, 0.0, 0.0]))
    assert found.voxels == 2
    assert found.information == pytest.approx(math.log(2) / 2)
    assert found.agreement == pytest.approx(2 / 3)


def test_where_nothing_is_found_nothing_is_known() -> None:
    """Three classes, all of them background: as little as can be, ln 3."""
    sure = torch.tensor([[1.0], [0.0], [0.0]])
    found = uncertainty_of([sure, sure])
    assert found.information == pytest.approx(math.log(3))
    assert found.voxels == 0


def test_agreement_is_the_mean_over_pairs() -> None:
    """Of three answers two are equal: Dice 1, 0 and 0."""
    found = uncertainty_of(answers([1.0, 0.0], [1.0, 0.0], [0.0, 1.0]))
    assert found.agreement == pytest.approx(1 / 3)


def test_dice_is_the_mean_over_classes_and_1_for_one_that_neither_has() -> None:
    one, other = torch.tensor([1, 1, 1, 0]), torch.tensor([1, 1, 0, 0])
    assert mean_dice(one, other, 2) == pytest.approx(4 / 5)
    assert mean_dice(one, other, 3) == pytest.approx((4 / 5 + 1) / 2)


def test_a_network_of_one_channel_has_two_classes() -> None:
    found = probabilities(torch.tensor([[[0.0, math.log(3.0)]]]))
    assert found.flatten().tolist() == pytest.approx([0.5, 0.25, 0.5, 0.75])


def test_equal_members_agree() -> None:
    twice = MeanOfNetworks([small(1), small(1)])
    found = uncertainty(twice, IMAGE, Ensemble())
    assert (found.information, found.agreement) == (0.0, 1.0)


def test_members_disagree_by_what_they_say() -> None:
    """Probabilities 0.9 and 0.6 of the foreground, as above."""
    both = MeanOfNetworks([Constant(0.0, math.log(9.0)), Constant(0.0, math.log(1.5))])
    found = uncertainty(both, IMAGE, Ensemble())
    assert found.information == pytest.approx(0.063288, abs=1e-5)
    assert found.voxels == 16**3


def test_one_network_has_no_members() -> None:
    with pytest.raises(AcquisitionError, match="SegResNetDS is no MeanOfNetworks"):
        uncertainty(small(), IMAGE, Ensemble())


def states(network: torch.nn.Module) -> list[bool]:
    return [module.training for module in network.modules()]


@pytest.mark.parametrize("way", [Dropout(passes=2), Flips(), Ensemble()], ids=lambda w: str(w)[:5])
def test_a_network_is_left_as_it_was(way: Way) -> None:
    """No hook, the state of every part, the weights, and torch's random numbers."""
    members = small(1), small(2)
    network = MeanOfNetworks(members).train()
    members[0].encoder.eval()
    before, weights = states(network), [each.clone() for each in network.parameters()]
    drawn = torch.get_rng_state()
    uncertainty(network, IMAGE, way)
    assert states(network) == before
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), weights, strict=True))


def test_a_network_is_left_as_it_was_when_an_answer_fails() -> None:
    network = small().train()
    before = states(network)

    def broken(image: torch.Tensor, asked: torch.nn.Module) -> torch.Tensor:
        asked(image)
        raise MemoryError

    with pytest.raises(MemoryError):
        uncertainty(network, IMAGE, Dropout(passes=2), broken)
    assert states(network) == before
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_without_dropout_gets_it_from_hooks() -> None:
    """The more is dropped, the farther the passes are apart; nothing dropped, nothing apart."""
    network = small(4)
    found = [uncertainty(network, IMAGE, Dropout(rate=rate)).information for rate in (0, 0.1, 0.5)]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[0] < found[1] < found[2]


def test_channels_are_dropped_whole_and_the_others_make_up_for_them() -> None:
    """Of a channel of ones every voxel is 0 or 1 / (1 − rate), and the mean stays near 1."""
    seen: list[torch.Tensor] = []

    class Ones(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Identity()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(self.encoder(image))
            return seen[-1]

    uncertainty(Ones(), torch.ones(1000, 2, 2), Dropout(passes=2, rate=0.2))
    for each in seen:
        assert torch.equal(each[..., :1, :1].expand_as(each), each)
        assert set(each.flatten().tolist()) == {0.0, 1.25}
        assert float(each.mean()) == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(*seen)


def test_layers_that_drop_are_switched_on_and_nothing_else_is() -> None:
    assert uncertainty(WithDropout(), IMAGE, Dropout()).information > 0


def test_layers_that_drop_nothing_do_not_count() -> None:
    with pytest.raises(AcquisitionError, match="WithDropout has no part called encoder, only dro"):
        uncertainty(WithDropout(0.0), IMAGE, Dropout())


def test_parts_of_another_name_can_be_named() -> None:
    network = BasicUNet(spatial_dims=3, out_channels=2, features=(4,) * 6)
    image = torch.rand(1, 32, 32, 32)
    with pytest.raises(AcquisitionError, match="no part called encoder"):
        uncertainty(network, image, Dropout())
    found = uncertainty(network, image, Dropout(passes=3, rate=0.5, layers=("down_3", "down_4")))
    assert found.information > 0
    with pytest.raises(AcquisitionError, match="down_9"):
        encoders_of(network, ["down_9"])


def test_the_encoders_of_all_members_are_found() -> None:
    network = MeanOfNetworks([small(1), small(2)])
    assert encoders_of(network) == [each.encoder for each in network.networks]


@pytest.mark.parametrize("way", [Dropout(passes=3), Flips()], ids=lambda way: type(way).__name__)
def test_the_same_seed_gives_the_same_figure_in_any_order(way: Way) -> None:
    network = small(5)
    first = uncertainty(network, IMAGE, way)
    uncertainty(network, IMAGE.flip(2), way)
    assert uncertainty(network, IMAGE, way) == first


def test_mirror_images_of_a_network_that_does_not_tell_sides_agree() -> None:
    """A network of single voxels; noise is then all that is left."""
    torch.manual_seed(1)
    network = torch.nn.Conv3d(1, 3, 1)
    assert uncertainty(network, IMAGE, Flips(noise=0.0)).information == pytest.approx(0, abs=1e-6)
    assert uncertainty(network, IMAGE, Flips(noise=0.5)).information > 1e-4


class Side(torch.nn.Module):
    """Finds the half of an image that comes first along its first axis."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        half = torch.zeros_like(image)
        half[:, :, : image.shape[2] // 2] = 10.0
        return torch.cat([-half, half], dim=1)


def test_a_mirrored_answer_is_turned_back() -> None:
    """One that always finds the first half contradicts itself along that axis, and no other."""
    assert uncertainty(Side(), IMAGE, Flips((0,), 0.0)).agreement == pytest.approx(1 / 3)
    assert uncertainty(Side(), IMAGE, Flips((1, 2), 0.0)).agreement == 1.0


def test_several_at_once_are_as_many_answers() -> None:
    """Nothing is drawn for mirror images, so the figure is the very same."""
    found = [uncertainty(small(6), IMAGE, Flips((0, 1), at_once=number)) for number in (1, 4)]
    assert found[0].information == pytest.approx(found[1].information, abs=1e-6)
    asked: list[int] = []

    def counted(batch: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        asked.append(len(batch))
        answer: torch.Tensor = network(batch)
        return answer

    assert uncertainty(small(6), IMAGE, Dropout(passes=5, at_once=2), counted).information > 0
    assert asked == [2, 2, 1]


def test_an_image_is_read_through_the_inferer_of_its_bundle() -> None:
    """A length that the network does not take goes through in windows."""
    image = torch.rand(1, 17, 16, 23)
    inferer = SlidingWindowInferer((16, 16, 16), 1, 0.25)
    for way in (Dropout(passes=2), Flips()):
        assert uncertainty(small(), image, way, inferer).voxels <= image.numel()


def test_evaluation_ends() -> None:
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Identity().eval())
    with evaluating(network):
        assert states(network) == [False] * 3
    assert states(network) == [True, True, False]
