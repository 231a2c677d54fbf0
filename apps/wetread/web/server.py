"""The dashboard as a server of this process, beside the gateway."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from wetread.access.accounts import FIRST_USER
from wetread.access.browsers import Browsers
from wetread.access.keys import Tokens
from wetread.access.limits import Limits
from wetread.access.oidc import Provider
from wetread.config import Config
from wetread.httpd import HttpServer, Tls
from wetread.ledger import Ledger, ledger_url
from wetread.web.app import web_app
from wetread.web.site import Site

STOP_SECONDS = 20.0


class Dashboard:
    """Listens once it is started. Use it as a context manager."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        """Open the ledger. Raises ConfigError or LedgerError."""
        web = config.web
        self.ledger = Ledger(ledger_url(config), clock)
        engine = self.ledger.engine
        self.site = Site(
            config=config,
            ledger=self.ledger,
            browsers=Browsers.of(web, engine, clock),
            tokens=Tokens(engine, clock),
            limits=Limits(),
            provider=Provider(web.oidc) if web.oidc else None,
            clock=clock,
        )
        tls = None
        if web.certificate_file is not None and web.key_file is not None:
            tls = Tls(web.certificate_file, web.key_file)
        self.address = self.site.browsers.dashboard
        self._server = HttpServer(
            web_app(self.site), web.host, web.port, name="web", tls=tls, proxies=web.proxies
        )

    def start(self) -> None:
        """Listen; at the first start of all, say the first password. Raises ConfigError."""
        self._server.start()
        password = self.site.accounts.first_password()
        if password is not None:
            # To a person, and past the log: nobody can say it once more.
            sys.stderr.write(
                f"\nThe dashboard is at {self.address}/\n"
                f"Log in as {FIRST_USER!r} with the password {password}\n"
                "It is not shown again, and must be changed there.\n\n"
            )

    def stop(self) -> None:
        """End the streams of open pages, answer what is under way, close the ledger."""
        self.site.stopping.set()
        self._server.stop(STOP_SECONDS)
        self.ledger.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
