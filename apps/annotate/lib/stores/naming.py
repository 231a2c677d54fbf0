"""Which bundle a label belongs to, told by the names of its segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lib.bundles import Bundle, Segment
from lib.errors import WrongLabelError


def segment_named(bundle: Bundle, name: str) -> Segment | None:
    """The segment of that name, whatever the case of its letters."""
    wanted = name.strip().casefold()
    return next((each for each in bundle.segments if each.label.casefold() == wanted), None)


def bundle_of_names(names: Iterable[str], bundles: Iterable[Bundle]) -> Bundle:
    """The bundle that has a segment of each name; the first of those with the same segments.

    Raises WrongLabelError if there is none, or several that differ.
    """
    wanted = list(names)
    segmenters = [each for each in bundles if each.segments]
    found = [each for each in segmenters if all(segment_named(each, name) for name in wanted)]
    if found and all(each.segments == found[0].segments for each in found):
        return found[0]
    known = ", ".join(segment.label for each in segmenters for segment in each.segments)
    told = ", ".join(wanted) or "no segment"
    if not found:
        raise WrongLabelError(
            f"no bundle has the segments {told}", hint=f"the known ones are: {known}"
        )
    raise WrongLabelError(
        f"{told}: this is of {len(found)} bundles: {', '.join(each.name for each in found)}",
        hint='name it in params: {"model": "..."}',
    )


def values_to_segments(
    present: Sequence[int], params: Mapping[str, Any], bundles: Mapping[str, Bundle]
) -> tuple[Bundle, dict[int, Segment]]:
    """Label value → segment, for the values that a label holds; never by their order.

    `params.label_info` names them as `[{"name": …, "idx": …}]`; without it, `params.model` names
    the bundle whose values they are, which is not needed where there is one only.

    Raises WrongLabelError for a value without a name or a name without a segment.
    """
    named = _named(params)
    if named:
        bundle = _chosen(params, bundles) or bundle_of_names(named.values(), bundles.values())
        table = {value: segment_named(bundle, name) for value, name in named.items()}
    else:
        bundle = _chosen(params, bundles) or _only(bundles)
        table = {each.label_value: each for each in bundle.segments}
    missing = [value for value in present if table.get(value) is None]
    if missing:
        raise WrongLabelError(
            f"the label holds the value {missing[0]}, which names no segment of {bundle.name}",
            hint='send params.label_info: [{"name": "...", "idx": ...}] for every value',
        )
    return bundle, {value: each for value in present if (each := table[value]) is not None}


def _named(params: Mapping[str, Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for position, each in enumerate(params.get("label_info") or [], start=1):
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise WrongLabelError(
                f"params.label_info[{position - 1}] has no name", hint='{"name": ..., "idx": ...}'
            )
        if each["name"].casefold() == "background":
            continue
        value = each.get("idx", each.get("labelID"))
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongLabelError(
                f"params.label_info of {each['name']} has no idx",
                hint="the value that its voxels have; the order of the names says nothing",
            )
        found[value] = each["name"]
    return found


def _chosen(params: Mapping[str, Any], bundles: Mapping[str, Bundle]) -> Bundle | None:
    infos = params.get("label_info") or [{}]
    first = infos[0] if isinstance(infos[0], dict) else {}
    name = params.get("model") or first.get("model_name")
    bundle = bundles.get(str(name))
    return bundle if bundle is not None and bundle.segments else None


def _only(bundles: Mapping[str, Bundle]) -> Bundle:
    return bundle_of_names([], bundles.values())
