"""The body of one answer, which stays what it was; a connection that breaks is made again."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from storycore.errors import Effect, Unavailable
from storycore.ports.blobs import BlobInfo
from storycore_s3._calls import Calls
from storycore_s3._failures import VENDOR, Lost, Refused, failure_of
from storycore_s3._wire import Headers, quoted

__all__ = ["PIECE_BYTES", "Stream", "taken"]

PIECE_BYTES: Final = 1024 * 1024
"""What is handed on at most: each piece costs a turn of the loop, one of the hash, and several of botocore."""

_SMALLEST_BATCH: Final = 256 * 1024
_LARGEST_BATCH: Final = 4 * 1024 * 1024
"""Batches double up to this size: each costs two turns of a thread, which small ones would spend their time on."""


class Stream:
    """Reads a range of an object, batch by batch.

    Args:
        calls: to the service.
        body: of the answer; ``None``: there is nothing to read.
        info: of the blob.
        place: the arguments that lead to the object.
        start: first byte of the range.
        size: bytes in the range.
        attempts: how often a connection may break.
    """

    def __init__(
        self,
        calls: Calls,
        body: Any,  # botocore's StreamingBody
        info: BlobInfo,
        place: Headers,
        *,
        start: int,
        size: int,
        attempts: int,
    ) -> None:
        self._calls = calls
        self._body = body
        self._info = info
        self._place = place
        self._at = start
        self._end = start + size
        self._attempts = attempts
        self._batch = _SMALLEST_BATCH

    async def next(self) -> list[bytes]:
        """The next pieces; none behind the last."""
        if self._at == self._end:
            return []
        pieces = await self._read(min(self._batch, self._end - self._at))
        self._batch = min(2 * self._batch, _LARGEST_BATCH)
        return pieces

    async def read(self, size: int) -> list[bytes]:
        """So many bytes, in pieces."""
        pieces: list[bytes] = []
        end = self._at + size
        while self._at < end:
            pieces += await self._read(end - self._at)
        return pieces

    async def skip_to(self, at: int) -> None:
        """Read on to a byte, and keep nothing."""
        while self._at < at:
            await self._read(min(_LARGEST_BATCH, at - self._at))

    async def close(self) -> None:
        """Give the connection up."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    async def _read(self, size: int) -> list[bytes]:
        for attempt in range(1, self._attempts + 1):
            try:
                if self._body is None:
                    self._body = await self._opened_again()
                pieces = await self._calls.threads.run(partial(taken, self._body, size))
            except (Lost, Refused) as failure:
                await self.close()
                if attempt == self._attempts or isinstance(failure, Refused):
                    raise self._calls.translated(failure, f"blob {self._info.key!r}") from failure
                await self._calls.pause(attempt)
            else:
                self._at += sum(map(len, pieces))
                return pieces
        raise AssertionError("unreachable")

    async def _opened_again(self) -> Any:
        """The rest of the same content; whoever has replaced it meanwhile has made it unreadable."""
        try:
            answer = await self._calls.send(
                "get_object",
                about=f"blob {self._info.key!r}",
                undo=lambda answer: answer["Body"].close(),
                **self._place,
                Range=f"bytes={self._at}-{self._end - 1}",
                IfMatch=quoted(self._info.version),
            )
        except Refused as refusal:
            raise Unavailable(
                f"The connection broke while blob {self._info.key!r} was read, which is replaced or gone by now; "
                "read it again."
            ) from refusal
        return answer["Body"]


def taken(body: Any, size: int) -> list[bytes]:
    """So many bytes of a body, or less if its connection breaks behind the first piece; blocks.

    Raises:
        Lost, Refused: nothing more came.
    """
    pieces: list[bytes] = []
    while size:
        try:
            piece: bytes = body.read(min(size, PIECE_BYTES))
        except VENDOR as exc:
            if pieces:  # the next call will fail too, and has nothing to lose
                return pieces
            raise failure_of(exc) from exc
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    if not pieces:
        raise Lost("the content was cut", effect=Effect.NONE)
    return pieces
