"""Who comes first, by arithmetic, and what a reader is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from wetread.bundle_components.acquisition import (
    Ensemble,
    Epistemic,
    First,
    Hybrid,
    Images,
    Random,
    Representative,
    Strategy,
)
from wetread.bundle_components.coverage import Cover, features
from wetread.bundle_components.networks import MeanOfNetworks
from wetread.bundle_components.uncertainty import AcquisitionError, Uncertainty

# Voxels of a constant value, so that a network's features of an image are that value.
VALUES = {"a": 0.0, "b": 1.0, "c": 4.0, "d": 9.0, "e": 10.0}
NETWORKS = "the 2 networks agree with a Dice of"


def flat(value: float) -> torch.Tensor:
    return torch.full((1, 4, 4, 4), value)


def images(names: str) -> Images:
    return {name: flat(VALUES[name]) for name in names}


class Member(torch.nn.Module):
    """Calls its input's value times `gain` the logit of the foreground; its encoder doubles it."""

    def __init__(self, gain: float, offset: float = 0.0) -> None:
        super().__init__()
        self.encoder = torch.nn.Conv3d(1, 1, 1, bias=False)
        torch.nn.init.constant_(self.encoder.weight, 2.0)
        self.gain, self.offset = gain, offset

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logit = self.encoder(image) / 2 * self.gain + self.offset
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


@pytest.fixture
def both() -> MeanOfNetworks:
    """Two that agree where the value is 0, and less and less above it."""
    return MeanOfNetworks([Member(1.0, 0.5), Member(-1.0, 0.5)])


def representative() -> Representative:
    return Representative(Member(1.0))


def order(strategy: Strategy, candidates: str, labelled: str = "") -> str:
    return "".join(each.image_id for each in strategy.rank(images(candidates), images(labelled)))


def test_the_first_are_those_with_the_first_names() -> None:
    found = First().rank(images("dbca"), {}, 2)
    assert [(each.image_id, each.reason) for each in found] == [
        ("a", "number 1 of 4 images in the order of names"),
        ("b", "number 2 of 4 images in the order of names"),
    ]


def test_an_order_by_chance_follows_from_the_seed_and_stays_when_others_go() -> None:
    names = [f"case {number}" for number in range(200)]
    pool = dict.fromkeys(names, flat(0.0))
    drawn = [each.image_id for each in Random(3).rank(pool, {})]
    assert drawn != names
    assert drawn == [each.image_id for each in Random(3).rank(dict(reversed(pool.items())), {})]
    assert drawn != [each.image_id for each in Random(4).rank(pool, {})]
    left = {name: pool[name] for name in drawn[50:]}
    assert [each.image_id for each in Random(3).rank(left, {}, 10)] == drawn[50:60]


def test_chance_prefers_nobody() -> None:
    """Of 200 draws from 5 images each comes first about 40 times: at least 20."""
    firsts = [Random(seed).rank(images("abcde"), {}, 1)[0].image_id for seed in range(200)]
    assert min(firsts.count(name) for name in "abcde") > 20


def test_a_draw_says_its_seed() -> None:
    [found] = Random(7).rank(images("a"), {})
    assert found.reason == "drawn from 1 image with seed 7"
    assert 0 <= found.score < 1


def test_the_least_sure_come_first_with_what_a_reader_wants_to_know(both: MeanOfNetworks) -> None:
    """At 9 both are certain of the opposite: ln 2; at 0 they say the same."""
    found = Epistemic(both, Ensemble()).rank(images("abd"), {})
    assert [each.image_id for each in found] == ["d", "b", "a"]
    assert found[0].score == pytest.approx(math.log(2), abs=0.01)
    assert found[0].reason == (
        f"{NETWORKS} 0.00 on it and differ by 0.692 nats a voxel, the most of 3 images"
    )
    assert found[2].reason == (
        f"{NETWORKS} 1.00 on it and differ by 0.000 nats a voxel, the 3rd most of 3 images"
    )


def test_an_image_in_which_nothing_is_found_comes_first() -> None:
    """Both say −5 at 0; at 5 one finds it, the other does not."""
    network = MeanOfNetworks([Member(2.0, -5.0), Member(0.0, -5.0)])
    found = Epistemic(network, Ensemble()).rank({"some": flat(5.0), "none": flat(0.0)}, {})
    assert [each.image_id for each in found] == ["none", "some"]
    assert found[0].reason == "the 2 networks find nothing in it, and such images come first"


def test_what_was_measured_is_not_measured_again(both: MeanOfNetworks) -> None:
    asked: list[str] = []

    def image(name: str) -> Callable[[], torch.Tensor]:
        return lambda: asked.append(name) or flat(VALUES[name])  # type: ignore[func-returns-value]

    known: dict[str, Uncertainty] = {}
    for names in ("ab", "bc"):
        Epistemic(both, Ensemble(), known=known).rank({each: image(each) for each in names}, {})
    assert asked == ["a", "b", "c"]
    strategy = Representative(both)
    for _ in range(2):
        strategy.rank({"d": image("d")}, {"e": image("e")})
    assert asked == ["a", "b", "c", "d", "e"]


