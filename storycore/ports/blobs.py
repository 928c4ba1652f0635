"""The BlobStore port: named byte strings of any size, with streaming, ranges and conditional writes."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NewType, Protocol, Self, TypeAlias

from storycore.ports.conditions import Presence
from storycore.ports.lifecycle import Port

__all__ = ["BlobCondition", "BlobInfo", "BlobMatches", "BlobPage", "BlobReader", "BlobStore", "BlobVersion"]

BlobVersion = NewType("BlobVersion", str)
"""Opaque and issued by the adapter (an ETag, say); differs whenever the content differs."""


@dataclass(frozen=True, slots=True)
class BlobMatches:
    """Write only over exactly this version: else ``VersionConflict`` with the current one."""

    version: BlobVersion


BlobCondition: TypeAlias = Presence | BlobMatches


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """What is known of a blob without reading it.

    Args:
        key: its name.
        size_bytes: of the content.
        version: of this content.
        sha256: of the content, lower-case hex; empty where the content has never passed through a store, but was put
            by a presigned URL or with another tool.
        modified_at: when it was written, aware UTC.
        content_type: as given when it was put; ``application/octet-stream`` when not.
        metadata: as given when it was put; keys in lower case.
        revision: with the feature ``blobs.versions`` the name under which this content stays readable after it was
            replaced or deleted; every write has one of its own. ``None`` without the feature.
        locked_until: with the feature ``blobs.lock`` the instant before which the blob can be neither replaced nor
            deleted, aware UTC; ``None`` where there is no lock, or it has ended.
    """

    key: str
    size_bytes: int
    version: BlobVersion
    sha256: str
    modified_at: datetime
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class BlobPage:
    """A page of a listing, ascending by key.

    Args:
        blobs: the entries.
        prefixes: with a delimiter, the common prefixes up to and with the delimiter, each once.
        next: hand it in as ``after``; ``None`` only when nothing is left.
    """

    blobs: Sequence[BlobInfo]
    prefixes: Sequence[str] = ()
    next: str | None = None


class BlobReader(Protocol):
    """An open blob: iterate for chunks, or ``read()`` all; leave it by ``async with`` or ``close()``."""

    @property
    def info(self) -> BlobInfo:
        """Of the version that is being read; the same to the end, whatever is written meanwhile."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self) -> bytes:
        """The rest of the content, in memory."""
        ...

    async def close(self) -> None:
        """Stop reading; a second call does nothing. Reading after it raises ``Unavailable``."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class BlobStore(Port, Protocol):
    """Named byte strings.

    Keys are 1 to 1024 UTF-8 bytes of any valid text without NUL (S3: object keys), compared by bytes; no key means
    another, whatever ``..``, slashes, case or accents it has. Metadata: at most 2048 bytes of keys and values together,
    keys of ASCII letters, digits and ``-``, values of printable ASCII that neither begin nor end with a space
    (S3: user-defined metadata, which travels in HTTP headers). A content type is 1 to 255 such characters.
    Promised by every adapter:

    - A blob is visible whole or not at all; a put that fails, or is cancelled before all its content has come, leaves
      what was there before. One that is cancelled later has written the new blob, or nothing.
    - After a put or delete returned, every read and listing sees it.
    - Putting, reading and copying hold a bounded part of the content in memory.
    - While a blob is locked, ``put`` and ``copy`` over it and ``delete`` are ``AccessDenied``; the message names the
      instant. A condition that fails comes first.
    """

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
        """Write a blob.

        Args:
            data: the content, or an iterable that yields it in pieces.
            when: ``ANY``, ``ABSENT``, ``PRESENT`` or ``BlobMatches(version)``.
            sha256: what the content must hash to, lower-case hex.
            locked_until: lock the new blob until then, rounded up to a whole second; aware. An instant that has
                passed locks nothing. Feature ``blobs.lock``.

        Raises:
            AlreadyExists, NotFound, VersionConflict: the condition failed; nothing was written.
            AccessDenied: the blob that is there is locked; nothing was written.
            Corrupt: the content does not hash to ``sha256``; nothing was written.
        """
        ...

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, revision: str | None = None
    ) -> BlobReader:
        """Open a blob for reading ``length`` bytes (``None``: to the end) from byte ``start``.

        A range that begins at or behind the end reads nothing.

        Args:
            revision: read what the blob was then, although it was replaced or deleted. Feature ``blobs.versions``.

        Raises:
            NotFound: there is no such blob, or no such revision of it.
            Corrupt: raised while reading to the end of a whole blob whose bytes do not match its ``sha256``.
        """
        ...

    async def head(self, key: str) -> BlobInfo | None:
        """What is known of a blob; ``None`` when there is none."""
        ...

    async def delete(self, keys: Sequence[str]) -> list[bool]:
        """Remove blobs; ``True`` where there was one.

        Raises:
            PartialFailure: of several keys some could not be deleted; ``outcomes`` has the answer or the error of
                each, and the message names the positions of the errors. The error of a single key comes as it is.
            AccessDenied: the blob is locked.
        """
        ...

    async def copy(self, source: str, target: str, *, when: BlobCondition, revision: str | None = None) -> BlobInfo:
        """Copy content, type and metadata, but no lock; ``when`` is about the target.

        Args:
            revision: of the source. A copy onto the same key brings that revision back. Feature ``blobs.versions``.

        Raises:
            NotFound: there is no ``source``, no such revision of it, or ``when`` is ``PRESENT`` and there is no target.
            AlreadyExists, VersionConflict: the target's condition failed.
            AccessDenied: the target is locked.
        """
        ...

    async def revisions(self, key: str, *, limit: int = 1000) -> list[BlobInfo]:
        """What a blob is and was, newest first; ``limit`` 1 to 1000 of them. Feature ``blobs.versions``.

        A deletion is no revision: what was there before it is still listed. Empty where never was a blob.
        """
        ...

    async def lock(self, key: str, until: datetime) -> BlobInfo:
        """Let a blob be neither replaced nor deleted before ``until``. Feature ``blobs.lock``.

        Args:
            until: aware; rounded up to a whole second. An instant that has passed locks nothing.

        Raises:
            NotFound: there is no such blob.
            AccessDenied: it is locked for longer; a lock can be extended, and never shortened.
        """
        ...

    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        """Blobs whose key begins with ``prefix``, ascending by UTF-8 bytes, behind ``after``; ``limit`` 1 to 1000.

        With a ``delimiter`` keys that hold it behind the prefix are folded into ``prefixes``; blobs and prefixes
        together count towards the limit, and a prefix is listed where it is itself behind ``after``.
        """
        ...

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires: timedelta) -> str:
        """A URL that lets its bearer read or write the blob until it expires. Feature ``blobs.presign``.

        What is written by a URL has no ``sha256`` that anybody has computed, and no metadata.
        """
        ...
