"""The limits of the BlobStore port."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from storycore.errors import InvalidArgument, InvalidKey, TooLarge
from storycore.layers.checks.arguments import utf8
from storycore.layers.checks.forward import Forward
from storycore.layers.checks.text import check_whole_number
from storycore.ports.blob_headers import is_content_type, is_header_value, is_metadata_key
from storycore.ports.blobs import BlobCondition, BlobInfo, BlobMatches, BlobPage, BlobReader, BlobStore
from storycore.ports.conditions import Presence

__all__ = ["CheckedBlobs"]

_KEY_BYTES: Final = 1024
_METADATA_BYTES: Final = 2048
_LIMIT: Final = 1000
_LARGEST: Final = 2**63 - 1
_LONGEST_PRESIGN: Final = timedelta(days=7)
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class CheckedBlobs(Forward[BlobStore]):
    """Refuses what not every blob store can keep, and hands on metadata with its keys in lower case."""

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
        """Write a blob after its name, condition and headers have been checked; pieces are checked as they pass."""
        _check_key(key, "key")
        _check_condition(when)
        _check_content_type(content_type)
        if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
            raise InvalidArgument(f"sha256 is {sha256!r}, expected 64 lower-case hexadecimal digits.")
        headers = _metadata(metadata)
        until = None if locked_until is None else self._instant(locked_until, "locked_until")
        async with _content(data) as content:
            return await self.inner.put(
                key,
                content,
                when=when,
                content_type=content_type,
                metadata=headers,
                sha256=sha256,
                **({} if until is None else {"locked_until": until}),
            )

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, revision: str | None = None
    ) -> BlobReader:
        """Open a blob for reading a sound range."""
        _check_key(key, "key")
        check_whole_number(start, 0, _LARGEST, what="start of the range")
        if length is not None:
            check_whole_number(length, 0, _LARGEST, what="length of the range")
        return await self.inner.get(key, start=start, length=length, **self._revision(revision))

    async def head(self, key: str) -> BlobInfo | None:
        """What is known of a blob."""
        _check_key(key, "key")
        return await self.inner.head(key)

    async def delete(self, keys: Sequence[str]) -> list[bool]:
        """Remove blobs after every name has been checked."""
        if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
            raise InvalidArgument(f"keys is {type(keys).__name__}, expected a sequence of str.")
        for i, key in enumerate(keys):
            _check_key(key, f"keys[{i}]")
        return await self.inner.delete(keys)

    async def copy(self, source: str, target: str, *, when: BlobCondition, revision: str | None = None) -> BlobInfo:
        """Copy between two sound names."""
        _check_key(source, "source")
        _check_key(target, "target")
        _check_condition(when)
        return await self.inner.copy(source, target, when=when, **self._revision(revision))

    async def revisions(self, key: str, *, limit: int = 1000) -> list[BlobInfo]:
        """Look back with a sound name and limit."""
        self.capabilities.demand("blobs.versions", adapter=self.info.adapter)
        _check_key(key, "key")
        check_whole_number(limit, 1, _LIMIT, what="limit")
        return await self.inner.revisions(key, limit=limit)

    async def lock(self, key: str, until: datetime) -> BlobInfo:
        """Lock until an instant in UTC, at a whole second."""
        _check_key(key, "key")
        return await self.inner.lock(key, self._instant(until, "until"))

    async def entries(
        self, prefix: str = "", *, delimiter: str | None = None, after: str | None = None, limit: int = 1000
    ) -> BlobPage:
        """List with a sound prefix, delimiter, start and limit."""
        _check_part(prefix, "prefix")
        if delimiter is not None and not _check_part(delimiter, "delimiter"):
            raise InvalidArgument("delimiter is empty; give None for a listing that is not folded.")
        if after is not None:
            _check_part(after, "after")
        check_whole_number(limit, 1, _LIMIT, what="limit")
        return await self.inner.entries(prefix, delimiter=delimiter, after=after, limit=limit)

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires: timedelta) -> str:
        """Make a URL that is good for at most seven days (S3: presigned URLs)."""
        self.capabilities.demand("blobs.presign", adapter=self.info.adapter)
        _check_key(key, "key")
        if method not in ("GET", "PUT"):
            raise InvalidArgument(f"method is {method!r}, expected 'GET' or 'PUT'.")
        if not isinstance(expires, timedelta) or not timedelta(seconds=1) <= expires <= _LONGEST_PRESIGN:
            raise InvalidArgument(f"expires is {expires!r}, expected a timedelta of 1 second to 7 days.")
        return await self.inner.presign(key, method=method, expires=expires)

    def _revision(self, revision: object) -> dict[str, str]:
        """The argument as it is handed on, which is not at all where no revision is asked for."""
        if revision is None:
            return {}
        self.capabilities.demand("blobs.versions", adapter=self.info.adapter)
        if not isinstance(revision, str) or not revision:
            raise InvalidArgument(f"revision is {revision!r}, expected one that a BlobInfo carries.")
        return {"revision": revision}

    def _instant(self, until: object, what: str) -> datetime:
        """The instant in UTC, rounded up to a whole second (S3: Object Lock keeps no fractions)."""
        self.capabilities.demand("blobs.lock", adapter=self.info.adapter)
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise InvalidArgument(f"{what} is {until!r}, expected a datetime with a time zone.")
        if not _EARLIEST <= until <= _LATEST:
            raise InvalidArgument(f"{what} is {until}, expected an instant in the years 1970 to 9998.")
        whole = until.astimezone(UTC)
        return whole + timedelta(microseconds=-whole.microsecond % 1_000_000)


def _check_key(key: object, what: str) -> None:
    if not _check_part(key, what):
        raise InvalidKey(f"{what} is empty, expected 1 to {_KEY_BYTES} bytes as UTF-8.")


def _check_part(value: object, what: str) -> int:
    """The length of a key or of a part of one in bytes, which may be nought."""
    size = len(utf8(value, what))
    if size > _KEY_BYTES:
        raise InvalidKey(f"{what} has {size} bytes as UTF-8, expected at most {_KEY_BYTES}.")
    return size


def _check_condition(when: object) -> None:
    if not isinstance(when, Presence | BlobMatches):
        raise InvalidArgument(f"when is {when!r}, expected ANY, ABSENT, PRESENT or BlobMatches(version).")
    if isinstance(when, BlobMatches) and not (isinstance(when.version, str) and when.version):
        raise InvalidArgument(f"when demands the version {when.version!r}, expected one that a BlobInfo carries.")


def _check_content_type(content_type: object) -> None:
    if content_type is None:
        return
    if not isinstance(content_type, str) or not is_content_type(content_type):
        raise InvalidArgument(
            f"content_type is {content_type!r}, expected 1 to 255 characters of printable ASCII without outer spaces."
        )


def _metadata(metadata: object) -> dict[str, str]:
    """The metadata with its keys in lower case."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidArgument(f"metadata is {type(metadata).__name__}, expected a mapping of str to str.")
    for key, value in metadata.items():
        _check_header(key, value)
    lowered = {key.lower(): value for key, value in metadata.items()}
    if len(lowered) < len(metadata):
        raise InvalidArgument(f"metadata has keys that differ in case alone: {', '.join(sorted(metadata))}.")
    sizes = {key: len(key) + len(value) for key, value in lowered.items()}
    if (size := sum(sizes.values())) > _METADATA_BYTES:
        raise TooLarge(
            f"metadata has {size} bytes, expected at most {_METADATA_BYTES}; keep what is larger in the content.",
            limit=_METADATA_BYTES,
            actual=size,
            breakdown=dict(sorted(sizes.items(), key=lambda item: -item[1])),
        )
    return lowered


def _check_header(key: object, value: object) -> None:
    if not isinstance(key, str) or not is_metadata_key(key):
        raise InvalidArgument(f"The metadata key {key!r} is not of ASCII letters, digits and '-'.")
    if not isinstance(value, str) or not is_header_value(value):
        raise InvalidArgument(f"The metadata value of {key!r} is not of printable ASCII without outer spaces.")


@asynccontextmanager
async def _content(data: object) -> AsyncIterator[bytes | AsyncIterable[bytes]]:
    if isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    elif isinstance(data, AsyncIterable):
        async with aclosing(_pieces(data)) as pieces:
            yield pieces
    else:
        raise InvalidArgument(f"data is {type(data).__name__}, expected bytes or an async iterable of bytes.")


async def _pieces(data: AsyncIterable[object]) -> AsyncGenerator[bytes, None]:
    async for piece in data:
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidArgument(f"data yielded {type(piece).__name__}, expected bytes.")
        yield bytes(piece)
