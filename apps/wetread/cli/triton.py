"""`wetread triton …`"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from wetread.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_REPOSITORY,
    ConfigFile,
    Repository,
    load,
)
from wetread.cli.stopping import told_to_stop, until, wait_until
from wetread.errors import ConfigError

triton_app = typer.Typer(help="Install and run a Triton server for the CPU.", no_args_is_help=True)

Port = Annotated[int, typer.Option(min=0, max=65535, help="0 is one that is free.")]
Folder = Annotated[Path, typer.Option(help="The Python environment that the server runs in.")]
DEFAULT_ENVIRONMENT = Path(".venv-triton")


@triton_app.command("install")
def triton_install(environment: Folder = DEFAULT_ENVIRONMENT) -> None:
    """Make the Python environment of the server; if it is there, nothing is done."""
    from wetread import console
    from wetread.triton.environment import install_environment

    with console.progress_bar("Triton") as progress:
        made = install_environment(environment, progress)
    typer.echo(made.folder)


@triton_app.command("serve")
def triton_serve(
    repository: Repository = DEFAULT_REPOSITORY,
    model: Annotated[
        list[str] | None, typer.Option(help="A model of the repository; repeatable; else all.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    grpc_port: Port = 8001,
    http_port: Port = 8000,
    metrics_port: Port = 8002,
    environment: Folder = DEFAULT_ENVIRONMENT,
    log: Annotated[Path, typer.Option(help="The server's log; it is added to.")] = Path(
        "triton.log"
    ),
) -> None:
    """Serve networks from this machine's CPU until SIGINT or SIGTERM; each is checked first."""
    from wetread import console

    with _tritonclient():
        from wetread.triton.parity import check_models
        from wetread.triton.server import TritonServer, served_models

    stopping = told_to_stop()
    with ExitStack() as stack:
        with console.progress_bar("Triton") as progress:
            server = TritonServer(
                repository,
                model or served_models(repository),
                environment,
                log=log,
                host=host,
                grpc_port=grpc_port,
                http_port=http_port,
                metrics_port=metrics_port,
                progress=until(stopping, progress),
            )
            stack.enter_context(server)
            found = check_models(server, until(stopping, progress))
        rows = [(each.name, each.state, *each.figures, each.reason) for each in found]
        console.show_table("models", ["model", "state", "seconds", "difference", "why"], rows)
        typer.echo(f"grpc {server.grpc_url}, http {server.http_url}, {server.metrics_url}")
        wait_until(stopping, server.check)


@triton_app.command("load")
def triton_load(
    model: Annotated[
        list[str] | None, typer.Argument(help="Models of the settings; else all on Triton.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Let the servers of the settings load the newest version of their networks."""
    from wetread import console
    from wetread.config import TritonModel
    from wetread.infer.description import load_networks

    with _tritonclient():
        from wetread.infer.triton import TritonServers

    settings = load(config)
    served = {name: each for name, each in settings.models.items() if isinstance(each, TritonModel)}
    rows: list[tuple[str, ...]] = []
    for name in model or served:
        if name not in served:
            known = ", ".join(served) or "none"
            raise ConfigError(f"no model {name!r} on Triton; known: {known}", hint=f"see {config}")
        with closing(TritonServers(served[name])) as servers:
            for network in load_networks(served[name].bundle):
                found = servers.load(network)
                rows += [(name, network, url, ", ".join(each)) for url, each in found.items()]
    console.show_table("loaded", ["model", "network", "server", "versions"], rows)


@contextmanager
def _tritonclient() -> Iterator[None]:
    """Around the import of what needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", hint="pip install 'wetread[triton]'"
        ) from error
