"""Which files lie below a root. Blocks; call it in a thread."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from storycore.ingestion.config import IngestionConfig
from storycore.ingestion.reports import Failure, Skipped

__all__ = ["Listing", "SourceFile", "list_files", "reason_to_skip"]

_COMPANIONS = ("", "-wal", "-shm", "-journal")


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


def list_files(root: Path, config: IngestionConfig, own: Iterable[Path] = ()) -> Listing:
    """Walk through ``root``; never enters the same folder from within itself.

    Args:
        own: files and folders that are passed over in silence, with the companions that SQLite gives its files.
    """
    listing = Listing()
    passed = {f"{path.resolve()}{companion}" for path in own for companion in _COMPANIONS}
    for entry, uri in _walk(root, config, listing, passed):
        if _is_file(entry, config):
            listing.files.append(SourceFile(uri, Path(entry.path)))
        elif entry.is_symlink():
            broken = not Path(entry.path).exists()
            listing.skipped.append(Skipped(uri, "symbolic link to nothing" if broken else "symbolic link"))
        else:
            listing.skipped.append(Skipped(uri, "not a regular file"))
    listing.files.sort(key=lambda file: file.uri)
    return listing


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder that is still to be read; ``above`` names it and the folders that led to it by device and number."""

    path: Path
    prefix: str
    above: frozenset[tuple[int, int]] = frozenset()


def _walk(
    root: Path, config: IngestionConfig, listing: Listing, passed: Container[str]
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """What is no folder, at any depth; without recursion, since folders nest deeper than calls may."""
    waiting = [_Folder(root, "")]
    while waiting:
        folder = waiting.pop()
        entries, above = _opened(folder, listing)
        for entry in entries:
            uri = folder.prefix + entry.name
            if not _is_text(uri):
                listing.failed.append(Failure(ascii(uri), "list", "the name is not valid Unicode; rename it"))
            elif entry.path not in passed and not _is_left_out(uri, config):
                if _is_folder(entry, config):
                    waiting.append(_Folder(Path(entry.path), f"{uri}/", above))
                else:
                    yield entry, uri


def _opened(folder: _Folder, listing: Listing) -> tuple[list[os.DirEntry[str]], frozenset[tuple[int, int]]]:
    """What is in a folder; nothing where it cannot be read or is within itself, which the listing then tells."""
    try:
        here = folder.path.stat()
        with os.scandir(folder.path) as found:
            entries = list(found)
    except OSError as exc:
        reason = f"the folder cannot be read: {exc.strerror or exc}"
        listing.failed.append(Failure(folder.prefix or ".", "list", reason))
        return [], folder.above
    place = (here.st_dev, here.st_ino)
    if place in folder.above:
        listing.skipped.append(Skipped(folder.prefix.rstrip("/"), "symbolic link to a folder above it"))
        return [], folder.above
    return entries, folder.above | {place}


def _is_folder(entry: os.DirEntry[str], config: IngestionConfig) -> bool:
    try:
        return entry.is_dir(follow_symlinks=config.follow_symlinks)
    except OSError:  # a link that leads to itself, or what may not be looked at
        return False


def _is_file(entry: os.DirEntry[str], config: IngestionConfig) -> bool:
    try:
        return entry.is_file(follow_symlinks=config.follow_symlinks)
    except OSError:
        return False


def left_out(uri: str, config: IngestionConfig) -> bool:
    """Whether the settings leave out a file or folder: it is hidden, or a pattern matches it or a folder above it."""
    names = uri.split("/")
    return any(_is_left_out("/".join(names[: depth + 1]), config) for depth in range(len(names)))


def _is_left_out(uri: str, config: IngestionConfig) -> bool:
    """The same, where nothing above it is left out."""
    hidden = uri.rpartition("/")[2].startswith(".") and not config.include_hidden
    return hidden or any(fnmatchcase(uri, pattern) for pattern in config.exclude)


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
