"""A segmenting bundle as an inference task: its own preparation, network and finishing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.bundle import BundleInferTask

from lib.bundles import Bundle
from lib.errors import DisagreementError, NotAllowedError
from wetread.bundle_components.clicks import ClickError


class BundleInfer(BundleInferTask):
    """Labels and their values are those of `configs/dicom.json`."""

    def __init__(self, bundle: Bundle) -> None:
        kind = InferType.DEEPEDIT if bundle.click_labels else InferType.SEGMENTATION
        super().__init__(
            str(bundle.folder), {}, type=kind, add_post_restore=False, load_strict=True
        )
        self.bundle = bundle
        # What is clicked on, the background too, has a name in a request.
        background = {name: 0 for name in bundle.click_labels if name not in bundle.labels}
        self.labels = {**bundle.labels, **background}
        # A request must not choose a file of weights.
        self._config.pop("model_filename", None)

    def run_pre_transforms(self, data: dict[str, Any], transforms: Any) -> Any:
        """As MONAI Label's. Raises NotAllowedError for a click that is no voxel of the image."""
        try:
            return super().run_pre_transforms(data, transforms)
        except (ClickError, RuntimeError) as error:
            # MONAI tells the error of a transform as the cause of its own.
            reason = error if isinstance(error, ClickError) else error.__cause__
            if isinstance(reason, ClickError):
                hint = "clicks are voxels of the image's file, as [[i, j, k]]"
                raise NotAllowedError(str(reason), hint=hint) from error
            raise

    def post_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        """The bundle's own, without those that write files; then the answer must fit the image."""
        kept = [each for each in super().post_transforms(data) if not isinstance(each, SaveImaged)]
        return [*kept, OnImageGridd(self.key_pred, self.key_image)]


class OnImageGridd(MapTransform):
    """(1, x, y, z) that is back on the image's grid → (x, y, z), with its affine beside it.

    Raises DisagreementError if it is on another grid: a mask must never be laid over by size alone.
    """

    def __init__(self, key: str, image: str) -> None:
        super().__init__(key)
        self.image = image

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """See the class."""
        d = dict(data)
        meta = d[self.image].meta
        shape = tuple(int(each) for each in meta["spatial_shape"])
        affine = np.asarray(meta["original_affine"], float)
        for key in self.keys:
            answer = d[key]
            found = tuple(answer.shape[-len(shape) :])
            placed = np.asarray(answer.affine, float) if isinstance(answer, MetaTensor) else affine
            if found != shape or not np.allclose(placed, affine, atol=1e-3):
                raise DisagreementError(
                    f"the answer has the shape {found} at {placed[:3, 3].round(2).tolist()} mm, "
                    f"the image {shape} at {affine[:3, 3].round(2).tolist()} mm",
                    hint="does the bundle's postprocessing invert its preprocessing?",
                )
            d[key] = answer.reshape(shape)
            d[f"{key}_meta_dict"] = {"affine": affine}
        return d
