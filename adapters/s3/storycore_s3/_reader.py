"""An open blob: the body of one answer, which stays what it was; a connection that breaks is made again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final, Self

from storycore.errors import Corrupt, Effect, Unavailable
from storycore.ports.blobs import BlobInfo
from storycore_s3._calls import Calls
from storycore_s3._failures import VENDOR, Lost, Refused, failure_of
from storycore_s3._ranges import Ranges
from storycore_s3._wire import Headers, quoted

__all__ = ["S3Reader"]

_FIRST_CHUNK: Final = 256 * 1024
_LARGEST_CHUNK: Final = 4 * 1024 * 1024
"""Pieces double up to this size: each costs two turns of a thread, which small ones would spend their time on."""


class S3Reader:
    """Reads a range of an object; one piece is on its way while another is used.

    Args:
        calls: to the service.
        body: of the answer; ``None``: there is nothing to read.
        info: of the blob.
        place: the arguments that lead to the object.
        start: first byte of the range.
        length: bytes in the range; ``None``: to the end.
        attempts: how often a connection may break.
        ranges: where the rest of a large content comes from, instead of the body.
    """

    def __init__(
        self,
        calls: Calls,
        body: Any,  # botocore's StreamingBody
        info: BlobInfo,
        place: Headers,
        *,
        start: int,
        length: int | None,
        attempts: int,
        ranges: Ranges | None = None,
    ) -> None:
        self._calls = calls
        self._body = body
        self._info = info
        self._place = place
        self._at = start
        behind = max(0, info.size_bytes - start)
        self._rest = behind if length is None else min(length, behind)
        is_checked = self._rest == info.size_bytes and bool(info.sha256)
        self._hash = hashlib.sha256() if is_checked else None
        self._attempts = attempts
        self._piece = _FIRST_CHUNK
        self._ranges = ranges
        self._ahead: asyncio.Task[bytes] | None = None
        self._hashing: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def info(self) -> BlobInfo:
        """Of the version that is being read."""
        return self._info

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._next():
            yield chunk

    async def read(self) -> bytes:
        """The rest of the range."""
        return b"".join([chunk async for chunk in self])

    async def close(self) -> None:
        """Give the connection up."""
        self._is_closed = True
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
        if pending := [task for task in (ahead, self._hashing) if task is not None]:
            await asyncio.wait(pending)
        if self._ranges is not None:
            await self._ranges.close()
        self._drop()

    async def _next(self) -> bytes:
        """The next piece, while the one behind it is already being fetched."""
        if self._is_closed:
            raise Unavailable(f"The reader of blob {self._info.key!r} is closed; open another with get().")
        if self._ahead is None:
            self._fetch_ahead()
        ahead = self._ahead
        assert ahead is not None
        chunk = await asyncio.shield(ahead)
        self._ahead = None
        if self._is_closed:
            raise Unavailable(f"The reader of blob {self._info.key!r} was closed while it was read.")
        if self._rest:
            self._fetch_ahead()
        return chunk

    def _fetch_ahead(self) -> None:
        self._ahead = asyncio.create_task(self._fetch())
        self._ahead.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _fetch(self) -> bytes:
        """One piece, over another connection if this one breaks; the last one only if everything matches the hash."""
        if not self._rest:
            await self._require_sound()
            return b""
        chunk = await self._streamed() if self._ranges is None else await self._ranges.next()
        self._piece = min(2 * self._piece, _LARGEST_CHUNK)
        self._at += len(chunk)
        self._rest -= len(chunk)
        await self._count(chunk)
        if not self._rest:
            await self._require_sound()
        return chunk

    async def _streamed(self) -> bytes:
        for attempt in range(1, self._attempts + 1):
            try:
                if self._body is None:
                    self._body = await self._opened_again()
                return await self._calls.threads.run(partial(self._take, self._body))
            except (Lost, Refused) as failure:
                self._drop()
                if attempt == self._attempts or isinstance(failure, Refused):
                    raise self._calls.translated(failure, f"blob {self._info.key!r}") from failure
        raise AssertionError("unreachable")

    def _take(self, body: Any) -> bytes:
        try:
            chunk: bytes = body.read(min(self._piece, self._rest))
        except VENDOR as exc:
            raise failure_of(exc) from exc
        if not chunk:
            raise Lost("the content was cut", effect=Effect.NONE)
        return chunk

    async def _count(self, chunk: bytes) -> None:
        """Hash a piece in a thread while the next one arrives; never two of them at once."""
        if self._hash is None:
            return
        if self._hashing is not None:
            await self._hashing
        self._hashing = asyncio.create_task(self._calls.threads.run(partial(self._hash.update, chunk)))

    async def _opened_again(self) -> Any:
        """The rest of the same content; whoever has replaced it meanwhile has made it unreadable."""
        end = self._at + self._rest - 1
        try:
            answer = await self._calls.send(
                "get_object",
                about=f"blob {self._info.key!r}",
                undo=lambda answer: answer["Body"].close(),
                **self._place,
                Range=f"bytes={self._at}-{end}",
                IfMatch=quoted(self._info.version),
            )
        except Refused as refusal:
            raise Unavailable(
                f"The connection broke while blob {self._info.key!r} was read, which is replaced or gone by now; "
                "read it again."
            ) from refusal
        return answer["Body"]

    async def _require_sound(self) -> None:
        self._drop()
        if self._hashing is not None:
            await self._hashing
        if self._hash is not None and self._hash.hexdigest() != self._info.sha256:
            raise Corrupt(
                f"The content of blob {self._info.key!r} does not match its sha256; restore it from a backup."
            )

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
