"""The root folder and the operations on it that block; every one runs in a thread of the adapter.

storycore-files.json    which layout this is
blobs/                  one file a blob, named by its key
drafts/                 blobs that are being written
locks/                  one lock for each share of the keys
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from storycore.errors import (
    AlreadyExists,
    Corrupt,
    Effect,
    NotFound,
    NotProvisioned,
    SchemaMismatch,
    Unavailable,
    VersionConflict,
)
from storycore.ports.blobs import BlobCondition, BlobInfo, BlobMatches
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore_files._disk import open_inside, require_inside, sync_folder
from storycore_files._draft import Draft, left_over, remove_left_over
from storycore_files._faults import translating
from storycore_files._locks import exclusive
from storycore_files._names import path_of
from storycore_files._wire import read_info, tail_of

__all__ = ["CHUNK_BYTES", "Folder"]

CHUNK_BYTES: Final = 256 * 1024
"""How much of a content is in memory at once."""

_LAYOUT: Final = {"layout": "storycore-files", "version": 1}
_SHARES: Final = 64
_SETTLED: Final = 10_000
_PARTS: Final = ("blobs", "drafts", "locks")


class Folder:
    """One root folder.

    Args:
        path: the root, which need not exist yet.
        new_id: makes a unique id.
    """

    def __init__(self, path: Path, new_id: Callable[[], str]) -> None:
        self.root = Path(os.path.realpath(path))
        self.blobs = self.root / "blobs"
        self._drafts = self.root / "drafts"
        self._locks = self.root / "locks"
        self._marker = self.root / "storycore-files.json"
        self._new_id = new_id
        self._settled: set[Path] = set()

    def missing(self) -> list[str]:
        """What ``provision`` would do, one sentence each."""
        with translating(f"look at the folder {self.root}"):
            lacking = [path for path in (self.root, *map(self.root.joinpath, _PARTS)) if not path.is_dir()]
            actions = [f"create the folder {path}" for path in lacking]
            if not self._marker.exists():
                actions.append(f"write {self._marker}")
            if self._drafts.is_dir() and (dead := left_over(self._drafts)):
                actions.append(f"remove {len(dead)} unfinished blobs whose writer has died")
            return actions

    def provision(self) -> None:
        """Make what is missing; only its owner may enter a folder that is made."""
        with translating(f"create the folder {self.root}"):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in _PARTS:
                (self.root / name).mkdir(exist_ok=True, mode=0o700)
            if not self._marker.exists():
                self._mark()
            remove_left_over(self._drafts)
            sync_folder(self.root)

    def verify(self) -> None:
        """Raise unless the root is a folder of this layout, and forget blobs whose writer has died."""
        with translating(f"open the folder {self.root}"):
            try:
                found = json.loads(self._marker.read_bytes())
            except ValueError as exc:
                raise Corrupt(f"{self._marker} is damaged; it should hold {json.dumps(_LAYOUT)}.") from exc
            if found != _LAYOUT:
                raise SchemaMismatch(f"{self._marker} names the layout {found}, expected {_LAYOUT}; update storycore.")
            with suppress(OSError):  # sweeping is a service; what cannot be removed does no harm
                remove_left_over(self._drafts)

    def open(self, key: str) -> tuple[int, BlobInfo]:
        """An open file and its info; the caller closes it.

        Raises:
            NotFound: there is no such blob.
        """
        path = self._path(key)
        with translating(f"read the blob {key!r}"):
            require_inside(path.parent)
            try:
                fd = open_inside(path)
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise self._absence(key) from exc
            try:
                return fd, read_info(fd, key)
            except BaseException:
                os.close(fd)
                raise

    def head(self, key: str) -> BlobInfo | None:
        """What is known of a blob."""
        try:
            fd, info = self.open(key)
        except NotFound:
            return None
        os.close(fd)
        return info

    def draft(self, key: str) -> Draft:
        """Begin to write a blob."""
        with translating(f"write the blob {key!r} in {self.root}"):
            return Draft(self._drafts, self._new_id)

    def write(self, draft: Draft, data: bytes) -> None:
        """Append to a draft."""
        with translating(f"write a blob in {self.root}"):
            draft.write(data)

    def publish(self, draft: Draft, info: BlobInfo, when: BlobCondition) -> None:
        """Finish a draft and let it become the blob, if the condition holds.

        Raises:
            AlreadyExists, NotFound, VersionConflict: it does not.
            Unavailable: the draft was abandoned meanwhile.
        """
        path = self._path(info.key)
        with translating(f"write the blob {info.key!r} in {self.root}"):
            draft.finish(tail_of(info))
            with self._locked(info.key):
                require_inside(path.parent)
                self._demand(info.key, path, when)
                if draft.is_abandoned:
                    raise Unavailable(f"Writing the blob {info.key!r} was given up.")
                self._move(draft, path)
        with translating(f"bring the blob {info.key!r} to the disk", effect=Effect.UNKNOWN):
            self._settle(path.parent)

    def copy(self, source: str, draft: Draft) -> BlobInfo:
        """Write the source's content to a draft; returns the source's info.

        Raises:
            Corrupt: the content does not match its hash.
        """
        fd, info = self.open(source)
        with translating(f"copy the blob {source!r}"):
            for chunk in _content(fd, info):
                draft.write(chunk)
                if draft.is_abandoned:
                    raise Unavailable(f"Copying the blob {source!r} was given up.")
        _compare(info, draft.sha256)
        return info

    def check(self, key: str) -> BlobInfo:
        """Read a blob to the end.

        Raises:
            Corrupt: it is damaged.
        """
        fd, info = self.open(key)
        digest = hashlib.sha256()
        with translating(f"read the blob {key!r}"):
            for chunk in _content(fd, info):
                digest.update(chunk)
        _compare(info, digest.hexdigest())
        return info

    def delete(self, key: str) -> bool:
        """Remove a blob and the folders that are empty without it."""
        path = self._path(key)
        with translating(f"delete the blob {key!r}"), self._locked(key):
            require_inside(path.parent)
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return False
            with translating(f"bring the deletion of blob {key!r} to the disk", effect=Effect.UNKNOWN):
                self._sync_nearest(self._pruned(path.parent))
            return True

    def _path(self, key: str) -> Path:
        return self.blobs.joinpath(*path_of(key))

    def _absence(self, key: str) -> NotFound | NotProvisioned:
        if self.blobs.is_dir():
            return NotFound(f"There is no blob {key!r}.")
        return NotProvisioned(f"The folder {self.root} is missing; create it with `storycore init` or ensure().")

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """No other thread or process changes a blob with this key meanwhile."""
        with exclusive(self._locks / f"{zlib.crc32(key.encode()) % _SHARES:02x}"):
            yield

    def _demand(self, key: str, path: Path, when: BlobCondition) -> None:
        if when == ANY:
            return
        if isinstance(when, BlobMatches):
            info = self.head(key)
            if info is None or info.version != when.version:
                current = None if info is None else info.version
                raise VersionConflict(f"Blob {key!r} is not at the demanded version; read it again.", current=current)
        elif when == ABSENT and path.is_file():
            raise AlreadyExists(f"Blob {key!r} exists already; write with another condition to replace it.")
        elif when == PRESENT and not path.is_file():
            raise NotFound(f"There is no blob {key!r} to replace.")

    def _move(self, draft: Draft, path: Path) -> None:
        """Move a draft to its place; whoever deletes may remove the folders at the same time."""
        while True:
            try:
                return draft.move(path)
            except FileNotFoundError:
                if not draft.path.exists():
                    raise  # the draft itself is gone, and with it the root
                self._make(path.parent)

    def _make(self, folder: Path) -> None:
        if not self.blobs.is_dir():
            raise NotProvisioned(f"The folder {self.root} is missing; create it with `storycore init` or ensure().")
        made = self.blobs
        for name in folder.relative_to(self.blobs).parts:
            made /= name
            self._settled.discard(made)
            with suppress(FileExistsError, FileNotFoundError):  # made or removed meanwhile: the caller tries again
                made.mkdir(mode=0o700)

    def _settle(self, folder: Path) -> None:
        """Bring a new name to the disk, and the folders above it unless this object has done so before."""
        self._sync_nearest(folder)
        above = [folder, *folder.parents]
        fresh = [one for one in above[: above.index(self.blobs)] if one not in self._settled]
        for one in fresh:
            with suppress(FileNotFoundError):  # its last blob was deleted meanwhile
                sync_folder(one.parent)
        if len(self._settled) > _SETTLED:
            self._settled.clear()
        self._settled.update(fresh)

    def _pruned(self, folder: Path) -> Path:
        """Remove a folder and those above it as long as they are empty; returns the one that stays."""
        while folder != self.blobs:
            self._settled.discard(folder)
            try:
                folder.rmdir()
            except OSError:  # not empty, or removed by somebody else
                break
            folder = folder.parent
        return folder

    def _sync_nearest(self, folder: Path) -> None:
        """Bring a folder's names to the disk; where others have removed it meanwhile, the removal."""
        while True:
            try:
                return sync_folder(folder)
            except FileNotFoundError:
                if folder == self.blobs:
                    raise
                folder = folder.parent

    def _mark(self) -> None:
        draft = Draft(self._drafts, self._new_id)  # locked, so that nobody who opens meanwhile takes it for left over
        try:
            draft.finish(json.dumps(_LAYOUT).encode() + b"\n")
            draft.move(self._marker)
        finally:
            draft.discard()


def _content(fd: int, info: BlobInfo) -> Iterator[bytes]:
    """The content of an open file in pieces; closes the file."""
    with FileIO(fd, "rb") as file:
        file.seek(0)
        rest = info.size_bytes
        while rest and (chunk := file.read(min(rest, CHUNK_BYTES))):
            yield chunk
            rest -= len(chunk)


def _compare(info: BlobInfo, sha256: str) -> None:
    if sha256 != info.sha256:
        raise Corrupt(f"The content of blob {info.key!r} does not match its sha256; restore it from a backup.")
