"""What a bundle declares about itself: `configs/dicom.json`, `export.json` and `metadata.json`.

Every fault is a ConfigError that names the file and the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.sr.coding import Code

from wetread.errors import ConfigError, UnsupportedSeriesError
from wetread.results import Segment
from wetread.study import Series

# The config_id of the network that the inferer of inference.json calls.
MAIN_NETWORK = "network_def"
# Of a network whose export.json names none, and those that the exporter can write.
DEFAULT_OPSET = 18
OPSETS = range(13, 21)


@dataclass(frozen=True, slots=True)
class Accepts:
    """Which series a model may read. What a series does not say is not held against it.

    Text is in capitals here, and compared without regard to letter case.
    """

    modality: tuple[str, ...]
    min_instances: int
    max_instances: int | None = None
    max_slice_spacing_mm: float | None = None
    not_image_type: tuple[str, ...] = ()
    not_body_part_examined: tuple[str, ...] = ()

    def check(self, model: str, series: Series) -> None:
        """Raise UnsupportedSeriesError, with what `model` wants and what it got, unless it fits."""
        reason = self._refusal(series)
        if reason:
            raise UnsupportedSeriesError(
                f"{model} wants {reason}",
                hint="send another series, or change the rule that chose this model",
                study_instance_uid=series.study_instance_uid,
                series_instance_uid=series.series_instance_uid,
            )

    def _refusal(self, series: Series) -> str:
        count, most = series.image_count, self.max_instances
        if (series.modality or "").upper() not in self.modality or count < self.min_instances:
            return (
                f"{' or '.join(self.modality)} with ≥ {self.min_instances} instances, "
                f"got {series.modality or 'no modality'} with {count}"
            )
        if most is not None and count > most:
            return f"at most {most} instances, got {count}"
        spacing, limit = series.slice_spacing_mm, self.max_slice_spacing_mm
        if limit is not None and isinstance(spacing, float) and spacing > limit:
            return f"slices at most {limit:g} mm apart, got {spacing:g} mm"
        kinds = [kind for kind in series.image_type if kind.upper() in self.not_image_type]
        if kinds:
            found = ", ".join(series.image_type)
            return f"no image type {kinds[0]}, got {found}"
        part = series.body_part_examined or ""
        return f"no body part {part}" if part.upper() in self.not_body_part_examined else ""


@dataclass(frozen=True, slots=True)
class FindingClass:
    """One class of a classifier, in the order of its outputs; without `finding` it is normal."""

    label: str
    finding: Code | None = None
    finding_site: Code | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """A bundle's `configs/dicom.json`: a segmenter has `segments`, a classifier `classes`.

    Where `segments_overlap`, each label value is a bit, see `SegmentationResult`.
    """

    accepts: Accepts
    segments: tuple[Segment, ...] = ()
    classes: tuple[FindingClass, ...] = ()
    segments_overlap: bool = False


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape ((batch, channel, …); -1 any length) and dtype of a network's input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """One network of a bundle: its name in `triton_models/`, its key in `inference.json`.

    `opset` is the version of ONNX's operators that it is written with.
    """

    name: str
    config_id: str
    input: TensorSpec
    output: TensorSpec
    opset: int = DEFAULT_OPSET


class _Table:
    """A JSON object being read: says where it is when something is amiss, and what was not read."""

    def __init__(self, path: Path, place: str, value: object) -> None:
        self.path = path
        self.place = place
        if not isinstance(value, dict):
            raise self.fault("", f"must be an object, got {value!r}")
        self.items: dict[str, Any] = value
        self.known: set[str] = set()

    def fault(self, key: str, what: str) -> ConfigError:
        where = ".".join(part for part in (self.place, key) if part) or "the file"
        return ConfigError(f"{self.path}: {where} {what}", hint="see bundles/README.md")

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        self.known.add(key)
        value = self.items.get(key, default)
        if value is ...:
            raise self.fault(key, "is missing")
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if value is not default and not fits:
            raise self.fault(key, f"has the wrong type: {value!r}")
        return value

    def texts(self, key: str, default: Any = ...) -> tuple[str, ...]:
        values = self.get(key, list, default)
        if not all(isinstance(value, str) for value in values):
            raise self.fault(key, f"must be a list of strings, got {values!r}")
        return tuple(values)

    def numbers(self, key: str, kind: type | tuple[type, ...]) -> tuple[Any, ...]:
        values = self.get(key, list)
        if not all(isinstance(value, kind) for value in values):
            raise self.fault(key, f"must be a list of numbers, got {values!r}")
        return tuple(values)

    def table(self, key: str) -> _Table:
        place = f"{self.place}.{key}" if self.place else key
        return _Table(self.path, place, self.get(key, dict))

    def tables(self, key: str) -> list[_Table]:
        items = self.get(key, list)
        return [_Table(self.path, f"{key}[{index}]", item) for index, item in enumerate(items)]

    def finish(self) -> None:
        for key in self.items:
            if key not in self.known:
                raise self.fault(key, "is not a known key")


def _read(path: Path) -> _Table:
    try:
        return _Table(path, "", json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", hint="is this the folder of a bundle?"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}", hint="see bundles/README.md") from error


def bundle_version(bundle: Path) -> str:
    """The version in `configs/metadata.json`."""
    version: str = _read(bundle / "configs/metadata.json").get("version", str)
    return version


def load_description(bundle: Path) -> Description:
    """Read `configs/dicom.json`. Raises ConfigError, naming file and key."""
    table = _read(bundle / "configs/dicom.json")
    accepts = _accepts(table.table("accepts"))
    if ("segments" in table.items) == ("classes" in table.items):
        raise table.fault("", "must have either segments or classes")
    if "classes" in table.items:
        return Description(accepts, classes=_classes(table))
    segments = tuple(_segment(item) for item in table.tables("segments"))
    overlap = table.get("segments_overlap", bool, False)
    table.finish()
    if [segment.segment_number for segment in segments] != list(range(1, len(segments) + 1)):
        raise table.fault("segments", "must be numbered 1, 2, 3, … by segment_number")
    if len({segment.label_value for segment in segments}) < len(segments):
        raise table.fault("segments", "has a label_value twice")
    if overlap and any(segment.label_value.bit_count() != 1 for segment in segments):
        raise table.fault("segments", "may overlap, so each label_value must be 1, 2, 4, 8, …")
    return Description(accepts, segments, segments_overlap=overlap)


def _classes(table: _Table) -> tuple[FindingClass, ...]:
    classes = tuple(_class(item) for item in table.tables("classes"))
    table.finish()
    if len({each.label for each in classes}) < max(2, len(classes)):
        raise table.fault("classes", "must have at least two, no label twice")
    if not any(each.finding for each in classes):
        raise table.fault("classes", "must have one with a finding")
    return classes


def _class(table: _Table) -> FindingClass:
    codes = {
        key: _code(table.table(key)) for key in ("finding", "finding_site") if key in table.items
    }
    found = FindingClass(table.get("label", str), **codes)
    table.finish()
    return found


def load_networks(bundle: Path) -> Mapping[str, NetworkSpec]:
    """Read `configs/export.json`: network name → what it is. Raises ConfigError."""
    table = _read(bundle / "configs/export.json")
    networks = table.table("networks")
    table.finish()
    found = {name: _network(name, networks.table(name)) for name in networks.items}
    if not found:
        raise table.fault("networks", "names no network")
    return found


def main_network(bundle: Path) -> NetworkSpec:
    """The network that answers; the others of a bundle serve its preprocessing.

    The bundle is one that could be opened: `open_model` refuses those without.
    """
    return next(spec for spec in load_networks(bundle).values() if spec.config_id == MAIN_NETWORK)


def _accepts(table: _Table) -> Accepts:
    limit = table.get("max_slice_spacing_mm", (int, float), None)
    most = table.get("max_instances", int, None)
    accepts = Accepts(
        modality=_capitals(table.texts("modality")),
        min_instances=table.get("min_instances", int),
        max_instances=most,
        max_slice_spacing_mm=None if limit is None else float(limit),
        not_image_type=_capitals(table.texts("not_image_type", ())),
        not_body_part_examined=_capitals(table.texts("not_body_part_examined", ())),
    )
    table.finish()
    return accepts


def _capitals(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.upper() for text in texts)


def _segment(table: _Table) -> Segment:
    region = "anatomic_region"
    segment = Segment(
        segment_number=table.get("segment_number", int),
        label_value=table.get("label_value", int),
        label=table.get("label", str),
        category=_code(table.table("category")),
        type=_code(table.table("type")),
        cielab=_cielab(table),
        tracking_id=table.get("tracking_id", str),
        anatomic_region=_code(table.table(region)) if region in table.items else None,
    )
    table.finish()
    if not 1 <= segment.label_value <= 0xFFFF:
        raise table.fault("label_value", f"must be 1..65535 (0 is background): {segment}")
    return segment


def _cielab(table: _Table) -> tuple[float, float, float]:
    values = table.numbers("cielab", (int, float))
    if len(values) != 3 or not 0 <= values[0] <= 100 or not all(-128 <= v <= 127 for v in values):
        raise table.fault("cielab", f"must be [L* 0..100, a* and b* -128..127], got {values}")
    return float(values[0]), float(values[1]), float(values[2])


def _code(table: _Table) -> Code:
    code = Code(table.get("value", str), table.get("scheme", str), table.get("meaning", str))
    table.finish()
    return code


def _network(name: str, table: _Table) -> NetworkSpec:
    spec = NetworkSpec(
        name,
        table.get("config_id", str),
        _tensor(table.table("input")),
        _tensor(table.table("output")),
        table.get("opset", int, DEFAULT_OPSET),
    )
    table.finish()
    if spec.opset not in OPSETS:
        wanted = f"must be {OPSETS.start} to {OPSETS.stop - 1}"
        raise table.fault("opset", f"{wanted}, got {spec.opset}")
    return spec


def _tensor(table: _Table) -> TensorSpec:
    spec = TensorSpec(table.get("name", str), table.numbers("shape", int), table.get("dtype", str))
    table.finish()
    if spec.dtype != "float32":
        raise table.fault("dtype", f"must be float32, got {spec.dtype!r}")
    return spec
