"""Small synthetic studies that several modules look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.phantom.contrast import Modality
from wetread.phantom.effects import Effects
from wetread.phantom.files import write_dicom
from wetread.phantom.recipe import Recipe
from wetread.phantom.study import SyntheticStudy, make_study

CLEAN = Effects(noise=0, bias=0, partial_volume=0)


def loaded(folder: Path) -> SourceVolume:
    """The one series in a folder, as the gateway loads it."""
    [series] = read_study(find_instances(folder)).series
    return load_volume(series)


@pytest.fixture(scope="session")
def head() -> SyntheticStudy:
    """A head with an oedema on the left, oblique, without noise: CT, T1, T2, FLAIR, PD and DX."""
    recipe = Recipe(
        anatomy="head",
        modalities=tuple(Modality),
        seed=11,
        effects=Effects(noise=0, bias=0, partial_volume=0, oblique=2),
        lesion="oedema",
        side="left",
        matrix=64,
        slices=24,
    )
    return make_study(recipe, 0)


@pytest.fixture(scope="session")
def chest() -> SyntheticStudy:
    """A chest with a nodule on the right, with noise: CT and DX."""
    recipe = Recipe(
        anatomy="chest",
        modalities=(Modality.CT, Modality.DX),
        seed=12,
        lesion="nodule",
        side="right",
        matrix=64,
        slices=24,
    )
    return make_study(recipe, 0)


@pytest.fixture(scope="session")
def head_files(head: SyntheticStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the head as DICOM."""
    folder = tmp_path_factory.mktemp("head")
    write_dicom(head, folder)
    return folder


@pytest.fixture(scope="session")
def chest_files(chest: SyntheticStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the chest as DICOM."""
    folder = tmp_path_factory.mktemp("chest")
    write_dicom(chest, folder)
    return folder
