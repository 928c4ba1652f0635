"""A page of blobs, folded at a delimiter."""

from __future__ import annotations

import os

from storycore.errors import NotProvisioned
from storycore.ports.blobs import BlobInfo, BlobPage
from storycore_files._disk import open_inside
from storycore_files._faults import translating
from storycore_files._folder import Folder
from storycore_files._walk import Place, Walk
from storycore_files._wire import read_info

__all__ = ["page_of"]


def page_of(folder: Folder, prefix: str, delimiter: str | None, after: str | None, limit: int) -> BlobPage:
    """Blobs and common prefixes behind ``after``, ``limit`` of them together."""
    with translating(f"list the blobs in {folder.root}"):
        if not folder.blobs.is_dir():
            raise NotProvisioned(f"The folder {folder.root} is missing; create it with `storycore init` or ensure().")
        blobs: list[BlobInfo] = []
        prefixes: list[str] = []
        last = ""
        walk = Walk(folder.blobs, prefix=prefix.encode(), after=None if after is None else after.encode())
        for place in walk:
            key = place.key.decode()
            folded = _folded(key, prefix, delimiter)
            if len(blobs) + len(prefixes) == limit:
                return BlobPage(blobs, prefixes, last)
            if folded is None:
                info = _info(place, key)
                blobs += [info] if info is not None else []
                last = key
                continue
            walk.skip = folded.encode()
            if after is None or folded > after:
                prefixes.append(folded)
                last = folded
        return BlobPage(blobs, prefixes)


def _folded(key: str, prefix: str, delimiter: str | None) -> str | None:
    """The part of a key that stands for all keys with it, or ``None`` for a key on its own."""
    if delimiter is None or (at := key.find(delimiter, len(prefix))) < 0:
        return None
    return key[: at + len(delimiter)]


def _info(place: Place, key: str) -> BlobInfo | None:
    try:
        fd = open_inside(place.path)
    except FileNotFoundError:  # deleted since its folder was read
        return None
    try:
        return read_info(fd, key)
    finally:
        os.close(fd)
