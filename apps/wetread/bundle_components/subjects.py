"""A subject's volumes in several modalities, one NIfTI file each, as channels of one image.

Images are (modality, x, y, z), float32. A modality that is absent is 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform, Orientation, RandomizableTransform

from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.transforms import Data, NoContrastError, like, plain

# Where voxels of two files may differ and still lie on one grid, mm.
SAME_PLACE_MM = 0.01
# So many standard deviations from the mean is the most that is left.
_LIMIT = 5.0


def subject_files(folder: str | Path, modalities: Sequence[str]) -> dict[str, Path]:
    """The files of a subject that are there: "t1" is `t1.nii.gz` or `t1.nii`.

    Raises DataFolderError if there is none.
    """
    root = Path(folder)
    wanted = {name: [root / f"{name}{end}" for end in (".nii.gz", ".nii")] for name in modalities}
    found = {name: path for name, paths in wanted.items() for path in paths[::-1] if path.is_file()}
    if not found:
        first = next(iter(wanted), "?")
        raise DataFolderError(
            f"{root} has no file of {', '.join(modalities)}, such as {first}.nii.gz"
        )
    return found


class LoadSubjectd(MapTransform):
    """Folder → (modality, x, y, z), with the axes to right, front and top (RAS).

    `modalities` names the channels in their order; each is the file `<name>.nii.gz` of the folder.
    Raises DataFolderError if there is none of them, or if two do not lie on one grid.
    """

    def __init__(self, keys: KeysCollection, modalities: Sequence[str]) -> None:
        super().__init__(keys)
        self.modalities = tuple(modalities)
        self._load = LoadImage("NibabelReader", image_only=True, ensure_channel_first=True)
        self._turn = Orientation(axcodes="RAS", labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._subject(str(d[key]))
        return d

    def _subject(self, folder: str) -> MetaTensor:
        files = subject_files(folder, self.modalities)
        images = {name: self._turn(self._load(path)) for name, path in files.items()}
        first = next(iter(images.values()))
        for name, image in images.items():
            _check_grid(folder, next(iter(images)), first, name, image)
        absent = torch.zeros_like(plain(first))
        channels = [plain(images[name]) if name in images else absent for name in self.modalities]
        return MetaTensor(torch.cat(channels), affine=first.affine)


def _check_grid(
    folder: str, first_name: str, first: MetaTensor, name: str, image: MetaTensor
) -> None:
    far = float((first.affine - image.affine).abs().max())
    if first.shape != image.shape or far > SAME_PLACE_MM:
        raise DataFolderError(
            f"{folder}: {name} has the shape {tuple(image.shape[1:])}, {first_name} "
            f"{tuple(first.shape[1:])}; their affines differ by up to {far:.3g}: resample all to "
            "one grid"
        )


class LoadLesiond(MapTransform):
    """Where the lesion is: (1, x, y, z), the class number of the case in it, 0 elsewhere.

    Of a case with `image` (the folder) and `label` (the number), before `LoadSubjectd`. The lesion
    is what has the value `value` in the folder's file `file`. The map comes under `keys`.
    Raises DataFolderError if the file is not there, or has no lesion where there must be one.
    """

    def __init__(self, keys: KeysCollection, file: str, value: int) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.file = file
        self.value = value
        self._load = LoadImage("NibabelReader", image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        d = dict(data)
        path = subject_files(d["image"], [self.file])[self.file]
        labels = self._load(path)
        lesion = (plain(labels) == self.value).to(torch.float32)
        if int(d["label"]) and not lesion.any():
            raise DataFolderError(f"{path}: no voxel has the value {self.value} of the lesion")
        for key in self.keys:
            d[key] = MetaTensor(lesion * int(d["label"]), affine=labels.affine)
        return d


class PlaceModalityd(MapTransform):
    """Put an image of one channel at `channel` of `channels`; the others are absent, 0 everywhere.

    An image that has all channels stays as it is. Raises ValueError for any other.
    """

    def __init__(self, keys: KeysCollection, channel: int, channels: int) -> None:
        super().__init__(keys)
        self.channel = channel
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = like(self._placed(plain(d[key])), d[key])
        return d

    def _placed(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[0] == self.channels:
            return image
        if image.shape[0] != 1:
            raise ValueError(f"{image.shape[0]} channels, either 1 or {self.channels} can be read")
        placed = torch.zeros((self.channels, *image.shape[1:]), dtype=image.dtype)
        placed[self.channel] = image[0]
        return placed


class NormalizeModalitiesd(MapTransform):
    """Bring each modality that is there to one scale; one that is absent stays 0 everywhere.

    `windows` has one entry a modality: [low, high] of a known unit, such as HU, become −1 and 1,
    and what lies outside is clipped; null takes off the mean and divides by the standard deviation
    of the voxels above the mean of all (the head, not the air), clipped at ±5.

    Raises NoContrastError if no modality is there, or one has a single value.
    """

    def __init__(self, keys: KeysCollection, windows: Sequence[Sequence[float] | None]) -> None:
        super().__init__(keys)
        self.windows = tuple(windows)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            image = plain(d[key])
            if not image.any():
                raise NoContrastError("no modality is there: all channels are 0")
            pairs = zip(image, self.windows, strict=True)
            d[key] = like(torch.stack([_normalized(*pair) for pair in pairs]), d[key])
        return d


def _normalized(channel: torch.Tensor, window: Sequence[float] | None) -> torch.Tensor:
    if not channel.any():
        return channel
    if channel.amax() == channel.amin():
        raise NoContrastError(f"a modality has the value {float(channel.amax()):g} everywhere")
    if window is not None:
        low, high = window
        return ((channel - low) * (2 / (high - low)) - 1).clamp_(-1, 1)
    head = channel[channel > channel.mean()]
    deviation = head.std(correction=0).clamp(min=1e-6)
    return ((channel - head.mean()) / deviation).clamp_(-_LIMIT, _LIMIT)


class RandDropModalitiesd(RandomizableTransform, MapTransform):
    """Make each modality that is there absent with the probability `prob`, but never the last one.

    If all were to go, one of them stays, each with the same probability.
    """

    def __init__(self, keys: KeysCollection, prob: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.drop = prob

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            image = plain(d[key])
            there = np.array([bool(channel.any()) for channel in image])
            kept = torch.from_numpy(self._kept(there))
            d[key] = like(image * kept.to(image.dtype)[:, None, None, None], d[key])
        return d

    def _kept(self, there: np.ndarray) -> np.ndarray:
        kept = there & (self.R.random(len(there)) >= self.drop)
        if there.any() and not kept.any():
            kept[self.R.choice(np.flatnonzero(there))] = True
        return kept
