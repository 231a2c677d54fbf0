"""Memory that this process and a Triton server on the same host both see (POSIX shared memory).

A region holds one request's input and then its output, so nothing large goes through gRPC.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Sequence
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from numpy.typing import NDArray

# By its name a region in /dev/shm is known to be of a process of ours.
NAME_PREFIX = "wetread-region-"
_PAGE = 4096
# Regions that wait for the next request; a model has few shapes.
_KEPT = 8


class Region:
    """`size` bytes under the name `name`, for one request at a time.

    Python's resource tracker removes it from /dev/shm even if this process is killed.
    """

    def __init__(self, size: int) -> None:
        self.name = f"{NAME_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        self.size = size
        self._memory = SharedMemory(self.name, create=True, size=size)
        # As shm_open(3) wants it, which is how Triton opens it.
        self.key = f"/{self.name}"

    def write(self, values: NDArray[np.float32], offset: int) -> None:
        """Put values at `offset` bytes."""
        np.ndarray(values.shape, np.float32, self._memory.buf, offset)[...] = values

    def read(self, shape: Sequence[int], offset: int) -> NDArray[np.float32]:
        """A copy of what lies at `offset` bytes."""
        return np.ndarray(tuple(shape), np.float32, self._memory.buf, offset).copy()

    def remove(self) -> None:
        """Give the memory back. A server that has it open keeps it until it is told to let go."""
        self._memory.close()
        self._memory.unlink()


class Regions:
    """Regions that are used again and again: making one costs more than filling it.

    `forget` is told of each that is removed, so that servers let go of it.
    """

    def __init__(self, forget: Callable[[Region], None]) -> None:
        self._forget = forget
        self._free: list[Region] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Region:
        """A region of at least so many bytes. Raises OSError if /dev/shm has no room."""
        with self._lock:
            for place, region in enumerate(self._free):
                if region.size >= size:
                    return self._free.pop(place)
        return Region(size)

    def give_back(self, region: Region) -> None:
        """For a later request."""
        with self._lock:
            self._free.append(region)
            self._free.sort(key=lambda each: each.size)
            surplus = self._free.pop(0) if len(self._free) > _KEPT else None
        if surplus is not None:
            self.remove(surplus)

    def remove(self, region: Region) -> None:
        """Not for a later request: an abandoned one may still be written to by the server."""
        self._forget(region)
        region.remove()

    def close(self) -> None:
        """Remove those that are not in use."""
        with self._lock:
            free, self._free = self._free, []
        for region in free:
            self.remove(region)


def output_offset(input_bytes: int) -> int:
    """Where the output begins, behind an input of so many bytes."""
    return -(-input_bytes // _PAGE) * _PAGE
