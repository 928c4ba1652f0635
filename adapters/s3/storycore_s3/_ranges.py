"""Large content of one revision, fetched range by range, several at once, and handed on in order."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any

from storycore.errors import Effect, Unavailable
from storycore_s3._calls import Calls
from storycore_s3._failures import VENDOR, Lost, Refused, failure_of
from storycore_s3._wire import Headers

__all__ = ["Ranges"]


class Ranges:
    """Fetches ahead; each range names the revision, so that all are of one content.

    Args:
        calls: to the service.
        place: the arguments that lead to the object, its revision among them.
        start: first byte.
        end: behind the last byte.
        size: bytes in a range.
        at_once: how many are under way, or waiting in memory.
        attempts: how often a connection may break.
    """

    def __init__(
        self, calls: Calls, place: Headers, *, start: int, end: int, size: int, at_once: int, attempts: int
    ) -> None:
        self._calls = calls
        self._place = place
        self._at = start
        self._end = end
        self._size = size
        self._at_once = at_once
        self._attempts = attempts
        self._ahead: deque[asyncio.Task[bytes]] = deque()

    async def next(self) -> bytes:
        """The next range; nothing behind the last."""
        self._fetch_ahead()
        if not self._ahead:
            return b""
        piece = await self._ahead[0]
        self._ahead.popleft()
        self._fetch_ahead()
        return piece

    async def close(self) -> None:
        """Give up what is under way."""
        self._at = self._end
        pending = list(self._ahead)
        self._ahead.clear()
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)

    def _fetch_ahead(self) -> None:
        while len(self._ahead) < self._at_once and self._at < self._end:
            stop = min(self._at + self._size, self._end)
            task = asyncio.create_task(self._fetch(self._at, stop))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._ahead.append(task)
            self._at = stop

    async def _fetch(self, start: int, stop: int) -> bytes:
        for attempt in range(1, self._attempts + 1):
            try:
                answer = await self._calls.send(
                    "get_object",
                    undo=lambda answer: answer["Body"].close(),
                    **self._place,
                    Range=f"bytes={start}-{stop - 1}",
                )
                return await self._calls.threads.run(partial(_all, answer["Body"], stop - start))
            except Lost as failure:
                if attempt == self._attempts:
                    raise self._calls.translated(failure) from failure
            except Refused as refusal:
                raise Unavailable("The revision that was being read is gone; read the blob again.") from refusal
        raise AssertionError("unreachable")


def _all(body: Any, size_bytes: int) -> bytes:  # botocore's StreamingBody
    content = bytearray(size_bytes)
    view, at = memoryview(content), 0
    try:
        while at < size_bytes and (count := body.readinto(view[at:])):
            at += count
    except VENDOR as exc:
        raise failure_of(exc) from exc
    finally:
        body.close()
    if at != size_bytes:
        raise Lost("the content was cut", effect=Effect.NONE)
    return bytes(content)
