"""A subject's NIfTI files, one a modality, as one volume with a channel for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.subjects import SAME_PLACE_MM, subject_files
from wetread.errors import InputError
from wetread.infer.files import volume_from_nifti

_MODALITY = highdicom.ChannelDescriptor("modality", is_custom=True, value_type=str)
# The axes of an axial image as its slices are shown: up, to the back, to the left.
_AXIAL = "HPL"


def is_subject(path: Path, modalities: Sequence[str]) -> bool:
    """Whether the folder has a file of one of the modalities, such as `t1.nii.gz`."""
    return path.is_dir() and any(
        (path / f"{name}{end}").is_file() for name in modalities for end in (".nii.gz", ".nii")
    )


def volume_from_subject(folder: Path, modalities: Sequence[str]) -> highdicom.Volume:
    """The files of a subject as (slice, row, column, modality), axial, with an affine to LPS mm.

    A modality without a file is 0 everywhere. Raises InputError if there is no file at all, one
    cannot be read (see `volume_from_nifti`), or two do not lie on one grid.
    """
    try:
        files = subject_files(folder, modalities)
    except DataFolderError as error:
        raise InputError(str(error), hint="the bundle's page says which files it reads") from error
    volumes = {
        name: volume_from_nifti(path).to_patient_orientation(_AXIAL) for name, path in files.items()
    }
    first_name, first = next(iter(volumes.items()))
    for name, volume in volumes.items():
        far = float(np.abs(volume.affine - first.affine).max())
        if volume.shape != first.shape or far > SAME_PLACE_MM:
            raise InputError(
                f"{folder}: {name} has the shape {volume.shape}, {first_name} {first.shape}; their "
                f"affines differ by up to {far:.3g}",
                hint="resample all files to one grid",
            )
    absent = np.zeros(first.shape, np.float32)
    channels = [volumes[name].array if name in volumes else absent for name in modalities]
    return volume_of_modalities(np.stack(channels, axis=-1), first.affine, modalities)


def volume_of_modalities(
    values: NDArray[np.float32], affine: NDArray[np.floating[Any]], modalities: Sequence[str]
) -> highdicom.Volume:
    """Values (slice, row, column, modality) with an affine to mm in LPS.

    Raises ValueError if they do not fit each other.
    """
    return highdicom.Volume(
        values, affine, coordinate_system="PATIENT", channels={_MODALITY: list(modalities)}
    )
