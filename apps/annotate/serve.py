"""Starts the annotation server: MONAI Label's app behind this project's guard."""

from __future__ import annotations

import argparse
import shutil
import tempfile
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
    ours = read_settings()
    _keep_temporary_files_in(ours.folder / "tmp")
    app = build(ours, settings.MONAI_LABEL_STUDIES)
    log_config = init_log_config(None, settings.MONAI_LABEL_APP_DIR, "app.log", "INFO")
    config = uvicorn.Config(
        app,
        host=chosen.host,
        port=chosen.port,
        log_config=log_config,
        access_log=False,
        server_header=False,
    )
    Path(log_config).unlink()
    uvicorn.Server(config).run()


def _keep_temporary_files_in(folder: Path) -> None:
    """Uploads are images of patients: not for others to read, nor to stay after a crash."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)


if __name__ == "__main__":
    main()
