"""The viewer as a server of this process."""

from __future__ import annotations

from collections.abc import Callable

from wetread.access.browsers import Browsers
from wetread.audit.events import Message
from wetread.config import Config
from wetread.httpd import HttpServer
from wetread.viewer.package import open_viewer
from wetread.viewer.site import viewer_site


def viewer_server(
    config: Config, record: Callable[[Message], None], browsers: Browsers | None = None
) -> HttpServer:
    """It listens once it is started; `record` adds an event to the audit trail.

    `browsers` know who has logged in at the dashboard.

    Raises ConfigError if OHIF is not installed, or for settings that let strangers in.
    """
    files = open_viewer(config.viewer.folder)
    site = viewer_site(config.viewer, config.users, files, record, browsers)
    viewer = config.viewer
    return HttpServer(
        site, viewer.host, viewer.port, name="viewer", lifespan=True, proxies=viewer.proxies
    )
