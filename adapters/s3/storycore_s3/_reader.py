"""An open blob: its content in order, hashed on its way."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Self

from storycore.errors import Corrupt, Unavailable
from storycore.ports.blobs import BlobInfo
from storycore_s3._ranges import Ranges, Source
from storycore_s3._threads import Threads

__all__ = ["S3Reader"]


class S3Reader:
    """Hands on what a source gives; more is on its way while that is used.

    Args:
        source: where the content comes from.
        info: of the blob.
        size: how many bytes the source gives; all of the blob's are compared with its hash.
        threads: where content is hashed.
    """

    def __init__(self, source: Source, info: BlobInfo, *, size: int, threads: Threads) -> None:
        self._source = source
        self._info = info
        self._rest = size
        self._threads = threads
        self._hash = hashlib.sha256() if size == info.size_bytes and info.sha256 else None
        self._is_ahead_itself = isinstance(source, Ranges)
        self._ready: deque[bytes] = deque()
        self._ahead: asyncio.Task[list[bytes]] | None = None
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
        """Give the connections up."""
        self._is_closed = True
        self._ready.clear()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
        if pending := [task for task in (ahead, self._hashing) if task is not None]:
            await asyncio.wait(pending)
        await self._source.close()

    async def _next(self) -> bytes:
        self._require_open("is closed; open another with get()")
        if not self._ready:
            await self._refill()
        return self._ready.popleft() if self._ready else b""

    async def _refill(self) -> None:
        """More pieces, while what is behind them is already being fetched."""
        if self._ahead is None:
            self._fetch_ahead()
        ahead = self._ahead
        assert ahead is not None
        pieces = await asyncio.shield(ahead)
        self._ahead = None
        self._require_open("was closed while it was read")
        self._ready.extend(pieces)
        if self._rest and not self._is_ahead_itself:
            self._fetch_ahead()

    def _require_open(self, how: str) -> None:
        if self._is_closed:
            raise Unavailable(f"The reader of blob {self._info.key!r} {how}.")

    def _fetch_ahead(self) -> None:
        self._ahead = asyncio.create_task(self._fetch())
        self._ahead.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _fetch(self) -> list[bytes]:
        """Pieces; the last ones only if everything matches the hash."""
        pieces = await self._source.next() if self._rest else []
        self._rest -= sum(map(len, pieces))
        if pieces:
            await self._count(pieces)
        if not self._rest:
            await self._require_sound()
        return pieces

    async def _count(self, pieces: Sequence[bytes]) -> None:
        """Hash pieces in a thread while the next ones arrive; never two turns at once."""
        if self._hash is None:
            return
        if self._hashing is not None:
            await self._hashing
        self._hashing = asyncio.create_task(self._threads.run(partial(self._digest, deque(pieces))))

    def _digest(self, pieces: deque[bytes]) -> None:
        """Hash pieces, and let go of each."""
        assert self._hash is not None
        while pieces:
            self._hash.update(pieces.popleft())

    async def _require_sound(self) -> None:
        await self._source.close()
        if self._hashing is not None:
            await self._hashing
        if self._hash is not None and self._hash.hexdigest() != self._info.sha256:
            raise Corrupt(
                f"The content of blob {self._info.key!r} does not match its sha256; restore it from a backup."
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
