"""A bundle whose networks run on Triton: its whole pipeline there, asked over HTTP (KServe v2)."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import requests
import SimpleITK
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray

from lib.bundles import Bundle
from lib.errors import DisagreementError, UnavailableError
from lib.stores.volume import LPS_TO_RAS, write_nifti

_HEADER_LENGTH = "Inference-Header-Content-Length"
_TYPES = {"UINT16": np.uint16, "FP32": np.float32}


class ServedInfer(InferTask):
    """The model `BUNDLE_reading` of a Triton server; the answer is on the image's own grid."""

    def __init__(self, bundle: Bundle, url: str, timeout_seconds: float = 600.0) -> None:
        kind = InferType.SEGMENTATION if bundle.segments else InferType.CLASSIFICATION
        labels = bundle.labels or {name: value for value, name in enumerate(bundle.classes)}
        super().__init__(kind, labels, 3, f"{bundle.description} (on Triton)", {})
        self.bundle = bundle
        self._url = f"{url.rstrip('/')}/v2/models/{bundle.name}_reading/infer"
        self._timeout_seconds = timeout_seconds

    def info(self) -> dict[str, Any]:
        """As MONAI Label shows it."""
        return {
            "type": self.type,
            "labels": self.labels,
            "dimension": self.dimension,
            "description": self.description,
            "config": {},
            "version": self.bundle.version,
        }

    def is_valid(self) -> bool:
        """Whether it answers is found out when it is asked."""
        return True

    def get_path(self, validate: bool = True) -> None:
        """There is no file of weights here."""

    def __call__(
        self, request: Mapping[str, Any], callbacks: Any = None
    ) -> tuple[str | None, dict[str, Any]]:
        """The mask as a file and what was said of it; a classifier has no file.

        Raises UnavailableError if the server does not answer, DisagreementError with its reason if
        it refuses.
        """
        started = time.monotonic()
        image = nibabel.load(request["image"])
        affine = LPS_TO_RAS @ np.asarray(image.affine, float)
        found = self._asked(np.asarray(image.dataobj, np.float32), affine)
        said: dict[str, Any] = {
            "label_names": self.labels,
            "version": self.bundle.version,
            "seconds": round(time.monotonic() - started, 2),
        }
        if "probabilities" in found:
            values = found["probabilities"].flatten().tolist()
            chances = zip(self.bundle.classes, values, strict=True)
            said["probabilities"] = {name: round(value, 4) for name, value in chances}
            return None, said
        extension = str(request.get("result_extension") or ".nii.gz")
        return str(_written(found["labelmap"], image.affine, extension)), said

    def _asked(
        self, image: NDArray[np.float32], affine: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        tensors: dict[str, tuple[str, NDArray[Any]]] = {
            "image": ("FP32", image),
            "affine": ("FP64", affine),
        }
        inputs = [
            {
                "name": name,
                "shape": list(values.shape),
                "datatype": kind,
                "parameters": {"binary_data_size": values.nbytes},
            }
            for name, (kind, values) in tensors.items()
        ]
        answer = "labelmap" if self.bundle.segments else "probabilities"
        outputs = [{"name": answer, "parameters": {"binary_data": True}}]
        header = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
        body = header + b"".join(np.ascontiguousarray(v).tobytes() for _, v in tensors.values())
        try:
            got = requests.post(
                self._url,
                data=body,
                headers={_HEADER_LENGTH: str(len(header))},
                timeout=self._timeout_seconds,
            )
        except requests.RequestException as error:
            raise UnavailableError(
                f"Triton does not answer for {self.bundle.name}: {error}", hint="is it up?"
            ) from error
        if got.status_code != requests.codes.ok:
            raise DisagreementError(
                f"Triton refuses {self.bundle.name}: {got.text[:500]}",
                hint="is its reading loaded, and is the image what the bundle accepts?",
            )
        return _tensors(got)


def _tensors(answer: requests.Response) -> dict[str, NDArray[Any]]:
    """Each output of an answer with binary data, by name."""
    length = int(answer.headers[_HEADER_LENGTH])
    said, place = json.loads(answer.content[:length]), length
    found = {}
    for each in said["outputs"]:
        size = each["parameters"]["binary_data_size"]
        values = np.frombuffer(answer.content[place : place + size], _TYPES[each["datatype"]])
        found[each["name"]] = values.reshape(each["shape"])
        place += size
    return found


def _written(labelmap: NDArray[Any], affine: NDArray[Any], extension: str) -> Path:
    """As a file of that kind, which its caller removes."""
    with tempfile.NamedTemporaryFile(suffix=".nii.gz", delete=False) as file:
        path = Path(file.name)
    write_nifti(labelmap.astype(np.uint8), np.asarray(affine, float), path)
    if extension == ".nii.gz":
        return path
    made = path.with_name(path.name.removesuffix(".nii.gz") + extension)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(made))
    path.unlink()
    return made
