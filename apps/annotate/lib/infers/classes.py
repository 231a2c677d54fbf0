"""A classifier as an inference task: probabilities instead of a mask."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged, MapTransform
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.bundle import BundleInferTask

from lib.bundles import Bundle
from wetread.bundle_components.pictures import LoadPictured
from wetread.bundle_components.subjects import LoadSubjectd


class ClassInfer(BundleInferTask):
    """The answer is JSON: `probabilities` by class, calibrated as the bundle says."""

    def __init__(self, bundle: Bundle) -> None:
        kind = InferType.CLASSIFICATION
        super().__init__(
            str(bundle.folder), {}, type=kind, add_post_restore=False, load_strict=True
        )
        self.bundle = bundle
        self.labels = {name: value for value, name in enumerate(bundle.classes)}
        # A request must not choose a file of weights.
        self._config.pop("model_filename", None)

    def pre_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        """The bundle's own, from a volume instead of what its training data lie in."""
        loaders = (LoadImaged, LoadPictured, LoadSubjectd)
        kept = [each for each in super().pre_transforms(data) if not isinstance(each, loaders)]
        return [LoadSlicesd(self.key_image), *kept]

    def writer(self, data: Any, extension: Any = None, dtype: Any = None) -> tuple[None, Any]:
        """No file."""
        values = torch.as_tensor(data[self.key_pred]).flatten().tolist()
        probabilities = {
            name: round(float(value), 4)
            for name, value in zip(self.bundle.classes, values, strict=True)
        }
        return None, {"probabilities": probabilities, "version": self.bundle.version}


class LoadSlicesd(MapTransform):
    """A NIfTI file → (1, slice, row, column), float32, with its affine to RAS mm."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """See the class."""
        d = dict(data)
        for key in self.keys:
            opened = nibabel.load(d[key])
            array = np.asarray(opened.dataobj, np.float32).transpose(2, 1, 0)
            affine = np.asarray(opened.affine, float)[:, [2, 1, 0, 3]]
            d[key] = MetaTensor(torch.from_numpy(array[None].copy()), affine=affine)
        return d
