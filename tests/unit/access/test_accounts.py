"""Users: passwords, roles, the first one and the last admin."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from unit.access.people import PASSWORD, People
from wetread.access.accounts import FIRST_USER, Accounts
from wetread.access.roles import PERMISSIONS, Permission, Role, least_role
from wetread.errors import AccessError
from wetread.ledger import Ledger
from wetread.ledger.tables import users


def test_a_password_is_known_again(people: People) -> None:
    assert people.accounts.log_in("ann", PASSWORD).name == "ann"
    assert people.accounts.log_in("ann", PASSWORD + "!") is None
    assert people.accounts.log_in("nobody", PASSWORD) is None


def test_a_password_is_kept_as_argon2id_and_weaker_ones_are_made_anew_at_the_log_in(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    people.accounts.log_in("ann", PASSWORD)
    people.accounts.set_password("bob", PASSWORD)
    with people.engine.begin() as connection:
        kept = connection.execute(select(users.c.password_hash).order_by(users.c.name)).scalars()
        ann, bob, eve = kept
    strong = "$argon2id$v=19$m=65536,t=3,p=4$"
    assert [each.startswith(strong) for each in (ann, bob, eve)] == [True, True, False]
    assert ann != bob
    assert people.accounts.log_in("ann", PASSWORD)


def test_the_first_start_makes_an_admin_once(ledger: Ledger, clock) -> None:
    accounts = Accounts(ledger.engine, clock)
    password = accounts.first_password()
    first = accounts.log_in(FIRST_USER, password)
    assert (first.role, first.must_change) == (Role.ADMIN, True)
    assert accounts.first_password() is None


def test_where_there_are_users_no_admin_is_made(people: People) -> None:
    assert people.accounts.first_password() is None
    assert [each.name for each in people.accounts.list()] == ["ann", "bob", "eve"]


@pytest.mark.parametrize("password", ["elevenchars", "x" * 257])
def test_a_password_has_12_to_256_characters(people: People, password: str) -> None:
    with pytest.raises(AccessError, match=rf"12 to 256 characters, not {len(password)}"):
        people.accounts.set_password("ann", password)


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "<i>", "a\nb"])
def test_a_name_is_letters_digits_and_little_else(people: People, name: str) -> None:
    with pytest.raises(AccessError, match="no name for a user"):
        people.accounts.add(name, Role.VIEWER, PASSWORD)


def test_a_name_is_taken_once(people: People) -> None:
    with pytest.raises(AccessError, match="there is a user ann already"):
        people.accounts.add("ann", Role.ADMIN, PASSWORD)
    assert people.accounts.get("ann").role is Role.VIEWER


def test_the_last_admin_stays(people: People) -> None:
    for change in (
        lambda: people.accounts.remove("eve"),
        lambda: people.accounts.set_role("eve", Role.OPERATOR),
    ):
        with pytest.raises(AccessError, match="eve is the last admin"):
            change()
    assert people.accounts.get("eve").role is Role.ADMIN
    people.accounts.set_role("bob", Role.ADMIN)
    people.accounts.remove("eve")
    assert [each.name for each in people.accounts.list()] == ["ann", "bob"]


def test_a_new_password_ends_the_sessions_of_that_user_alone(people: People) -> None:
    hers, his = people.sessions.open("ann"), people.sessions.open("bob")
    people.accounts.set_password("ann", "another horse battery")
    assert people.sessions.user_of(hers, used=True) is None
    assert people.sessions.user_of(his, used=True) == "bob"
    assert people.accounts.log_in("ann", PASSWORD) is None


def test_a_user_of_the_provider_gets_each_time_the_role_it_has_there(people: People) -> None:
    people.accounts.vouched("https://login 17", "kim", Role.VIEWER)
    people.accounts.vouched("https://login 17", "kim.new", Role.OPERATOR)
    kim = people.accounts.get("kim")
    assert (kim.role, kim.subject) == (Role.OPERATOR, "https://login 17")
    with pytest.raises(AccessError, match="kim has no password here"):
        people.accounts.set_password("kim", PASSWORD)
    assert people.accounts.log_in("kim", "") is None


def test_the_provider_cannot_make_somebody_a_local_user(people: People) -> None:
    with pytest.raises(AccessError, match="there is another user eve"):
        people.accounts.vouched("https://login 18", "eve", Role.VIEWER)


def test_each_role_may_do_what_those_before_it_may_and_more() -> None:
    viewer, operator, admin = (PERMISSIONS[role] for role in Role)
    assert viewer < operator < admin == frozenset(Permission)
    assert [least_role(each) for each in Permission] == [
        Role.VIEWER, Role.OPERATOR, Role.OPERATOR, Role.OPERATOR, Role.ADMIN, Role.ADMIN,
    ]  # fmt: skip
