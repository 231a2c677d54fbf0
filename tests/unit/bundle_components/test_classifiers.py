"""Every backbone takes one channel, learns, and starts where it says."""

from __future__ import annotations

import pytest
import torch

from wetread.bundle_components.classifiers import (
    BACKBONES,
    UnknownBackboneError,
    classifier,
    parameter_groups,
)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_answers_for_each_class(backbone: str) -> None:
    network = classifier(backbone, 3, 64).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 1, 64, 64)).shape == (2, 3)


def test_pretrained_weights_are_those_of_the_package() -> None:
    """The same first convolution whatever the seed; without them it is drawn."""
    first = "network._conv_stem.weight"
    kept, again = (classifier("efficientnet_lite0", 2, 64, pretrained=True) for _ in range(2))
    drawn = classifier("efficientnet_lite0", 2, 64)
    assert torch.equal(kept.state_dict()[first], again.state_dict()[first])
    assert not torch.equal(kept.state_dict()[first], drawn.state_dict()[first])


def test_frozen_blocks_do_not_learn_and_the_rest_does() -> None:
    network = classifier("efficientnet_lite0", 2, 64, frozen_blocks=9)
    learning = {name for name, each in network.named_parameters() if each.requires_grad}
    assert "network._blocks.9._expand_conv.weight" in learning
    assert {"network._conv_head.weight", "network._fc.weight"} <= learning
    assert not [
        name for name in learning if name.startswith(("network._conv_stem", "network._bn0"))
    ]
    assert not [name for name in learning if name.startswith("network._blocks.8.")]


def test_a_network_without_blocks_cannot_be_frozen() -> None:
    with pytest.raises(UnknownBackboneError, match="small_cnn has 0 blocks"):
        classifier("small_cnn", 2, 64, frozen_blocks=1)


def test_an_unknown_backbone_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UnknownBackboneError, match="'resnet'; known: efficientnet_lite0"):
        classifier("resnet", 2, 64)


def test_the_last_layer_learns_at_a_rate_of_its_own() -> None:
    network = classifier("small_cnn", 2, 64)
    body, head = parameter_groups(network, 0.1, 0.5)
    assert (body["lr"], head["lr"]) == (0.1, 0.5)
    assert [tuple(each.shape) for each in head["params"]] == [(2, 256), (2,)]
    assert len(body["params"]) + 2 == len(list(network.parameters()))
