"""The guard's parts, by themselves: what would take a server hours to show."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from fastapi import FastAPI
from lib.errors import AnnotateError
from lib.guard.answers import answer_errors, without_paths
from lib.guard.attempts import Attempts
from lib.guard.checks import of_config
from lib.guard.gate import Doorman, Gate
from lib.guard.logins import Logins
from lib.guard.people import People
from lib.guard.reasons import reason_of
from lib.guard.refusals import BusyError, TooManyError
from lib.guard.table import Route, Table
from lib.guard.turns import Turns
from lib.guard.who import current_user
from lib.settings import Settings, User

from gateway import eventually

A_HASH = "a" * 64


class TestLogins:
    def test_a_login_ends_by_itself(self, clock):
        logins = Logins(seconds=3600.0, clock=clock)
        login = logins.begin("ann")
        clock.advance(3599.0)
        assert logins.name_of(login) == "ann"
        clock.advance(1.0)
        assert logins.name_of(login) is None

    def test_the_oldest_gives_way_to_the_newest(self, clock):
        logins = Logins(most=2, clock=clock)
        first, second, third = (logins.begin(name) for name in ("ann", "bob", "cem"))
        assert [logins.name_of(each) for each in (first, second, third)] == [None, "bob", "cem"]

    def test_a_login_is_not_kept_itself(self):
        """Whoever reads the memory of the server has nothing to log in with."""
        logins = Logins()
        assert logins.begin("ann") not in repr(vars(logins))

    def test_a_user_who_was_removed_is_out(self):
        doorman = Doorman(settings_with(User("ann", ("user",), A_HASH)))
        assert doorman.logged_in(doorman.logins.begin("bob")) is None
        assert doorman.logged_in(doorman.logins.begin("ann")).name == "ann"


class TestAttempts:
    def test_a_refusal_ends(self, clock):
        attempts = Attempts(2, seconds=60.0, clock=clock)
        attempts.failed("ann")
        attempts.check("ann")
        clock.advance(59.0)
        attempts.failed("ann")
        with pytest.raises(TooManyError, match="2") as refusal:
            attempts.check("ann")
        assert refusal.value.headers["Retry-After"] == "1"
        clock.advance(1.0)
        attempts.check("ann")

    def test_success_forgets(self, clock):
        attempts = Attempts(1, clock=clock)
        attempts.failed("ann")
        attempts.forget("ann")
        attempts.check("ann")

    def test_only_so_many_names_are_remembered(self, clock):
        attempts = Attempts(1, most=10, clock=clock)
        for number in range(1000):
            attempts.failed(str(number))
        assert len(attempts._counts) == 10
        attempts.check("0")
        with pytest.raises(TooManyError):
            attempts.check("999")


class TestPeople:
    def test_two_of_one_name_are_a_mistake(self):
        user = User("ann", ("user",), A_HASH)
        with pytest.raises(ValueError, match="one name"):
            People([user, user])

    @pytest.mark.parametrize("roles", [(), ("owner",), ("user", "owner")])
    def test_an_unknown_role_is_a_mistake(self, roles):
        with pytest.raises(ValueError, match="ann"):
            People([User("ann", roles, A_HASH)])

    def test_the_highest_role_counts(self):
        ann = People([User("ann", ("admin", "user"), A_HASH)]).named("ann")
        assert (ann.may("admin"), ann.may("user")) == (True, True)
        bob = People([User("bob", ("reviewer",), A_HASH)]).named("bob")
        assert (bob.may("admin"), bob.may("annotator")) == (False, True)


class TestTurns:
    def test_one_has_its_turn_one_waits_and_the_third_is_sent_away(self):
        turns = Turns(2)
        order: list[str] = []

        def second() -> None:
            with turns.turn():
                order.append("second")

        with turns.turn():
            waiting = threading.Thread(target=second)
            waiting.start()
            assert eventually(lambda: turns._places._value == 0)
            with pytest.raises(BusyError, match="2 inferences"), turns.turn():
                raise AssertionError("the third had a turn")
            order.append("first")
        waiting.join()
        assert order == ["first", "second"]
        with turns.turn():
            pass

    def test_a_turn_that_failed_is_over(self):
        turns = Turns(1)
        with pytest.raises(ZeroDivisionError), turns.turn():
            raise ZeroDivisionError
        with turns.turn():
            pass

    def test_who_waits_too_long_is_told(self):
        turns = Turns(2, seconds=0.01)
        with turns.turn(), pytest.raises(BusyError, match="longer than"), turns.turn():
            raise AssertionError("two had a turn")
        with turns.turn():
            pass


class TestConfig:
    @pytest.mark.parametrize(
        ("default", "fine", "wrong"),
        [
            (True, False, 1),
            (10, 3, True),
            (10, 3, 2.5),
            (0.5, 1, "1"),
            (0.5, 0.25, float("nan")),
            ("dice", "mean dice", "../x"),
            (["a", "b"], "b", "c"),
            ([1, 2], 2, "2"),
            (None, None, {"a": 1}),
        ],
    )
    def test_a_value_is_like_its_default(self, default, fine, wrong):
        check = of_config({"key": default})["key"]
        assert check(fine)
        assert not check(wrong)

    @pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:3", "NVIDIA X: 1"])
    def test_a_device_is_one_of_those_or_a_number(self, device):
        check = of_config({"device": ["NVIDIA X: 1"]})["device"]
        assert check(device)
        assert not check(f"{device}; x")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no file /srv/data/ann/label.nii.gz here", "no file …/label.nii.gz here"),
        ("'/a/b/c': 1", "'…/c': 1"),
        ("http://127.0.0.1/a/b is no path, nor 1/2 or a/b", None),
        ("in /a/b/", "in …/"),
    ],
)
def test_folders_are_left_out_of_what_is_said(said, shown):
    assert without_paths(said) == (shown or said)


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        (
            ["Traceback", "lib.errors.TrainingError: 0 images (hint: draw)"],
            1,
            "0 images (hint: draw)",
        ),
        (["KeyError: 'x'", "During handling", "OSError: no /a/b/c.pt", "bye"], 1, "no …/c.pt"),
        (["KeyboardInterrupt"], 1, "KeyboardInterrupt"),
        (
            ["epoch 3 of 9"],
            -9,
            "SIGKILL: was there too little memory?; its last line: epoch 3 of 9",
        ),
        (["ValueError: from before"], -15, "SIGTERM; its last line: ValueError: from before"),
        (["usage: x"], 2, "it ended with 2; its last line: usage: x"),
        ([], 1, "it ended with 1; its last line: nothing"),
    ],
)
def test_the_reason_of_a_failure_is_its_last_error_or_the_signal(lines, code, reason):
    assert reason_of(lines, code).removeprefix("it was ended by ") == reason


def settings_with(*users: User) -> Settings:
    return Settings(folder=None, bundles=None, host="127.0.0.1", port=0, users=users)


class TestTheGate:
    """In front of an application of its own."""

    @pytest.fixture
    def client(self):
        seen: list[str] = []
        both = threading.Barrier(2)

        def in_a_thread() -> dict[str, str]:
            before = current_user()
            both.wait(timeout=5)
            return {"before": before, "after": current_user()}

        async def in_the_loop() -> dict[str, str]:
            before = current_user()
            await asyncio.sleep(0.05)
            return {"before": before, "after": current_user()}

        def broken() -> None:
            raise RuntimeError("in /srv/secret/place")

        def wrong() -> None:
            raise AnnotateError("this is wrong", hint="do that")

        table = Table(
            [
                Route("GET", "/thread", "user", in_a_thread),
                Route("GET", "/loop", "user", in_the_loop),
                Route("GET", "/broken", "user", broken),
                Route("GET", "/wrong", "user", wrong),
            ]
        )
        users = [User(name, ("user",), hash_of(name)) for name in ("ann", "bob")]
        settings = settings_with(*users)
        app = FastAPI(openapi_url=None)
        for route in table.routes:
            app.add_api_route(route.path, route.endpoint)
        app.add_api_route("/forgotten", lambda: seen.append("reached"))
        answer_errors(app, {})
        app.add_middleware(Gate, settings=settings, table=table, doorman=Doorman(settings))
        transport = httpx.ASGITransport(app=app)
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        client.seen = seen
        return client

    @pytest.mark.parametrize("path", ["/thread", "/loop"])
    def test_two_at_once_are_each_who_they_are(self, client, path):
        """In the thread that answers, and after others had their turn in the loop."""

        async def ask(name: str) -> dict[str, str]:
            headers = {"Authorization": f"Bearer {name}"}
            return (await client.get(path, headers=headers)).json()

        async def both() -> list[dict[str, str]]:
            return list(await asyncio.gather(ask("ann"), ask("bob")))

        assert asyncio.run(both()) == [{"before": n, "after": n} for n in ("ann", "bob")]
        assert current_user() == "local"

    def test_a_route_that_is_not_in_the_table_is_not_reached(self, client):
        answer = asyncio.run(client.get("/forgotten", headers={"Authorization": "Bearer ann"}))
        assert answer.status_code == 404
        assert client.seen == []

    def test_an_error_says_no_more_than_it_should(self, client):
        headers = {"Authorization": "Bearer ann"}
        broken = asyncio.run(client.get("/broken", headers=headers))
        assert broken.status_code == 500
        assert "secret" not in broken.text
        wrong = asyncio.run(client.get("/wrong", headers=headers))
        assert wrong.json() == {"error": "this is wrong", "hint": "do that"}


def hash_of(token: str) -> str:
    import hashlib

    return hashlib.sha256(token.encode()).hexdigest()