def test_features_are_the_encoders_mean_side_by_side() -> None:
    """The mean of 1 and 2 and so on is 2.5; each encoder doubles it."""
    members = Member(1.0), Member(3.0)
    network = MeanOfNetworks(members).train()
    image = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    assert features(network, image).tolist() == [5.0, 5.0]
    assert network.training
    assert not members[0].encoder._forward_hooks


def test_features_of_windows_are_their_mean() -> None:
    def halves(batch: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        return torch.cat([network(batch[:, :, :2]), network(batch[:, :, 2:])], dim=2)

    image = torch.tensor([1.0, 1.0, 3.0, 3.0]).view(1, 4, 1, 1)
    assert features(Member(1.0), image, halves).tolist() == [4.0]


def first_part(batch: torch.Tensor, network: torch.nn.Module) -> Any:
    return network.get_submodule("encoder")(batch)


def test_the_deepest_of_several_levels_counts() -> None:
    class Levels(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [image, image[:, :, ::2] + 1]

    assert features(torch.nn.ModuleDict({"encoder": Levels()}), flat(1.0), first_part) == 2.0


def test_the_farthest_from_all_that_is_labelled_comes_first() -> None:
    """0, 1, 4, 9 and 10, of which 0 is labelled: 10, then 4 (4 from 0), then 9 and 1."""
    found = representative().rank(images("bcde"), images("a"))
    assert [(each.image_id, each.score) for each in found] == [
        ("e", 20.0),
        ("c", 8.0),
        ("b", 2.0),
        ("d", 2.0),
    ]
    assert found[0].reason == (
        "its features lie 20 from those of the nearest labelled image, the farthest of 4 images"
    )
    assert found[1].reason == (
        "its features lie 8 from those of the nearest labelled or chosen image, "
        "the farthest of 3 images that are left"
    )


def test_without_a_label_the_most_usual_comes_first() -> None:
    """The mean of 0, 1, 4, 9 and 10 is 4.8."""
    found = representative().rank(images("abcde"), {}, 2)
    assert [each.image_id for each in found] == ["c", "e"]
    assert found[0].reason == (
        "nothing is labelled, and its features lie 1.6 from the mean of all, "
        "the nearest of 5 images"
    )


def test_both_ranks_decide_together(both: MeanOfNetworks) -> None:
    """With e labelled, a is the farthest and the surest, d the nearest and the least sure.

    b exceeds a in doubt, c and d in distance: 1/3 and 2/3. c exceeds a and b in doubt, d in
    distance: 2/3 and 1/3. All have the sum 1, so that the weight decides.
    """
    parts = Epistemic(both, Ensemble()), Representative(both)
    for weight, wanted in ((0.49, "a"), (0.51, "d")):
        assert order(Hybrid(*parts, weight), "abcd", "e")[0] == wanted
    [found] = Hybrid(*parts).rank(images("bc"), images("ae"), 1)
    assert found.image_id == "c"
    assert found.score == 1.0
    assert found.reason == (
        f"{NETWORKS} 0.00 on it, less sure than 100% of 1 others, and its features lie 11.3 "
        "from those of the nearest labelled image, farther than 100% of them"
    )


def test_of_equal_images_each_has_half() -> None:
    """Two of the same value: neither exceeds the other."""
    same = {"x": flat(1.0), "y": flat(1.0)}
    network = MeanOfNetworks([Member(1.0), Member(-1.0)])
    found = Hybrid(Epistemic(network, Ensemble()), Representative(network)).rank(same, images("a"))
    assert [each.score for each in found] == [0.5, 1.0]


@pytest.fixture(params=["random", "first", "epistemic", "representative", "hybrid"])
def strategy(request: pytest.FixtureRequest, both: MeanOfNetworks) -> Strategy:
    parts = Epistemic(both, Ensemble()), Representative(both)
    strategies: dict[str, Strategy] = {
        "random": Random(5),
        "first": First(),
        "epistemic": parts[0],
        "representative": parts[1],
        "hybrid": Hybrid(*parts),
    }
    return strategies[request.param]


def test_to_take_several_is_to_take_one_after_the_other(strategy: Strategy) -> None:
    together = [each.image_id for each in strategy.rank(images("bcde"), images("a"), 3)]
    left, labelled = dict(images("bcde")), dict(images("a"))
    for name in together:
        assert strategy.rank(left, labelled, 1)[0].image_id == name
        labelled[name] = left.pop(name)


def test_no_candidate_is_no_choice_and_all_are_all(strategy: Strategy) -> None:
    assert strategy.rank({}, images("a")) == []
    assert sorted(each.image_id for each in strategy.rank(images("edcb"), {}, 99)) == list("bcde")


def test_scores_and_reasons_are_for_json_and_for_a_reader(strategy: Strategy) -> None:
    for each in strategy.rank(images("bcd"), {}):
        assert math.isfinite(each.score)
        assert each.reason
        assert "\n" not in each.reason


def test_a_network_without_an_encoder_is_named() -> None:
    with pytest.raises(AcquisitionError, match="Conv3d has no part called encoder, only none"):
        Representative(torch.nn.Conv3d(1, 2, 1)).rank(images("ab"), {})


def test_a_cover_knows_what_is_left() -> None:
    cover = Cover(["x", "y", "z"], torch.tensor([[0.0], [3.0], [7.0]]))
    cover.take(1)
    assert cover.left == [0, 2]
    assert cover.values().tolist() == [3.0, -math.inf, 4.0]
