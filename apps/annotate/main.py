"""The annotation server: every bundle as a task of MONAI Label, over a folder or an archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.bundles import find_bundles
from lib.infers.bundle import BundleInfer
from lib.settings import read_settings
from monailabel.interfaces.app import MONAILabelApp


class AnnotateApp(MONAILabelApp):
    """See the README beside this file."""

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.settings = read_settings()
        self.bundles = find_bundles(self.settings.bundles)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf),
            name="wetread",
            description="The bundles that the gateway runs, to correct and to train",
            version="1",
        )

    def init_infers(self) -> dict[str, Any]:
        """One task a bundle that has weights."""
        here = {name: each for name, each in self.bundles.items() if each.weights.is_file()}
        return {name: BundleInfer(each) for name, each in here.items()}
