"""Small pieces of the page /work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.guard.page import escaped


def button(action: str, fields: Mapping[str, str], text: str, said: str = "") -> str:
    """A form of one button; `said` tells somebody who hears the page what it is about."""
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escaped(value)}">'
        for name, value in fields.items()
    )
    told = f' aria-label="{escaped(f"{text}: {said}")}"' if said else ""
    return f'<form method="post" action="{action}">{hidden}<button{told}>{text}</button></form>'


def state_of(image: Mapping[str, Any]) -> str:
    """The state of the label that counts, and whose it is."""
    state = escaped(image["state"])
    if state == "nothing":
        return '<span class="state">no label</span>'
    kind = "consensus by " if image["is_consensus"] else ""
    who = f' <span class="muted">{kind}{escaped(image["annotator"])}</span>'
    others = [
        each for each in image["returned_to"] if (state, each) != ("returned", image["annotator"])
    ]
    told = ", ".join(map(escaped, others))
    returned = f'<div class="wrong">returned to {told}</div>' if told else ""
    return f'<span class="state {state}">{state}</span>{who}{returned}'


def held(hold: Mapping[str, Any]) -> str:
    """Who has an image, how he came to it, and until when."""
    by = f" by {escaped(hold['given_by'])}" if hold["how"] == "assigned" else ""
    return (
        f"{escaped(hold['reader'])} <span class=muted>({escaped(hold['how'])}{by}, "
        f"until {moment(hold['until'])})</span>"
    )


def moment(iso: str) -> str:
    """To the minute, as people read it."""
    zone = " UTC" if iso.endswith("+00:00") else ""
    return f'<time datetime="{escaped(iso)}">{escaped(iso[:16].replace("T", " "))}{zone}</time>'


def number(value: float | None, digits: int = 2) -> str:
    """Or a dash, where it is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"
