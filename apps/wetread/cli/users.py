"""`wetread users`: who may use the dashboard and its API."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, ledger_of, load

if TYPE_CHECKING:
    from wetread.ledger import Ledger

users_app = typer.Typer(help="Who may use the dashboard and its API.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
RoleName = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]


def _opened(config: Path) -> closing[Ledger]:
    """The ledger, which is made if need be: users may come before the first start."""
    return closing(ledger_of(load(config)))


@users_app.command("add")
def users_add(name: Name, role: RoleName = "viewer", config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Make a user; the password is asked for, or the first line of stdin."""
    from wetread import console
    from wetread.access.accounts import Accounts
    from wetread.access.roles import Role

    wanted = console.choice(Role, role)
    with _opened(config) as ledger:
        made = Accounts(ledger.engine, time.time).add(name, wanted, _password())
    typer.echo(f"{made.name}: {made.role}")


@users_app.command("list")
def users_list(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List users, with the labels of their tokens."""
    from wetread import console
    from wetread.access.accounts import Accounts
    from wetread.access.keys import Tokens

    with _opened(config) as ledger:
        users = Accounts(ledger.engine, time.time).list()
        tokens = Tokens(ledger.engine, time.time).list()
    rows = [
        (
            each.name,
            each.role,
            "provider" if each.subject else "password",
            console.clock(each.last_login_at),
            ", ".join(token.label for token in tokens if token.user == each.name),
        )
        for each in users
    ]
    columns = ["user", "role", "comes in by", "last log-in", "tokens"]
    console.show_records("users", columns, rows, as_json=as_json)


@users_app.command("passwd")
def users_passwd(name: Name, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Give a user another password, asked for, or the first line of stdin; sessions end."""
    from wetread.access.accounts import Accounts

    with _opened(config) as ledger:
        accounts = Accounts(ledger.engine, time.time)
        accounts.get(name)
        accounts.set_password(name, _password())
    typer.echo(f"{name}: changed")


@users_app.command("role")
def users_role(
    name: Name,
    role: Annotated[str, typer.Argument(help="viewer, operator or admin.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Give a user another role."""
    from wetread import console
    from wetread.access.accounts import Accounts
    from wetread.access.roles import Role

    wanted = console.choice(Role, role)
    with _opened(config) as ledger:
        Accounts(ledger.engine, time.time).set_role(name, wanted)
    typer.echo(f"{name}: {wanted}")


@users_app.command("remove")
def users_remove(name: Name, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Remove a user with sessions and tokens."""
    from wetread.access.accounts import Accounts

    with _opened(config) as ledger:
        Accounts(ledger.engine, time.time).remove(name)
    typer.echo(f"{name}: removed")


@users_app.command("token")
def users_token(
    name: Name,
    label: Annotated[str, typer.Option(help="What the token is for.")],
    days: Annotated[float, typer.Option(min=0, help="It lasts so long; 0 is for ever.")] = 90.0,
    revoke: Annotated[bool, typer.Option("--revoke", help="End the one of that label.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Make a bearer token for a program, which has the user's role; it is shown now only."""
    from wetread.access.keys import Tokens

    with _opened(config) as ledger:
        tokens = Tokens(ledger.engine, time.time)
        if revoke:
            tokens.revoke(name, label)
            typer.echo(f"{name}: token {label!r} revoked")
        else:
            typer.echo(tokens.make(name, label, days or None))


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")
