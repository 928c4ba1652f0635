"""Workspaces: temporary folders that go with the work, or, where that was killed, with the next one's beginning.

A folder is locked while somebody works in it, so that nobody else takes it for left over, however old it is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from storycore.errors import StorageFull

__all__ = ["Purpose", "workspace"]

Purpose: TypeAlias = Literal["backup", "restore", "verify"]
_NO_LOCK: Final = -1
_NAMES: Final = ("storycore-backup-*", "storycore-restore-*", "storycore-verify-*")


@asynccontextmanager
async def workspace(purpose: Purpose) -> AsyncIterator[Path]:
    """A new folder ``storycore-<purpose>-…`` below ``TMPDIR``, which only its owner can enter; it goes at the end.

    Those of this user whose process is gone are removed first. Windows has no such locks, and there they stay.

    Raises:
        StorageFull: no folder can be made there.
    """
    folder, lock = await asyncio.to_thread(_made, purpose)
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(_remove, folder, lock))


def _made(purpose: Purpose) -> tuple[Path, int]:
    """A folder and the lock on it; between the two somebody may have taken it for left over."""
    root = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())  # which goes elsewhere where TMPDIR is full
    for left in _left_over(root):
        shutil.rmtree(left, ignore_errors=True)
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"storycore-{purpose}-", dir=root))
        except OSError as exc:
            raise StorageFull(
                f"No temporary folder can be made in {root} ({exc.strerror}); set TMPDIR to another one."
            ) from exc
        with suppress(BlockingIOError, FileNotFoundError):
            return folder, _locked(folder)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _unlock(lock)


if sys.platform != "win32":
    import fcntl

    def _lock(folder: Path) -> int:
        """The lock on a folder, until it is closed.

        Raises:
            BlockingIOError: somebody has it.
            FileNotFoundError: the folder is gone.
            OSError: it cannot be had, for example because the file system has no locks.
        """
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder.stat()
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _locked(folder: Path) -> int:
        """The same; where there are no locks nobody can take the folder for left over either."""
        try:
            return _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            raise
        except OSError:
            return _NO_LOCK

    def _unlock(lock: int) -> None:
        if lock != _NO_LOCK:
            os.close(lock)

    def _left_over(root: Path) -> Iterator[Path]:
        """Folders of this user in which nobody works any more; each is locked until the next is asked for."""
        for folder in (found for name in _NAMES for found in root.glob(name)):
            try:
                lock = _lock(folder)
            except OSError:
                continue
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    yield folder
            finally:
                os.close(lock)

else:

    def _locked(folder: Path) -> int:
        """Nothing to take."""
        return _NO_LOCK

    def _unlock(lock: int) -> None:
        """Nothing was taken."""

    def _left_over(root: Path) -> Iterator[Path]:
        """Nobody can tell."""
        yield from ()
