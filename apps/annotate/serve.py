"""Starts the annotation server: MONAI Label's app behind this project's guard."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn
from lib.guard.application import build
from lib.settings import read_settings
from monailabel.config import settings
from monailabel.utils.others.generic import init_log_config


def main() -> None:
    """Listen until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="started by `wetread label serve`")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    app = build(read_settings(), settings.MONAI_LABEL_STUDIES)
    log_config = init_log_config(None, settings.MONAI_LABEL_APP_DIR, "app.log", "INFO")
    uvicorn.run(
        app,
        host=chosen.host,
        port=chosen.port,
        log_config=log_config,
        access_log=False,
        server_header=False,
    )
    Path(log_config).unlink()


if __name__ == "__main__":
    main()
