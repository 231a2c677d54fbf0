"""The page /work: a list of images, and one image with its labels; forms, and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from lib.errors import AnnotateError
from lib.guard.page import escaped, page
from lib.guard.people import REVIEWER, Person
from lib.guard.work_labels import agreement_tables, label_card
from lib.guard.work_parts import button, held, moment, state_of

_SHOWN = {"mine": "Mine", "free": "Free", "review": "To review", "all": "All"}
_OF_REVIEWERS = ("review", "all")
STYLE = """
body { max-width: 68em; }
header { display: flex; flex-wrap: wrap; gap: .3em 1.2em; align-items: baseline;
  border-bottom: 1px solid var(--line); padding-bottom: .6em; margin-bottom: 1em; }
header h1 { margin-right: auto; }
header form, td form, .row form { margin: 0; }
h2 { font-size: 1.15em; margin: 1.6em 0 .5em; }
h3 { font-size: 1em; margin: 0 0 .3em; }
nav ul { display: flex; flex-wrap: wrap; gap: .3em 1.2em; list-style: none; padding: 0; }
nav [aria-current] { color: var(--text); font-weight: 600; text-decoration: none; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5em .9em .5em 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; }
.uid { color: var(--muted); font-size: .85em; overflow-wrap: anywhere; }
.name { overflow-wrap: anywhere; }
.muted { color: var(--muted); }
.state { font-weight: 600; white-space: nowrap; }
.state.approved { color: var(--good); } .state.corrected { color: var(--wait); }
.state.returned { color: var(--wrong); }
.row { display: flex; flex-wrap: wrap; gap: .5em .7em; align-items: end; margin: .6em 0; }
.row label { display: flex; flex-direction: column; gap: .15em; font-size: .9em; }
.row input[name=reason] { width: 22em; } .row input[name=hours] { width: 6em; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .8em 1em; margin: .8em 0; }
.card p { margin: .3em 0; overflow-wrap: anywhere; }
.counts { border-color: var(--mark); border-width: 2px; }
ol { margin: .3em 0; padding-left: 1.4em; }
time { white-space: nowrap; }
.scroll { overflow-x: auto; } .scroll table { width: auto; }
@media (max-width: 46em) {
  table.list, .list tbody, .list tr, .list td { display: block; }
  .list thead { position: absolute; clip-path: inset(50%); }
  .list tr { border-bottom: 1px solid var(--line); padding: .6em 0; }
  .list td { border: 0; padding: .1em 0; }
  .list td[data-of]::before { content: attr(data-of) ": "; color: var(--muted); }
  .row label, .row input[name=reason] { width: 100%; }
  .scroll { font-size: .85em; } .scroll td, .scroll th { padding: .35em .5em .35em 0; }
}
"""


def overview(found: Mapping[str, Any], person: Person) -> Response:
    """The list of images."""
    shown, number, pages = found["show"], found["page"], found["pages"]
    here = f"/work?{urlencode({'show': shown, 'page': number})}"
    rows = "".join(_row(each, person, here) for each in found["images"])
    head = "".join(f'<th scope="col">{each}</th>' for each in ("Image", "State", "Who has it", ""))
    table = (
        f'<table class="list"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        if rows
        else f"<p>{_nothing(shown)}</p>"
    )
    count = f"{found['total']} image{'' if found['total'] == 1 else 's'}"
    content = (
        f"{_header('Work', person)}<main>{_filters(shown, person)}"
        f'<p class="muted">{count}{_pages(shown, number, pages)}</p>{table}</main>'
    )
    return page("work", content, STYLE)


def detail(found: Mapping[str, Any], person: Person, readers: Sequence[str]) -> Response:
    """One image."""
    image = found["image"]
    is_reviewer = person.may(REVIEWER)
    kept = [each for each in found["labels"] if each["newest_of_reader"] or each["counts"]]
    older = len(found["labels"]) - len(kept)
    labels = "".join(label_card(image, each, person) for each in kept)
    more = f'<p class="muted">{older} older or returned: {_as_json(image)}</p>' if older else ""
    content = (
        f"{_header(found['title'], person, back=True)}<main>"
        f"{_facts(found)}{_holding(found, person, readers if is_reviewer else ())}"
        f"<h2>Labels</h2>{labels or '<p>None yet.</p>'}{more}"
        f"{agreement_tables(image, found['agreement']) if is_reviewer else ''}</main>"
    )
    return page(found["title"], content, STYLE)


def problem(error: AnnotateError, person: Person) -> Response:
    """What did not work, and what to do."""
    content = (
        f"{_header('That did not work', person, back=True)}<main>"
        f'<p class="wrong" role="alert">{escaped(error.message)}</p>'
        f"<p>{escaped(error.hint)}</p></main>"
    )
    return page("that did not work", content, STYLE, error.status)


def local(onward: str) -> str:
    """A page of the work, or nothing."""
    fine = onward == "/work" or onward.startswith("/work?")
    return onward if fine and onward.isprintable() and "\\" not in onward else ""


def address_of(image: str) -> str:
    """Where an image's page is."""
    return f"/work/image?{urlencode({'image': image})}"


