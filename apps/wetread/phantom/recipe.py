"""What to make: anatomy, modalities, effects, size, seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wetread.errors import ConfigError
from wetread.phantom.anatomy import SIDES, Side
from wetread.phantom.contrast import Modality
from wetread.phantom.effects import Effects, parse_effects
from wetread.phantom.tissues import CHEST_LESIONS, HEAD_LESIONS, NO_LESION

LESION_CLASSES: Mapping[str, tuple[str, ...]] = {
    "head": (NO_LESION, *HEAD_LESIONS),
    "chest": (NO_LESION, *CHEST_LESIONS),
}
_USUAL: Mapping[str, tuple[Modality, ...]] = {
    "head": (Modality.T1, Modality.T2, Modality.FLAIR, Modality.CT),
    "chest": (Modality.CT, Modality.DX),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make. `matrix` is the number of rows and of columns, `slices` that of slices.

    `lesion` is one of LESION_CLASSES; None takes them in turn. `side` is where it lies; None
    leaves that to the seed. `is_monochrome1` says how a radiograph is stored.
    """

    anatomy: str = "head"
    modalities: tuple[Modality, ...] = (Modality.CT,)
    seed: int = 0
    effects: Effects = field(default_factory=Effects)
    lesion: str | None = None
    side: Side | None = None
    matrix: int = 128
    slices: int = 60
    is_monochrome1: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError for an anatomy, a lesion or a size that there is not."""
        _check(self.anatomy, "anatomy", tuple(LESION_CLASSES))
        if self.lesion is not None:
            _check(self.lesion, f"lesion of the {self.anatomy}", LESION_CLASSES[self.anatomy])
        if not self.modalities or self.matrix < 16 or self.slices < 4 or self.seed < 0:
            raise ConfigError(
                f"{len(self.modalities)} modalities, matrix {self.matrix}, {self.slices} slices, "
                f"seed {self.seed}",
                hint="at least 1 modality, a matrix of 16, 4 slices; no negative seed",
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of lesion that the subjects get in turn."""
        return LESION_CLASSES[self.anatomy] if self.lesion is None else (self.lesion,)


def recipe_from(
    *,
    anatomy: str,
    modalities: Sequence[str],
    effects: str,
    side: str | None,
    seed: int,
    lesion: str | None,
    matrix: int,
    slices: int,
    is_monochrome1: bool,
) -> Recipe:
    """A recipe from words; no modality stands for those that are usual for the anatomy.

    Raises ConfigError, naming what there is, for a word that means nothing.
    """
    _check(anatomy, "anatomy", tuple(LESION_CLASSES))
    named = [_modality(one) for one in modalities]
    return Recipe(
        anatomy=anatomy,
        modalities=tuple(dict.fromkeys(named)) or _USUAL[anatomy],
        seed=seed,
        effects=parse_effects(effects),
        lesion=lesion,
        side=None if side is None else _side(side),
        matrix=matrix,
        slices=slices,
        is_monochrome1=is_monochrome1,
    )


def _modality(word: str) -> Modality:
    _check(word.upper(), "modality", tuple(Modality))
    return Modality(word.upper())


def _side(word: str) -> Side:
    _check(word, "side", SIDES)
    return "left" if word == "left" else "right"


def _check(value: str, what: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"no {what} {value!r}", hint=f"there are: {', '.join(allowed)}")
