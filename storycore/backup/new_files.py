"""New files: each gets its name when it is whole, and never that of another one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["is_full", "publish"]


def publish(draft: Path, path: Path) -> None:
    """Give a file its name, which nobody has, and bring that to the disk too.

    Args:
        draft: the file, in the same folder; it may keep its first name beside the new one.

    Raises:
        FileExistsError: somebody has that name.
        OSError: it cannot be done.
    """
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, for example of a stick
        if path.exists():
            raise FileExistsError(path) from None
        draft.rename(path)
    if os.name != "nt":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_full(error: OSError) -> bool:
    """Whether there was no room: of the disk, a quota, or the largest file that is allowed."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
