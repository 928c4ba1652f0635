"""A blob that is being written: a file in the folder of drafts, locked while its writer lives."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from storycore_files._disk import sync_file, write_all
from storycore_files._locks import try_exclusive

__all__ = ["Draft", "left_over", "remove_left_over"]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Draft:
    """Takes content piece by piece, and counts and hashes it.

    Args:
        folder: where drafts are; in the same file system as the blobs.
        new_id: names the file.
    """

    def __init__(self, folder: Path, new_id: Callable[[], str]) -> None:
        self.path, self._fd = _opened(folder, new_id)
        self.size_bytes = 0
        self.is_abandoned = False
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written so far, lower-case hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append to the content."""
        write_all(self._fd, data)
        self._hash.update(data)
        self.size_bytes += len(data)

    def finish(self, tail: bytes) -> None:
        """Append what stands behind the content and bring all of it to the disk."""
        write_all(self._fd, tail)
        sync_file(self._fd)

    def move(self, target: Path) -> None:
        """Become the file ``target`` in one step; raises ``FileNotFoundError`` where its folder is missing."""
        if os.name == "nt":  # pragma: no cover - Windows cannot move an open file
            self._close()
        self.path.replace(target)
        self._close()

    def abandon(self) -> None:
        """Tell whoever writes in another thread to stop."""
        self.is_abandoned = True

    def discard(self) -> None:
        """Remove the file, unless it was moved; a second call does nothing."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # the caller's own error says more, and the next open() sweeps
                self.path.unlink()
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _opened(folder: Path, new_id: Callable[[], str]) -> tuple[Path, int]:
    """A new locked file; another process may take it for left over between its making and its locking."""
    while True:
        path = folder / new_id()
        try:
            fd = os.open(path, _FLAGS, 0o600)
        except FileExistsError:
            continue
        if try_exclusive(fd) and os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)


def left_over(folder: Path) -> list[Path]:
    """The drafts whose writer has died."""
    return [path for path in sorted(folder.iterdir()) if _if_dead(path, lambda: None)]


def remove_left_over(folder: Path) -> int:
    """Remove the drafts whose writer has died; returns how many."""
    return sum(_if_dead(path, path.unlink) for path in sorted(folder.iterdir()))


def _if_dead(path: Path, act: Callable[[], None]) -> bool:
    """Do ``act`` if nobody writes the draft; the lock is held meanwhile, so that nobody begins to."""
    try:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # gone, not ours, or not to be written by this user
        return False
    try:
        if not try_exclusive(fd) or not os.fstat(fd).st_nlink:
            return False
        act()
        return True
    except (FileNotFoundError, PermissionError):  # moved since it was opened; read-only; Windows keeps what is open
        return False
    finally:
        os.close(fd)
