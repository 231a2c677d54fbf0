"""Weights that a package carries, the very file or an error; and several networks that are one."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch

from wetread.bundle_components.networks import (
    EachNetworkLoss,
    MeanOfNetworks,
    PackagedFileError,
    packaged_file,
    packaged_torchscript,
)

CONTENT = b"the weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "carrier/data/weights.pt"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with one of them, `carrier` 1.2, that cannot be imported."""
    files = {
        FILE: CONTENT,
        "carrier/__init__.py": b"raise SystemExit('imported')",
        "carrier-1.2.dist-info/METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.2\n",
    }
    files["carrier-1.2.dist-info/RECORD"] = "".join(f"{name},,\n" for name in files).encode()
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def put(site: Path, module: torch.jit.ScriptModule) -> str:
    """Save a network as the packaged file; its SHA-256."""
    module.save(str(site / FILE))
    return hashlib.sha256((site / FILE).read_bytes()).hexdigest()


class Net(torch.nn.Module):
    """A convolution, a layer that differs in training, and an output in the input's precision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 2, 1)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.conv(x))


def script(module: torch.nn.Module) -> torch.jit.ScriptModule:
    with pytest.warns(DeprecationWarning, match=r"torch\.jit\.script"):
        return torch.jit.script(module)


def test_the_file_is_found_without_importing_its_package(site: Path) -> None:
    assert packaged_file("carrier", FILE, SHA256) == site / FILE


def test_a_package_that_is_not_installed_is_named_with_what_it_carries() -> None:
    message = r"^the package carrier is not installed; it carries carrier/data/weights\.pt$"
    with pytest.raises(PackagedFileError, match=message):
        packaged_file("carrier", FILE, SHA256)


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("name", ["carrier/data/other.pt", "weights.pt", "data/weights.pt"])
def test_a_file_that_the_package_has_not_is_named_with_its_version(name: str) -> None:
    """Only the whole path counts."""
    with pytest.raises(PackagedFileError, match=f"^carrier 1.2 has no {name}$"):
        packaged_file("carrier", name, SHA256)


def test_a_file_that_was_removed_is_named(site: Path) -> None:
    (site / FILE).unlink()
    with pytest.raises(PackagedFileError, match=f"^carrier 1.2 has no {FILE}$"):
        packaged_file("carrier", FILE, SHA256)


def test_a_package_without_a_list_of_files_has_none(site: Path) -> None:
    (site / "carrier-1.2.dist-info/RECORD").unlink()
    with pytest.raises(PackagedFileError, match=f"^carrier 1.2 has no {FILE}$"):
        packaged_file("carrier", FILE, SHA256)


def test_another_content_is_refused_with_both_hashes(site: Path) -> None:
    (site / FILE).write_bytes(CONTENT + b".")
    found = hashlib.sha256(CONTENT + b".").hexdigest()
    message = f"^{site / FILE} has the SHA-256 {found}, expected {SHA256}$"
    with pytest.raises(PackagedFileError, match=message):
        packaged_file("carrier", FILE, SHA256)


def test_a_network_is_not_loaded_before_its_hash_is_right(site: Path) -> None:
    """The file is no TorchScript, which nothing gets to see."""
    (site / FILE).write_bytes(b"not TorchScript")
    with pytest.raises(PackagedFileError, match="has the SHA-256"):
        packaged_torchscript("carrier", FILE, SHA256)


@pytest.mark.parametrize("half", [False, True])
def test_a_network_evaluates_in_float32(site: Path, half: bool) -> None:
    """Whatever precision its weights were stored in, and with nothing dropped."""
    original = Net().half() if half else Net()
    loaded = packaged_torchscript("carrier", FILE, put(site, script(original.train())))
    batch = torch.rand(1, 1, 4, 4, 4)
    assert not loaded.training
    with torch.no_grad():
        wanted = original.float().eval()(batch)
        assert torch.equal(loaded(batch), wanted)


class Constant(torch.nn.Module):
    """Gives the same logits for every voxel, and a coarser answer too while it learns."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        fine = self.logits[:, None].expand(image.shape[0], -1, image.shape[-1])
        return [fine, fine[..., ::2]] if self.training else fine


def test_several_networks_answer_with_the_mean_of_their_probabilities() -> None:
    """0.9 and 0.5 make 0.7, not what the mean of the logits would make (0.75)."""
    sure, unsure = Constant(0.0, math.log(9.0)), Constant(0.0, 0.0)
    both = MeanOfNetworks([sure, unsure]).eval()
    found = torch.softmax(both(torch.zeros(2, 1, 4)), dim=1)
    assert found.shape == (2, 2, 4)
    assert torch.allclose(found[:, 1], torch.tensor(0.7))


def test_several_networks_learn_side_by_side() -> None:
    """The loss is the mean of their losses, and one's answer does not move the other."""
    right, wrong = Constant(0.0, 5.0), Constant(5.0, 0.0)
    both = MeanOfNetworks([right, wrong]).train()
    target = torch.ones(2, 4, dtype=torch.long)
    loss = EachNetworkLoss(FinestLoss())(both(torch.zeros(2, 1, 4)), target)
    assert loss.item() == pytest.approx((0.0067 + 5.0067) / 2, abs=1e-3)
    loss.backward()
    assert right.logits.grad is not None
    assert wrong.logits.grad is not None
    assert right.logits.grad.abs().max() < 0.01 < wrong.logits.grad.abs().max()


class FinestLoss(torch.nn.Module):
    def forward(self, answers: list[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(answers[0], target)
