"""What can go wrong within a reading, as steps of a bundle's preprocessing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import onnx

from tiny_model import NETWORK, TinyModel


class Waits:
    """Says which process is at it, and goes on once there is a file `go` in the folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        (self._folder / f"begun-{os.getpid()}").touch()
        while not (self._folder / "go").exists():
            time.sleep(0.02)
        return data


class Crashes:
    """As a fault in a library's own code would: the process is gone."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return data


def hindered(tiny: TinyModel, place: Path, step: type, **arguments: str) -> TinyModel:
    """The tiny model, whose preprocessing takes that step too."""
    bundle = place / "bundle"
    shutil.copytree(tiny.bundle, bundle)
    path = bundle / "configs/inference.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    target = f"faults.hindrances.{step.__name__}"
    content["preprocessing"]["transforms"].append({"_target_": target, **arguments})
    path.write_text(json.dumps(content), encoding="utf-8")
    return TinyModel(bundle, tiny.repository)


def waiting(tiny: TinyModel, folder: Path) -> TinyModel:
    """The tiny model, whose readings wait for `folder`/go."""
    folder.mkdir()
    return hindered(tiny, folder, Waits, folder=str(folder))


def readers(folder: Path) -> set[int]:
    """The processes that have begun to read with a waiting model."""
    return {int(path.name.partition("-")[2]) for path in folder.glob("begun-*")}


def answering_nan(tiny: TinyModel, place: Path) -> TinyModel:
    """The tiny model beside another one, in one repository, whose network answers NaN."""
    name = "tiny_nan"
    repository = place / "triton_models"
    shutil.copytree(tiny.repository, repository)
    network = onnx.load(repository / NETWORK / "1" / "model.onnx")
    [one] = [each for each in network.graph.initializer if each.name == "one"]
    one.CopyFrom(onnx.helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [float("nan")]))
    (repository / name / "1").mkdir(parents=True)
    onnx.save(network, repository / name / "1" / "model.onnx")
    bundle = place / "bundle"
    shutil.copytree(tiny.bundle, bundle)
    path = bundle / "configs/export.json"
    path.write_text(path.read_text(encoding="utf-8").replace(NETWORK, name), encoding="utf-8")
    return TinyModel(bundle, repository)
