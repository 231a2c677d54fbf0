"""One image's labels on the page /work, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.guard.page import escaped
from lib.guard.people import REVIEWER, Person
from lib.guard.who import LOCAL
from lib.guard.work_parts import button, moment, number

_AGREEMENT = ("Readers", "Segment", "Dice", "Mean surface, mm", "HD95, mm", "Volumes, mL")


def label_card(image: str, label: Mapping[str, Any], person: Person) -> str:
    """A label, what became of it, and what a reviewer may do with it."""
    kind = "Consensus, made by " if label["is_consensus"] else ""
    counts = " counts" if label["counts"] else ""
    told = ' <span class="muted">· the label of this image</span>' if counts else ""
    return (
        f'<section class="card{counts}"><h3>{kind}{escaped(label["annotator"])} '
        f'<span class="state {escaped(label["state"])}">{escaped(label["state"])}</span>{told}</h3>'
        f'<p class="muted">{moment(label["at"])}{_how(label)}</p>'
        f"{_edits(label)}{_readers(label)}{_steps(label['steps'])}"
        f"{_review(image, label, person) if person.may(REVIEWER) else ''}</section>"
    )


def agreement_tables(image: str, found: Sequence[Mapping[str, Any]]) -> str:
    """One table a bundle, with the button that makes a consensus."""
    if not found:
        return "<h2>Agreement</h2><p>Fewer than two readers have drawn this image.</p>"
    return "<h2>Agreement</h2>" + "".join(_agreement(image, each) for each in found)


def _agreement(image: str, found: Mapping[str, Any]) -> str:
    name = f'<h3 class="name">{escaped(found["bundle"])}</h3>'
    if "error" in found:
        return f'{name}<p class="wrong">{escaped(found["error"])}</p>'
    volumes = found["volumes_ml"]
    rows = "".join(
        "<tr>"
        f"<td>{escaped(', '.join(pair['readers']))}</td><td>{escaped(segment)}</td>"
        f"<td>{number(each['dice'], 3)}</td><td>{number(each['mean_surface_mm'])}</td>"
        f"<td>{number(each['hd95_mm'])}</td>"
        f"<td>{' / '.join(number(volumes[who][segment]) for who in pair['readers'])}</td></tr>"
        for pair in found["pairs"]
        for segment, each in pair["segments"].items()
    )
    make = button(
        "/work/consensus",
        {"image": image, "bundle": found["bundle"]},
        "Make and store their consensus (STAPLE)",
    )
    return f"{name}{_table(_AGREEMENT, rows)}<div class=row>{make}</div>"


def _how(label: Mapping[str, Any]) -> str:
    model, seconds = label["from_model"] or {}, label["seconds_spent"]
    said = f" · {escaped(label['bundle'])}"
    if model:
        said += f" · from {escaped(model.get('name', ''))} {escaped(model.get('version', ''))}"
    return said + (f" · {seconds:.0f} s" if seconds is not None else "")


def _edits(label: Mapping[str, Any]) -> str:
    edits, why = label["edit_distance"], label["no_edit_distance"]
    if not edits:
        told = why and not (label["is_consensus"] or label["state"] == "proposed")
        return (
            f'<p class="muted">Changed of a proposal: unknown, {escaped(why)}</p>' if told else ""
        )
    proposal = edits["proposal"]
    rows = "".join(
        f"<tr><td>{escaped(name)}</td><td>{number(each['dice'], 3)}</td>"
        f"<td>{number(each['hd95_mm'])}</td><td>{number(each['changed_ml'])}</td></tr>"
        for name, each in edits["segments"].items()
    )
    table = _table(("Segment", "Dice", "HD95, mm", "Changed, mL"), rows)
    whose = escaped(f"{proposal['model']} {proposal['version']}".strip())
    return f"<p>Changed of what {whose} proposed:</p>{table}"


def _readers(label: Mapping[str, Any]) -> str:
    """Of a consensus, how each reader did."""
    made = label["consensus"]
    if not made:
        return ""
    rows = "".join(
        f"<tr><td>{escaped(reader)}</td><td>{escaped(segment)}</td>"
        f"<td>{number(each['sensitivity'], 3)}</td><td>{number(each['specificity'], 3)}</td></tr>"
        for segment, readers in made["performance"].items()
        for reader, each in readers.items()
    )
    return _table(("Reader", "Segment", "Sensitivity", "Specificity"), rows)


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    items = "".join(
        f"<li>{escaped(each['state'])} by {escaped(each['by'])}, {moment(each['at'])}"
        f"{': ' + escaped(each['reason']) if each['reason'] else ''}"
        for each in steps
    )
    return f"<ol>{items}</ol>" if items else ""


def _review(image: str, label: Mapping[str, Any], person: Person) -> str:
    """Forms for the steps that are left; why one is not offered is said by its answer."""
    fields = {"image": image, "label": label["id"]}
    whose = f"the label of {label['annotator']}"
    approve = button("/work/review", {**fields, "state": "approved"}, "Approve", whose)
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escaped(value)}">'
        for name, value in {**fields, "state": "returned"}.items()
    )
    own = person.name in label["authors"] and person.name != LOCAL
    if own:
        approve = '<span class="muted">Drawn by you: another reviewer approves it.</span>'
    back = (
        f'<form class="row" method="post" action="/work/review">{hidden}'
        '<label>What is wrong with it <input name="reason" required maxlength="500"></label>'
        f'<button aria-label="{escaped(f"Return: {whose}")}">Return</button></form>'
    )
    offered = {"corrected": approve + back, "approved": back}.get(label["state"], "")
    return f'<div class="row">{offered}</div>' if offered else ""


def _table(head: Sequence[str], rows: str) -> str:
    cells = "".join(f'<th scope="col">{each}</th>' for each in head)
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="Figures"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
