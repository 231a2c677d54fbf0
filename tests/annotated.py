"""A real annotation server on loopback, and a bundle whose answers are arithmetic.

Its network is one convolution of one voxel: of three lines over the value the highest wins, so
that 0.55 to 0.6 is the first segment, the phantom's ellipsoid, and more than that the second: its
box and its shell. Values are the phantom's, divided by 2000.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from conftest import ROOT
from network.neighbours import free_port
from phantom import Phantom, PhantomSeries, grid_points
from wetread.label.environment import DEFAULT_FOLDER, open_environment
from wetread.label.server import LabelServer
from wetread.label.workspace import LabelSettings, prepare

NAME = "tiny_pair"
FIRST, SECOND = "Ellipsoid", "Box and shell"
LABEL_INFO = [{"name": FIRST, "idx": 1}, {"name": SECOND, "idx": 2}]
CODES = {FIRST: "4147007", SECOND: "89546000"}
SCALE = 2000.0
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Annotating:
    """A running server with a client for it."""

    server: LabelServer
    client: httpx.Client
    bundle: Path

    @property
    def copy(self) -> Path:
        """The working copy of the bundle."""
        return self.server.settings.bundles / NAME

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.client.get(path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        return self.client.post(path, json=body or {})

    def infer(self, image: str, model: str = NAME, **more: object) -> httpx.Response:
        """As OHIF asks; `more` goes with it, such as clicks."""
        params = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
        params |= more
        return self.client.post(
            f"/infer/{model}",
            params={"image": image, "output": "image"},
            data={"params": json.dumps(params)},
        )

    def save(
        self, image: str, content: bytes, name: str = "label.nii.gz", **params: Any
    ) -> httpx.Response:
        """As Slicer saves: a final label with its names."""
        return self.client.put(
            "/datastore/label",
            params={"image": image},
            data={"params": json.dumps({"label_info": LABEL_INFO, **params})},
            files={"label": (name, content)},
        )

    def image(self, image: str, folder: Path) -> nibabel.Nifti1Image:
        return loaded(self.get("/datastore/image", image=image), folder / "image.nii.gz")

    def label(self, image: str, folder: Path, tag: str = "final") -> NDArray[np.uint8]:
        answer = self.get("/datastore/label", label=image, tag=tag)
        return voxels(loaded(answer, folder / "label.nii.gz"))


def loaded(answer: httpx.Response, file: Path) -> nibabel.Nifti1Image:
    assert answer.status_code == 200, answer.text
    file.write_bytes(answer.content)
    return nibabel.load(file)


def voxels(image: nibabel.Nifti1Image) -> NDArray[np.uint8]:
    return np.asarray(image.dataobj).astype(np.uint8)


def nifti(array: NDArray[Any], affine: NDArray[Any]) -> bytes:
    """(column, row, slice) with an affine to mm in RAS, as a file's bytes."""
    import gzip

    return gzip.compress(nibabel.Nifti1Image(array, affine).to_bytes(), 1)


def true_label(affine_ras: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """What the tiny bundle finds on any grid, from the phantom's own formula."""
    values = Phantom().values_at(grid_points(RAS @ affine_ras, shape))
    label = np.zeros(shape, np.uint8)
    label[values == 120.0] = 1
    label[(values == 240.0) | (values == 700.0)] = 2
    return label


def label_of(series: PhantomSeries, image: nibabel.Nifti1Image) -> NDArray[np.uint8]:
    """The same for the image that the server made of a series."""
    assert series.phantom == Phantom()
    return true_label(image.affine, image.shape)


@contextmanager
def annotating(folder: Path, studies: str, **changes: Any) -> Iterator[Annotating]:
    """The server over a folder or an archive; `changes` are of its settings."""
    bundle = write_bundle(folder / "bundles")
    settings = LabelSettings(
        studies=studies, folder=folder / "annotations", port=free_port(), **changes
    )
    environment = open_environment(ROOT / DEFAULT_FOLDER)
    file = prepare(settings, folder / "bundles")
    server = LabelServer(settings, file, environment, log=folder / "server.log")
    with server, httpx.Client(base_url=server.url, timeout=150) as client:
        yield Annotating(server, client, bundle)


def write_bundle(folder: Path) -> Path:
    """With weights, and a train.json that takes a second."""
    bundle = folder / NAME
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    for name, content in _configs().items():
        (bundle / "configs" / name).write_text(json.dumps(content), encoding="utf-8")
    torch.save(weights(), bundle / "models/model.pt")
    return bundle


def weights() -> dict[str, torch.Tensor]:
    """Of the lines 0, x - 0.55 and 2x - 1.15, steep enough for a softmax to be sure."""
    lines = torch.tensor([[0.0, 0.0], [1.0, -0.55], [2.0, -1.15]]) * 1000
    return {"weight": lines[:, :1, None, None, None], "bias": lines[:, 1].clone()}


def _configs() -> dict[str, Any]:
    network = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1}
    return {
        "metadata.json": _metadata(),
        "dicom.json": {
            "accepts": {"modality": ["CT", "MR"], "min_instances": 1},
            "segments": [_segment(1, FIRST, 60.0), _segment(2, SECOND, 30.0)],
        },
        "inference.json": {
            "bundle_root": ".",
            "device": "cpu",
            "network_def": network,
            "preprocessing": {"_target_": "Compose", "transforms": _preparation(["image"])},
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": {
                "_target_": "Compose",
                "transforms": [
                    {
                        "_target_": "Invertd",
                        "keys": "pred",
                        "transform": "@preprocessing",
                        "orig_keys": "image",
                        "nearest_interp": False,
                        "to_tensor": True,
                    },
                    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                ],
            },
        },
        "train.json": _training(network),
    }


