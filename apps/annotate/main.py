"""The annotation server: every bundle as a task of MONAI Label, over a folder or an archive."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from dicomweb_client import DICOMwebClient
from lib.bundles import Bundle, find_bundles
from lib.errors import ArchiveError
from lib.files import serial_number
from lib.guard.credentials import archive_session
from lib.infers.bundle import BundleInfer
from lib.infers.classes import ClassInfer
from lib.infers.scribbles import scribble_tasks
from lib.infers.served import ServedInfer
from lib.people.team import open_team
from lib.settings import read_settings
from lib.stores.archive import ArchiveStore
from lib.stores.local import LocalStore
from lib.strategies.choose import strategies
from lib.trainers.bundle import BundleTrain
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore

log = logging.getLogger(__name__)


class AnnotateApp(MONAILabelApp):
    """See the README beside this file."""

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.settings = read_settings()
        self.bundles = find_bundles(self.settings.bundles)
        has_users = bool(self.settings.users)
        self.team = open_team(self.settings.folder, studies, has_users=has_users)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf),
            name="wetread",
            description="The bundles that the gateway runs, to correct and to train",
            version="1",
        )

    def init_datastore(self) -> Datastore:
        """A folder, or an archive where `studies` is a URL."""
        if not self.studies.startswith(("http://", "https://")):
            return LocalStore(self.studies, self.bundles, self.team)
        client = DICOMwebClient(self.studies.rstrip("/"), session=archive_session(self.settings))
        # A reader waits: what fails is said at once, and what was drawn is kept by the outbox.
        client.set_http_retry_params(retry=False)
        return ArchiveStore(
            client,
            self.settings.folder / "cache" / sha256(self.studies.encode()).hexdigest()[:16],
            self.bundles,
            self.settings.modalities,
            serial_number(self.settings.folder),
            self.team,
        )

    def on_init_complete(self) -> None:
        """Finish what a crash or an outage left; the server starts without an archive too."""
        store = self.datastore()
        if isinstance(store, LocalStore):
            store.settle_all()
        elif isinstance(store, ArchiveStore):
            try:
                store.send_waiting()
            except ArchiveError as error:
                log.warning("labels still wait: %s", error)
        super().on_init_complete()

    def init_infers(self) -> dict[str, Any]:
        """One task a bundle that has weights here or is served by Triton, and the scribbles."""
        found = {name: self._task(each) for name, each in self.bundles.items()}
        return {name: task for name, task in found.items() if task} | scribble_tasks()

    def _task(self, bundle: Bundle) -> Any:
        if bundle.weights.is_file():
            return BundleInfer(bundle) if bundle.segments else ClassInfer(bundle)
        url = self.settings.triton_url
        return ServedInfer(bundle, url) if url else None

    def init_trainers(self) -> dict[str, Any]:
        """One task a bundle that learns from labelmaps."""
        here = {name: each for name, each in self.bundles.items() if each.can_train}
        folder = self.settings.folder / "training"
        return {name: BundleTrain(each, folder) for name, each in here.items()}

    def init_strategies(self) -> dict[str, Any]:
        """Every way to choose the next image."""
        return dict(strategies(self._infers, self.team.holds))