def _header(title: str, person: Person, *, back: bool = False) -> str:
    links = '<a href="/work">All work</a> ' if back else ""
    out = '<form method="post" action="/logout"><button>Log out</button></form>'
    return (
        f'<header><h1 class="name">{escaped(title)}</h1>{links}<a href="/ohif/">Viewer</a>'
        f'<span class="muted">{escaped(person.name)}, {escaped(person.role)}</span>{out}</header>'
    )


def _filters(shown: str, person: Person) -> str:
    offered = [
        (key, text)
        for key, text in _SHOWN.items()
        if key not in _OF_REVIEWERS or person.may(REVIEWER)
    ]
    items = "".join(
        f'<li><a href="/work?show={key}"{" aria-current=page" if key == shown else ""}>{text}</a>'
        for key, text in offered
    )
    return f'<nav aria-label="Which images"><ul>{items}</ul></nav>'


def _pages(shown: str, number: int, pages: int) -> str:
    if pages == 1:
        return ""
    links = [
        f' · <a href="/work?{urlencode({"show": shown, "page": other})}">{text}</a>'
        for other, text in ((number - 1, "Former page"), (number + 1, "Next page"))
        if 1 <= other <= pages
    ]
    return f" · page {number} of {pages}{''.join(links)}"


def _nothing(shown: str) -> str:
    if shown == "mine":
        return 'Nothing is with you. <a href="/work?show=free">Take a free image</a>.'
    return "There are none."


def _row(image: Mapping[str, Any], person: Person, here: str) -> str:
    name = escaped(image["title"])
    uid = f'<div class="uid">{escaped(image["image"])}</div>' if name != image["image"] else ""
    return (
        f'<tr><td><a class="name" href="{escaped(address_of(image["image"]))}">{name}</a>{uid}</td>'
        f'<td data-of="State">{state_of(image)}</td>'
        f'<td data-of="Who has it">{_holders(image)}</td><td>{_own(image, person, here)}</td></tr>'
    )


def _holders(image: Mapping[str, Any]) -> str:
    return "<br>".join(held(each) for each in image["holds"]) or "nobody"


def _own(image: Mapping[str, Any], person: Person, here: str) -> str:
    """Take or release, for oneself."""
    holders = {each["reader"] for each in image["holds"]}
    fields = {"image": image["image"], "next": here}
    said = image["title"]
    if person.name in holders:
        return button("/work/release", fields, "Release", said)
    return "" if holders else button("/work/take", fields, "Take", said)


def _facts(found: Mapping[str, Any]) -> str:
    viewer = (
        f' · <a href="{escaped(found["viewer"])}">Open in the viewer</a>' if found["viewer"] else ""
    )
    uid = found["image"] if found["image"] != found["title"] else ""
    return f'<p>{state_of(found)}{viewer}</p><p class="uid">{escaped(uid)}</p>'


def _holding(found: Mapping[str, Any], person: Person, readers: Sequence[str]) -> str:
    image = found["image"]
    rows = "".join(
        f'<div class="row"><span>{held(each)}, since {moment(each["since"])}</span>'
        + (
            button(
                "/work/release",
                {"image": image, "reader": each["reader"]},
                "Release",
                f"from {each['reader']}",
            )
            if readers or each["reader"] == person.name
            else ""
        )
        + "</div>"
        for each in found["holds"]
    )
    take = "" if found["holds"] else button("/work/take", {"image": image}, "Take", "this image")
    return f"<h2>Who has it</h2>{rows or '<p>Nobody.</p>'}{take}{_assigning(image, readers)}"


def _assigning(image: str, readers: Sequence[str]) -> str:
    if not readers:
        return ""
    options = "".join(f"<option>{escaped(each)}</option>" for each in readers)
    return (
        '<form class="row" method="post" action="/work/assign">'
        f'<input type="hidden" name="image" value="{escaped(image)}">'
        f'<label>Reader <select name="reader">{options}</select></label>'
        '<label>Hours <input name="hours" type="number" min="1" max="2160" value="168"></label>'
        "<button>Assign</button></form>"
    )


def _as_json(image: str) -> str:
    return f"<code>GET {escaped(address_of(image))}</code>"
