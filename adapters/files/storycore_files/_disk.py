"""Writes that survive the loss of power, and paths that stay inside the root."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from storycore.errors import Corrupt

__all__ = ["open_inside", "require_inside", "sync_file", "sync_folder", "write_all"]

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``, however the system divides it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_file(fd: int) -> None:
    """Return once the file's content would survive the loss of power."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone leaves the data in the drive's own memory (Apple: fsync(2))
    else:
        os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Return once the names in a folder would survive the loss of power. Windows keeps them by itself."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_inside(path: Path | str) -> int:
    """Open a file for reading; a symbolic link in its place is an error (ELOOP), a pipe does not block."""
    return os.open(path, _FLAGS | _CAREFUL)


def require_inside(folder: Path) -> None:
    """Refuse a folder that is reached through a symbolic link.

    Raises:
        Corrupt: somebody has put a link among the folders, which could lead anywhere.
    """
    if os.path.realpath(folder) != str(folder):
        raise Corrupt(f"A symbolic link stands among the folders of {folder}; remove it, blobs are never behind one.")
