"""Which files lie below a root. Blocks; call it in a thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from storycore.ingestion.config import IngestionConfig
from storycore.ingestion.reports import Failure, Skipped

__all__ = ["Listing", "SourceFile", "left_out", "list_files", "reason_to_skip"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A regular file.

    Args:
        uri: its path below the root, with ``/``.
        path: where it is.
    """

    uri: str
    path: Path


@dataclass(slots=True)
class Listing:
    """What was found.

    Args:
        files: by uri, ascending.
        skipped: what is there but is no document.
        failed: folders that could not be read.
    """

    files: list[SourceFile] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every folder could be read, so that what is not listed is not there."""
        return not self.failed


def list_files(root: Path, config: IngestionConfig) -> Listing:
    """Walk through ``root``; never enters the same folder from within itself."""
    listing = Listing()
    for entry, uri in _walk(root, "", (), config, listing):
        if entry.is_file(follow_symlinks=config.follow_symlinks):
            listing.files.append(SourceFile(uri, Path(entry.path)))
        elif entry.is_symlink():
            broken = not Path(entry.path).exists()
            listing.skipped.append(Skipped(uri, "symbolic link to nothing" if broken else "symbolic link"))
        else:
            listing.skipped.append(Skipped(uri, "not a regular file"))
    listing.files.sort(key=lambda file: file.uri)
    return listing


_Place = tuple[int, int]


def _walk(
    folder: Path, prefix: str, above: tuple[_Place, ...], config: IngestionConfig, listing: Listing
) -> Iterator[tuple[os.DirEntry[str], str]]:
    try:
        here = folder.stat()
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as exc:
        listing.failed.append(Failure(prefix or ".", "list", f"the folder cannot be read: {exc.strerror or exc}"))
        return
    place = (here.st_dev, here.st_ino)
    if place in above:
        listing.skipped.append(Skipped(prefix.rstrip("/"), "symbolic link to a folder above it"))
        return
    for entry in entries:
        uri = prefix + entry.name
        if not _is_text(uri):
            listing.failed.append(Failure(ascii(uri), "list", "the name is not valid Unicode; rename it"))
        elif not left_out(uri, config):
            if entry.is_dir(follow_symlinks=config.follow_symlinks):
                yield from _walk(Path(entry.path), uri + "/", (*above, place), config, listing)
            else:
                yield entry, uri


def left_out(uri: str, config: IngestionConfig) -> bool:
    """Whether the settings leave out a file or folder: it is hidden, or a pattern matches it or a folder above it."""
    names = uri.split("/")
    if not config.include_hidden and any(name.startswith(".") for name in names):
        return True
    paths = ["/".join(names[: depth + 1]) for depth in range(len(names))]
    return any(fnmatchcase(path, pattern) for path in paths for pattern in config.exclude)


def reason_to_skip(file: SourceFile, config: IngestionConfig) -> str:
    """Why a walk would pass over a file, ``""`` when it would not."""
    if left_out(file.uri, config):
        return "left out by the settings"
    return "symbolic link" if file.path.is_symlink() and not config.follow_symlinks else ""


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
