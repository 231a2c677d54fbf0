"""FGSM raises the loss within ε, PGD raises it at least as much."""

from __future__ import annotations

import pytest
import torch

from conftest import ROOT
from wetread.errors import ConfigError
from wetread.models.attack import EPSILONS, attack, loss_of, torch_forward
from wetread.models.perturb import SEVERITIES, span_of

BUNDLE = ROOT / "bundles" / "hippocampus_mr_segmentation"


@pytest.fixture
def network() -> torch.nn.Module:
    """Some random layers, three classes for each voxel."""
    torch.manual_seed(2)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv3d(8, 3, 1)
    ).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 10, 12, 8, generator=torch.Generator().manual_seed(1))


def losses(network: torch.nn.Module, image: torch.Tensor, *changed: torch.Tensor) -> list[float]:
    with torch.no_grad():
        answer = network(image[None]).argmax(1)
    return [loss_of(network, each[None], answer) for each in (image, *changed)]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fgsm_raises_the_loss_and_pgd_no_less(
    network: torch.nn.Module, image: torch.Tensor, severity: int
) -> None:
    one, many = (attack(network, image, kind, severity) for kind in ("fgsm", "pgd"))
    before, after_one, after_many = losses(network, image, one, many)
    assert before < after_one <= after_many


@pytest.mark.parametrize("kind", EPSILONS)
def test_no_voxel_changes_by_more_than_epsilon(
    network: torch.nn.Module, image: torch.Tensor, kind: str
) -> None:
    for severity, share in zip(SEVERITIES, EPSILONS[kind], strict=True):
        changed = (attack(network, image, kind, severity) - image).abs().max()
        assert changed == pytest.approx(share * span_of(image.numpy()), rel=1e-3)


@pytest.mark.parametrize("kind", EPSILONS)
def test_severity_0_is_the_image_and_nothing_else_is_touched(
    network: torch.nn.Module, image: torch.Tensor, kind: str
) -> None:
    before = image.clone()
    assert torch.equal(attack(network, image, kind, 0), before)
    assert torch.equal(attack(network, image, kind, 3), attack(network, image, kind, 3))
    assert torch.equal(image, before)


@pytest.mark.timeout(60)
def test_the_hippocampus_network_is_misled() -> None:
    """Through its sliding window: noise of the same size changes far fewer voxels."""
    forward = torch_forward(BUNDLE)
    image = torch.nn.functional.interpolate(
        torch.randn(1, 1, 9, 12, 9, generator=torch.Generator().manual_seed(0)), (34, 48, 36)
    )[0]
    epsilon = EPSILONS["fgsm"][3] * span_of(image.numpy())
    noise = epsilon * torch.randn(image.shape, generator=torch.Generator().manual_seed(3)).sign()
    with torch.no_grad():
        before, noisy = (forward(each[None]).argmax(1) for each in (image, image + noise))
        misled = forward(attack(forward, image, "fgsm", 4)[None]).argmax(1)
    assert (before > 0).sum() > 100
    assert (misled != before).sum() > 5 * (noisy != before).sum()


def test_another_kind_is_refused(network: torch.nn.Module, image: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="no perturbation 'cw'") as caught:
        attack(network, image, "cw", 1)
    assert "fgsm, pgd" in caught.value.hint
