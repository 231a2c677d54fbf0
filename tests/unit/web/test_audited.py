"""What people do at the dashboard stands in the audit trail with their name and address."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from facts import STUDY, instance
from unit.access.people import PASSWORD
from wetread.web.site import Site

from .conftest import As
from .test_login import form_of, log_in


def told(site: Site) -> list[tuple[str, str, str]]:
    """Who asked, the kind and the outcome of each event since the people were made."""
    found = []
    for record in site.ledger.trail.read():
        event, participants = (
            record.content["EventIdentification"],
            record.content["ActiveParticipant"],
        )
        [who] = [each for each in participants if each["UserIsRequestor"] == "true"]
        if who.get("UserName") != "wetread":
            kind = event["EventTypeCode"][0]["originalText"]
            found.append((who["UserID"], kind, event["EventOutcomeIndicator"]))
    return found


def test_who_comes_in_looks_and_acts_is_named(site: Site, browser: TestClient) -> None:
    site.ledger.studies.record_instance(instance(caller="CT1"), sha256="0", size_bytes=1)
    log_in(browser, "ann", "not the password")
    log_in(browser, "ann", PASSWORD)
    page = f"/studies/{STUDY}"
    assert browser.get(page).status_code == 200
    assert browser.get(page, headers={"X-Live": "1"}).status_code == 200
    browser.post("/logout", data=form_of(browser, "/"))
    assert told(site) == [
        ("CT1", "Received", "0"),
        ("ann", "Login", "4"),
        ("ann", "Login", "0"),
        ("ann", "Viewed by a person", "0"),
        ("ann", "Logout", "0"),
    ]
    shown = [each.message for each in site.ledger.trail.read(study=STUDY)][-1]
    assert '"NetworkAccessPointID"' in shown
    assert PASSWORD not in "".join(each.message for each in site.ledger.trail.read())


def test_a_session_and_a_token_are_in_no_event(site: Site, browser: TestClient) -> None:
    log_in(browser, "ann", PASSWORD)
    token = site.tokens.make("ann", "script", None)
    written = "".join(each.message for each in site.ledger.trail.read())
    assert "token 'script' made" in written
    assert token not in written
    assert browser.cookies["wetread"] not in written


def test_an_admin_reads_the_trail_newest_first(site: Site, as_user: As) -> None:
    site.ledger.studies.record_instance(instance(caller="CT1"), sha256="0", size_bytes=1)
    assert as_user("bob").get("/audit").status_code == 403
    eve = as_user("eve")
    eve.get(f"/studies/{STUDY}")
    page = eve.get("/audit").text
    first, *_ = re.findall(r'data-label="What" class="words"><div>([^<]+)<', page)
    assert first == "Viewed by a person"
    again = eve.get(f"/audit?study={STUDY}").text
    assert re.findall(r'data-label="Who"><b>([^<]+)<', again) == ["eve", "CT1"]
    assert "Audit Log Used" in eve.get("/audit").text


def test_a_program_reads_it_on_from_a_number(site: Site, as_user: As) -> None:
    site.ledger.studies.record_instance(instance(caller="CT1"), sha256="0", size_bytes=1)
    eve = as_user("eve")
    all_of_it = eve.get("/api/audit").json()
    assert [each["number"] for each in all_of_it] == list(range(1, len(all_of_it) + 1))
    [made, *_] = all_of_it
    assert (made["what"], made["event"], made["things"]) == (
        "User Security Attributes Changed", "Security Alert", ["ann"],
    )  # fmt: skip
    came = next(each for each in all_of_it if each["study_instance_uid"])
    assert (came["who"], came["outcome"]) == ("CT1", "success")
    assert "EventIdentification" in came["message"]
    later = eve.get(f"/api/audit?after={came['number']}").json()
    assert later[0]["number"] == came["number"] + 1


def test_what_may_be_a_password_in_the_wrong_field_is_not_kept(site: Site, browser) -> None:
    log_in(browser, "my secret secret", PASSWORD)
    log_in(browser, "ann", "wrong wrong wrong")
    trail = "".join(each.message for each in site.ledger.trail.read())
    assert "my secret" not in trail
    assert told(site)[-2:] == [("unknown", "Login", "4"), ("ann", "Login", "4")]
