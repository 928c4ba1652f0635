"""The reference BlobStore: a dict of byte strings."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Self

from storycore.errors import (
    AccessDenied,
    AlreadyExists,
    Corrupt,
    NotFound,
    PartialFailure,
    StorycoreError,
    Unavailable,
    Unsupported,
    VersionConflict,
)
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobCondition, BlobInfo, BlobMatches, BlobPage, BlobReader, BlobVersion
from storycore.ports.capabilities import Capabilities, Support
from storycore.ports.conditions import ABSENT, PRESENT
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle

__all__ = ["MemoryBlobStore", "open_blobs"]

_CHUNK_BYTES = 64 * 1024


def open_blobs(config: MemoryBlobConfig, env: Environment) -> MemoryBlobStore:
    """The blob store in memory, not yet open."""
    return MemoryBlobStore(env, config)


@dataclass(frozen=True, slots=True)
class _Blob:
    info: BlobInfo
    content: bytes


class MemoryBlobStore(Lifecycle):
    """Blobs in a dict, kept until the object is dropped."""

    def __init__(self, env: Environment, config: MemoryBlobConfig | None = None) -> None:
        self._env = env
        self._config = config or MemoryBlobConfig()
        self._blobs: dict[str, _Blob] = {}
        self._history: dict[str, list[_Blob]] = {}
        self._writes = 0

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("memory")

    @property
    def capabilities(self) -> Capabilities:
        """Versions and locks where they are asked for, no presigned URLs; nothing outlives the process."""
        claimed = {"blobs.versions": self._config.versions, "blobs.lock": self._config.lock}
        return Capabilities(features={name: Support.NATIVE for name, is_claimed in claimed.items() if is_claimed})

    async def health(self, *, deep: bool = False) -> Health:
        """Count what is held."""
        if not self._opened:
            return Health(ok=False, detail="The blob store is not open; call open().")
        size = sum(blob.info.size_bytes for blob in self._blobs.values())
        return Health(ok=True, detail="Blobs in memory.", facts={"blobs": len(self._blobs), "bytes": size})

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
        """Collect the content, then check the condition and store in one step."""
        self._require_open()
        content = data if isinstance(data, bytes) else b"".join([chunk async for chunk in data])
        self._require_open()
        digest = hashlib.sha256(content).hexdigest()
        if sha256 is not None and sha256 != digest:
            raise Corrupt(f"The content for blob {key!r} hashes to {digest}, expected {sha256}; send it again.")
        self._require(key, when)
        info = BlobInfo(
            key=key,
            size_bytes=len(content),
            version=self._next_version(),
            sha256=digest,
            modified_at=self._env.clock.now(),
            content_type=content_type or "application/octet-stream",
            metadata=dict(metadata or {}),
            revision=self._next_revision(),
            locked_until=locked_until,
        )
        return self._keep(_Blob(info, content))

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, revision: str | None = None
    ) -> BlobReader:
        """Open a reader over the bytes as they are now."""
        self._require_open()
        blob = self._find(key, revision)
        end = None if length is None else start + length
        return _MemoryReader(self, self._told(blob), blob.content[start:end])

    async def head(self, key: str) -> BlobInfo | None:
        """What is known of a blob."""
        self._require_open()
        blob = self._blobs.get(key)
        return None if blob is None else self._told(blob)

    async def delete(self, keys: Sequence[str]) -> list[bool]:
        """Remove blobs one by one."""
        self._require_open()
        outcomes = [self._delete(key) for key in keys]
        errors = {i: outcome for i, outcome in enumerate(outcomes) if isinstance(outcome, StorycoreError)}
        if errors and len(keys) == 1:
            raise errors[0]
        if errors:
            places = ", ".join(map(str, errors))
            raise PartialFailure(f"The blobs at the positions {places} could not be deleted.", outcomes=outcomes)
        return [outcome is True for outcome in outcomes]

    async def copy(self, source: str, target: str, *, when: BlobCondition, revision: str | None = None) -> BlobInfo:
        """Store the source's content under the target."""
        self._require_open()
        blob = self._find(source, revision)
        self._require(target, when)
        info = replace(
            blob.info,
            key=target,
            version=self._next_version(),
            modified_at=self._env.clock.now(),
            revision=self._next_revision(),
            locked_until=None,
        )
        return self._keep(_Blob(info, blob.content))

    async def revisions(self, key: str, *, limit: int = 1000) -> list[BlobInfo]:
        """The history, backwards."""
        self._require_open()
        return [self._told(blob) for blob in reversed(self._history.get(key, []))][:limit]

    async def lock(self, key: str, until: datetime) -> BlobInfo:
        """Note the instant with the blob."""
        self._require_open()
        blob = self._find(key)
        locked_until = self._told(blob).locked_until
        if locked_until is not None and until < locked_until:
            raise AccessDenied(f"Blob {key!r} is locked until {locked_until}, which cannot be made {until}.")
        locked = _Blob(replace(blob.info, locked_until=until), blob.content)
        self._blobs[key] = locked
        self._history[key] = [locked if each is blob else each for each in self._history.get(key, [])]
        return self._told(locked)

    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        """List by sorting everything: code points and UTF-8 bytes have the same order."""
        self._require_open()
        names = {_folded(key, prefix, delimiter) for key in self._blobs if key.startswith(prefix)}
        behind = sorted(name for name in names if after is None or name.key > after)
        page = behind[:limit]
        return BlobPage(
            blobs=[self._told(self._blobs[name.key]) for name in page if not name.is_prefix],
            prefixes=[name.key for name in page if name.is_prefix],
            next=page[-1].key if len(behind) > limit else None,
        )

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires: timedelta) -> str:
        """Refuse: nobody can reach this memory by a URL."""
        raise Unsupported("The blob store in memory has no URLs.", feature="blobs.presign")

    def _find(self, key: str, revision: str | None = None) -> _Blob:
        if revision is not None:
            for blob in self._history.get(key, []):
                if blob.info.revision == revision:
                    return blob
            raise NotFound(f"There is no revision {revision!r} of a blob {key!r}.")
        if key not in self._blobs:
            raise NotFound(f"There is no blob {key!r}.")
        return self._blobs[key]

    def _keep(self, blob: _Blob) -> BlobInfo:
        key = blob.info.key
        self._blobs[key] = blob
        if self._config.versions:
            self._history.setdefault(key, []).append(blob)
        return self._told(blob)

    def _told(self, blob: _Blob) -> BlobInfo:
        """The info as it is now: a lock that has ended is none."""
        until = blob.info.locked_until
        return blob.info if until is None or until > self._env.clock.now() else replace(blob.info, locked_until=None)

    def _delete(self, key: str) -> bool | AccessDenied:
        try:
            self._require_unlocked(key)
        except AccessDenied as error:
            return error
        return self._blobs.pop(key, None) is not None

    def _require_unlocked(self, key: str) -> None:
        until = None if key not in self._blobs else self._told(self._blobs[key]).locked_until
        if until is not None:
            raise AccessDenied(f"Blob {key!r} is locked until {until}.")

    def _require(self, key: str, when: BlobCondition) -> None:
        blob = self._blobs.get(key)
        if when == ABSENT and blob is not None:
            raise AlreadyExists(f"Blob {key!r} exists already; write with another condition to replace it.")
        if when == PRESENT and blob is None:
            raise NotFound(f"There is no blob {key!r} to replace.")
        if isinstance(when, BlobMatches) and (blob is None or blob.info.version != when.version):
            current = None if blob is None else blob.info.version
            raise VersionConflict(f"Blob {key!r} is not at the demanded version; read it again.", current=current)
        self._require_unlocked(key)

    def _next_version(self) -> BlobVersion:
        self._writes += 1
        return BlobVersion(f"v{self._writes}")

    def _next_revision(self) -> str | None:
        return f"r{self._writes}" if self._config.versions else None


@dataclass(frozen=True, slots=True, order=True)
class _Name:
    key: str
    is_prefix: bool


def _folded(key: str, prefix: str, delimiter: str | None) -> _Name:
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return _Name(key, False) if at < 0 or not delimiter else _Name(key[: at + len(delimiter)], True)


class _MemoryReader:
    def __init__(self, store: MemoryBlobStore, info: BlobInfo, content: bytes) -> None:
        self._store = store
        self._info = info
        self._rest = content
        self._closed = False

    @property
    def info(self) -> BlobInfo:
        return self._info

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := self._take(_CHUNK_BYTES):
            yield chunk

    async def read(self) -> bytes:
        return self._take(len(self._rest))

    async def close(self) -> None:
        self._closed = True

    def _take(self, size_bytes: int) -> bytes:
        self._store._require_open()
        if self._closed:
            raise Unavailable(f"The reader of blob {self._info.key!r} is closed; open another with get().")
        chunk, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        return chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
