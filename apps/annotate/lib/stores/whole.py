"""MONAI Label's index of a folder, of which nobody sees half a change.

Requests and the watcher of the folder change it from several threads, in place and without a lock:
a list that is read meanwhile fails, an image seems not to be there, an entry is lost.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from monailabel.datastore.local import LocalDatastore, LocalDatastoreModel

P = ParamSpec("P")
R = TypeVar("R")
Store = TypeVar("Store", bound="WholeIndex")


def alone(method: Callable[Concatenate[Store, P], R]) -> Callable[Concatenate[Store, P], R]:
    """One after the other, each on a draft of the index, which takes its place at the end."""

    @functools.wraps(method)
    def run(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.draft():
            return method(self, *args, **kwargs)

    return run


class WholeIndex(LocalDatastore):
    """Readers see the index before a change or after it; what fails leaves it as it was."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._changing = threading.RLock()
        self._mine = threading.local()
        self._index: LocalDatastoreModel | None = None
        super().__init__(*args, **kwargs)

    @property
    def _datastore(self) -> LocalDatastoreModel:
        return getattr(self._mine, "draft", None) or self._index

    @_datastore.setter
    def _datastore(self, index: LocalDatastoreModel) -> None:
        if getattr(self._mine, "draft", None) is None:
            self._index = index
        else:
            self._mine.draft = index

    @contextmanager
    def draft(self) -> Iterator[None]:
        """Within it, this thread alone changes the index."""
        with self._changing:
            if getattr(self._mine, "draft", None) is not None:
                yield
                return
            self._mine.draft = _copy_of(self._datastore)
            try:
                yield
                self._index = self._mine.draft
            except BaseException:
                # The file may be ahead of what is in memory: read it again.
                self._config_ts = 0.0
                raise
            finally:
                self._mine.draft = None

    _init_from_datastore_file = alone(LocalDatastore._init_from_datastore_file)
    _reconcile_datastore = alone(LocalDatastore._reconcile_datastore)
    add_image = alone(LocalDatastore.add_image)
    update_image_info = alone(LocalDatastore.update_image_info)
    update_label_info = alone(LocalDatastore.update_label_info)


def _copy_of(index: LocalDatastoreModel) -> LocalDatastoreModel:
    objects = {
        image_id: entry.model_copy(update={"labels": dict(entry.labels)})
        for image_id, entry in index.objects.items()
    }
    return index.model_copy(update={"objects": objects})
