"""Which layer is looked at, and what the layers give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet

from unit.explain.networks import BrightClassifier, DeepClassifier, LinearClassifier, image_of_boxes
from wetread.errors import ConfigError
from wetread.explain.layers import (
    convolutions,
    default_layer,
    feature_maps,
    watchable,
    without_inplace,
)


def unet() -> torch.nn.Module:
    torch.manual_seed(0)
    return BasicUNet(2, 1, 2, features=(4, 4, 8, 8, 8, 4)).eval()


def test_the_convolutions_are_told_in_the_order_in_which_they_run() -> None:
    found = convolutions(DeepClassifier(), image_of_boxes((32, 24)))
    assert [(layer.name, layer.shape) for layer in found] == [
        ("body.0", (32, 24)),
        ("body.2", (16, 12)),
        ("body.4", (8, 6)),
    ]


def test_a_classifier_is_watched_at_its_last_convolution() -> None:
    assert default_layer(DeepClassifier(), image_of_boxes((32, 24))) == "body.4"


def test_a_u_net_is_watched_at_its_bottom() -> None:
    """32 by 32 halved four times is 2 by 2."""
    network, image = unet(), image_of_boxes((32, 32))
    name = default_layer(network, image)
    assert name.startswith("down_4.")
    assert next(each for each in convolutions(network, image) if each.name == name).shape == (
        2,
        2,
    )


def test_a_layer_of_one_place_is_passed_over() -> None:
    """4 by 4 becomes 2 by 2 and 1 by 1, where there is nothing left to point at."""
    assert default_layer(DeepClassifier(), image_of_boxes((4, 4))) == "body.2"


def test_feature_maps_are_one_layer_of_each_size_with_the_most_channels() -> None:
    found = feature_maps(unet(), image_of_boxes((32, 32)))
    assert sorted(each.shape[1:] for each in found.values()) == [
        (2, 2),
        (4, 4),
        (8, 8),
        (16, 16),
        (32, 32),
    ]
    assert {each.shape[0] for each in found.values()} == {4, 8}


def test_feature_maps_are_what_the_layer_gives() -> None:
    image = image_of_boxes((16, 16))
    found = feature_maps(BrightClassifier(2), image)
    assert list(found) == ["finder.features"]
    assert np.allclose(found["finder.features"][1], image[0, 0].numpy() - 0.7, atol=1e-6)


def test_feature_maps_need_a_convolution() -> None:
    with pytest.raises(ConfigError, match="no convolution"):
        feature_maps(LinearClassifier(), torch.zeros(1, 1, 8, 8))


def test_a_watchable_copy_answers_alike() -> None:
    network, image = DeepClassifier(), image_of_boxes((32, 24))
    with torch.no_grad():
        assert torch.equal(watchable(network, "body.2", image)(image), network(image))
        assert torch.equal(without_inplace(network)(image), network(image))


def test_a_layer_that_runs_twice_cannot_be_watched() -> None:
    network = DeepClassifier()
    network.body[3] = network.body[1]
    with pytest.raises(ConfigError, match=r"layer 'body\.1' runs 2 times"):
        watchable(network, "body.1", image_of_boxes((32, 24)))
