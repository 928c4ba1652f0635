"""The BlobStore port on a folder of files."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Final, Literal, TypeVar
from weakref import WeakSet

from storycore.errors import Corrupt, PartialFailure, StorycoreError, Unsupported
from storycore.ports.blobs import BlobCondition, BlobInfo, BlobPage, BlobReader, BlobVersion
from storycore.ports.capabilities import Capabilities, Durability, Guarantees
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore_files._audit import audit
from storycore_files._draft import Draft
from storycore_files._folder import CHUNK_BYTES, Folder
from storycore_files._listing import page_of
from storycore_files._locks import BETWEEN_PROCESSES
from storycore_files._reader import FileReader
from storycore_files._threads import Threads
from storycore_files.config import FilesConfig

__all__ = ["FileBlobStore", "open_blobs"]

T = TypeVar("T")

_CAPABILITIES: Final = Capabilities(
    guarantees=Guarantees(durability=Durability.DISK, read_after_write=True, multi_process=BETWEEN_PROCESSES)
)


def open_blobs(config: FilesConfig, env: Environment) -> FileBlobStore:
    """The blob store of one folder, not yet open."""
    return FileBlobStore(config, env)


class FileBlobStore(Lifecycle):
    """Blobs as files: each is written aside, brought to the disk, and moved to its place in one step."""

    def __init__(self, config: FilesConfig, env: Environment) -> None:
        self._env = env
        self._folder = Folder(config.path, env.new_id)
        self._natives: Sequence[object] = (self._folder.root,)
        self._threads = Threads(config.threads)
        self._readers: WeakSet[FileReader] = WeakSet()

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("files", version("storycore-files"), str(self._folder.root))

    @property
    def capabilities(self) -> Capabilities:
        """Durable, and safe between processes where the system has ``flock``."""
        return _CAPABILITIES

    async def open(self) -> None:
        """Verify the folder and remove what a crash has left unfinished."""
        if not self._opened:
            await self._threads.run(self._folder.verify)
            self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the folder."""
        try:
            actions = await self._threads.run(self._folder.missing)
            if actions and not dry_run:
                await self._threads.run(self._folder.provision)
            return Provision(actions)
        finally:
            if not self._opened:
                await self._threads.close()

    async def health(self, *, deep: bool = False) -> Health:
        """Look at the folder; ``deep`` reads every blob and compares it with its hash."""
        started = time.perf_counter()
        try:
            self._require_open()
            await self._threads.run(self._folder.verify)
            found = await audit(self._folder, self._threads) if deep else Health(ok=True, detail="The folder is there.")
        except StorycoreError as exc:
            found = Health(ok=False, detail=exc.message)
        return replace(found, latency_ms=(time.perf_counter() - started) * 1000)

    async def close(self) -> None:
        """Close all readers and release the threads."""
        self._opened = False
        await self._threads.close()
        for reader in list(self._readers):
            reader.release()

    async def put(
        self,
        key: str,
        data: bytes | AsyncIterable[bytes],
        *,
        when: BlobCondition,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        sha256: str | None = None,
        locked_until: datetime | None = None,
    ) -> BlobInfo:
        """Write a draft, then let it become the blob."""
        draft = await self._draft(key)
        try:
            if not isinstance(data, bytes):
                await self._fill(draft, data)
                data = b""
            describe = partial(self._described, key, draft, content_type, metadata)
            return await self._run(partial(self._finish, draft, data, sha256, describe, when), draft)
        finally:
            draft.discard()

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, revision: str | None = None
    ) -> BlobReader:
        """Open the file; its content stays as it is now."""
        self._require_open()
        fd, info = await self._threads.run(partial(self._folder.open, key), undo=lambda opened: os.close(opened[0]))
        reader = FileReader(fd, info, start=start, length=length, threads=self._threads)
        self._readers.add(reader)
        return reader

    async def head(self, key: str) -> BlobInfo | None:
        """Read the info behind the content."""
        self._require_open()
        return await self._threads.run(partial(self._folder.head, key))

    async def delete(self, keys: Sequence[str]) -> list[bool]:
        """Remove the files one by one."""
        self._require_open()
        return await self._threads.run(partial(_deleted, self._folder, list(keys)))

    async def copy(self, source: str, target: str, *, when: BlobCondition, revision: str | None = None) -> BlobInfo:
        """Write a draft from the source's file, then let it become the target."""
        draft = await self._draft(target)
        try:
            info = await self._run(partial(self._folder.copy, source, draft), draft)
            describe = partial(self._described, target, draft, info.content_type, info.metadata)
            return await self._run(partial(self._finish, draft, b"", None, describe, when), draft)
        finally:
            draft.discard()

    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        """Walk the folders from where the page begins."""
        self._require_open()
        return await self._threads.run(partial(page_of, self._folder, prefix, delimiter, after, limit))

    async def revisions(self, key: str, *, limit: int = 1000) -> list[BlobInfo]:
        """Refuse: a file that is replaced is gone."""
        raise Unsupported("Plain files keep no old revisions; use an object store for them.", feature="blobs.versions")

    async def lock(self, key: str, until: datetime) -> BlobInfo:
        """Refuse: whoever owns a file may remove it."""
        raise Unsupported("Plain files cannot be locked; use an object store for that.", feature="blobs.lock")

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires: timedelta) -> str:
        """Refuse: a folder has no URLs that others could use."""
        raise Unsupported("Plain files have no presigned URLs; use an object store for them.", feature="blobs.presign")

    async def _draft(self, key: str) -> Draft:
        self._require_open()
        return await self._threads.run(partial(self._folder.draft, key), undo=Draft.discard)

    async def _run(self, call: Callable[[], T], draft: Draft) -> T:
        """Work on a draft in a thread; a cancellation abandons the draft before it waits for the thread."""
        self._require_open()
        return await self._threads.run(call, on_cancel=draft.abandon)

    async def _fill(self, draft: Draft, data: AsyncIterable[bytes]) -> None:
        """Gather pieces so that small ones do not cost a thread's turn each."""
        waiting = bytearray()
        async for piece in data:
            for start in range(0, len(piece), CHUNK_BYTES):
                waiting += piece[start : start + CHUNK_BYTES]
                if len(waiting) >= CHUNK_BYTES:
                    await self._run(partial(self._folder.write, draft, bytes(waiting)), draft)
                    waiting.clear()
        await self._run(partial(self._folder.write, draft, bytes(waiting)), draft)

    def _finish(
        self, draft: Draft, rest: bytes, sha256: str | None, describe: Callable[[], BlobInfo], when: BlobCondition
    ) -> BlobInfo:
        self._folder.write(draft, rest)
        info = describe()
        if sha256 is not None and sha256 != info.sha256:
            raise Corrupt(
                f"The content for blob {info.key!r} hashes to {info.sha256}, expected {sha256}; send it again."
            )
        self._folder.publish(draft, info, when)
        return info

    def _described(
        self, key: str, draft: Draft, content_type: str | None, metadata: Mapping[str, str] | None
    ) -> BlobInfo:
        return BlobInfo(
            key=key,
            size_bytes=draft.size_bytes,
            version=BlobVersion(f"{draft.sha256[:16]}-{self._env.new_id()}"),
            sha256=draft.sha256,
            modified_at=self._env.clock.now(),
            content_type=content_type or "application/octet-stream",
            metadata=dict(metadata or {}),
        )


def _deleted(folder: Folder, keys: Sequence[str]) -> list[bool]:
    """Remove blobs one by one; what cannot be removed keeps none of the others.

    Raises:
        PartialFailure: some of several could not be removed; the error of a single one comes as it is.
    """
    outcomes: list[bool | StorycoreError] = []
    for key in keys:
        try:
            outcomes.append(folder.delete(key))
        except StorycoreError as error:
            if len(keys) == 1:
                raise
            outcomes.append(error)
    errors = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, StorycoreError)]
    if errors:
        places = ", ".join(map(str, errors))
        raise PartialFailure(f"The blobs at the positions {places} could not be deleted.", outcomes=outcomes)
    return [outcome is True for outcome in outcomes]
