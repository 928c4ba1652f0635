"""Locks between threads and processes: advisory locks on small files (flock).

Windows has no ``fcntl``. There the locks hold between the threads of one process only, and the adapter says so in its
capabilities.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["BETWEEN_PROCESSES", "exclusive", "try_exclusive"]

BETWEEN_PROCESSES: Final = sys.platform != "win32"

if sys.platform != "win32":
    import fcntl

    @contextmanager
    def exclusive(path: Path) -> Iterator[None]:
        """Hold the lock on a file, which is made where it is missing; wait for whoever has it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def try_exclusive(fd: int) -> bool:
        """Take the lock on an open file until it is closed; ``False`` when somebody has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

else:
    _HELD: Final[dict[Path, threading.Lock]] = {}

    @contextmanager
    def exclusive(path: Path) -> Iterator[None]:
        """Hold the lock of that name in this process."""
        with _HELD.setdefault(path, threading.Lock()):
            yield

    def try_exclusive(fd: int) -> bool:
        """Nothing to take: an open file cannot be removed on Windows."""
        return True