def _metadata() -> dict[str, Any]:
    outputs = {"channel_def": {"0": "background", "1": FIRST, "2": SECOND}}
    formats = {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [16, 16, 16]}},
        "outputs": {"pred": {"num_channels": 3, **outputs}},
    }
    return {
        "version": "0.4.2",
        "name": "tiny",
        "description": "Finds the phantom's solids by their values.",
        "network_data_format": formats,
    }


def _segment(value: int, label: str, light: float) -> dict[str, Any]:
    return {
        "label_value": value,
        "segment_number": value,
        "label": label,
        "category": {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"},
        "type": {"value": CODES[label], "scheme": "SCT", "meaning": label},
        "cielab": [light, 40.0, 20.0],
        "tracking_id": label.lower(),
    }


def _preparation(keys: list[str]) -> list[dict[str, Any]]:
    return [
        {"_target_": "LoadImaged", "keys": keys, "reader": "NibabelReader"},
        {"_target_": "EnsureChannelFirstd", "keys": keys},
        {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS", "labels": None},
        {"_target_": "ScaleIntensityd", "keys": "image", "minv": None, "maxv": None}
        | {"factor": 1 / SCALE - 1},
    ]


def _training(network: dict[str, Any]) -> dict[str, Any]:
    engine = {"device": "cpu", "network": "@network"}
    one = {"_target_": "DataLoader", "batch_size": 1, "num_workers": 0}
    data = {"_target_": "Dataset", "data": [], "transform": "@transform"}
    onehot = {"_target_": "AsDiscreted", "to_onehot": 3}
    from_engine = "$monai.handlers.from_engine(['pred', 'label'])"
    return {
        "imports": ["$import monai", "$import torch"],
        "bundle_root": ".",
        "epochs": 1,
        "batch_size": 1,
        "learning_rate": 0.1,
        "start_from": "",
        "network": network,
        "transform": {"_target_": "Compose", "transforms": _preparation(["image", "label"])},
        "optimizer": {
            "_target_": "torch.optim.Adam",
            "params": "$@network.parameters()",
            "lr": "@learning_rate",
        },
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.ConstantLR",
            "optimizer": "@optimizer",
            "factor": 1.0,
        },
        "train": {
            "dataset": data,
            "dataloader": {**one, "dataset": "@train#dataset", "shuffle": True},
            "handlers": [
                {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": 1}
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                **engine,
                "max_epochs": "@epochs",
                "train_data_loader": "@train#dataloader",
                "loss_function": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
                "optimizer": "@optimizer",
                "inferer": {"_target_": "SimpleInferer"},
                "train_handlers": "@train#handlers",
            },
        },
        "validate": {
            "dataset": data,
            "dataloader": {**one, "dataset": "@validate#dataset"},
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                **engine,
                "val_data_loader": "@validate#dataloader",
                "inferer": {"_target_": "SimpleInferer"},
                "postprocessing": {
                    "_target_": "Compose",
                    "transforms": [
                        {**onehot, "keys": "pred", "argmax": True},
                        {**onehot, "keys": "label"},
                    ],
                },
                "key_val_metric": {
                    "val_mean_dice": {
                        "_target_": "MeanDice",
                        "include_background": False,
                        "output_transform": from_engine,
                    }
                },
                "val_handlers": [
                    {
                        "_target_": "CheckpointSaver",
                        "save_dir": "$@bundle_root + '/models'",
                        "save_dict": {"network": "@network"},
                        "save_key_metric": True,
                        "key_metric_filename": "model.pt",
                    }
                ],
            },
        },
        "initialize": [
            "$monai.utils.set_determinism(seed=7)",
            "$@network.load_state_dict(torch.load(@start_from, weights_only=True)) "
            "if @start_from else None",
        ],
    }
