"""The viewer as a server of this process."""

from __future__ import annotations

from wetread.config import Config
from wetread.httpd import HttpServer
from wetread.viewer.package import open_viewer
from wetread.viewer.site import viewer_site


def viewer_server(config: Config) -> HttpServer:
    """It listens once it is started.

    Raises ConfigError if OHIF is not installed, or for settings that let strangers in.
    """
    files = open_viewer(config.viewer.folder)
    site = viewer_site(config.viewer, config.users, files)
    return HttpServer(site, config.viewer.host, config.viewer.port, name="viewer", lifespan=True)
