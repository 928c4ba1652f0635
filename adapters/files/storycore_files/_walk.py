"""The keys below a folder in the order of their bytes, read folder by folder as they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storycore_files._names import FOLDER, PART, decoded

__all__ = ["Place", "Walk"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A file, or a folder whose keys all begin with ``key``."""

    key: bytes
    path: str
    is_folder: bool


class Walk:
    """The files of blobs, ascending by key.

    Args:
        root: the folder of all blobs.
        prefix: only keys that begin with it.
        after: only keys behind it.

    Set ``skip`` while iterating to pass over all keys that begin with it.
    """

    def __init__(self, root: Path, *, prefix: bytes = b"", after: bytes | None = None) -> None:
        self._stack = [Place(b"", str(root), True)]
        self._prefix = prefix
        self._after = after
        self.skip: bytes | None = None

    def __iter__(self) -> Iterator[Place]:
        while self._stack:
            place = self._stack.pop()
            if self._is_passed(place):
                continue
            if place.is_folder:
                self._stack += sorted(_inside(place), reverse=True)
            else:
                yield place

    def _is_passed(self, place: Place) -> bool:
        key, prefix, after = place.key, self._prefix, self._after
        if self.skip is not None and key.startswith(self.skip):
            return True
        if not key.startswith(prefix) and not (place.is_folder and prefix.startswith(key)):
            return True
        return after is not None and key <= after and not (place.is_folder and after.startswith(key))


def _inside(folder: Place) -> list[Place]:
    """What is directly in a folder; whatever is no blob's (a link, a foreign name) is passed over."""
    try:
        with os.scandir(folder.path) as entries:
            return [place for entry in entries if (place := _place(folder, entry)) is not None]
    except FileNotFoundError:  # removed since its parent was read
        return []


def _place(folder: Place, entry: os.DirEntry[str]) -> Place | None:
    part = decoded(entry.name, folder.key)
    is_folder = entry.name.endswith((FOLDER, PART))
    if part is None or not (entry.is_dir if is_folder else entry.is_file)(follow_symlinks=False):
        return None
    return Place(folder.key + part, entry.path, is_folder)
