"""Removing a folder, however deep it is."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["remove_tree"]


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it; what cannot be removed stays, silently.

    ``shutil.rmtree`` (before Python 3.13) calls itself once per level and gives up at about a thousand, which a blob
    named ``a/a/a/…`` reaches, and so does pytest when it clears its temporary folders. Here every folder that is found
    is first moved to the top, so that no path grows long.
    """
    mark = uuid.uuid4().hex
    known = [folder]
    for place in known:
        for entry in _entries(place):
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    known.append(Path(entry.path).rename(folder / f"{mark}{len(known)}"))
                else:
                    Path(entry.path).unlink()
    for place in reversed(known):
        with suppress(OSError):
            place.rmdir()


def _entries(place: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as found:
            return list(found)
    except OSError:
        return []
