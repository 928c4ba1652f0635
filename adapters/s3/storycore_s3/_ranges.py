"""Large content, fetched range by range, several at once, and handed on in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol

from storycore.errors import Unavailable
from storycore.ports.blobs import BlobInfo
from storycore_s3._calls import Calls
from storycore_s3._failures import Lost, Refused
from storycore_s3._stream import Stream, taken
from storycore_s3._wire import Headers, quoted

__all__ = ["Ranges", "Source"]


class Source(Protocol):
    """Where content comes from."""

    async def next(self) -> list[bytes]:
        """The next pieces; none behind the last."""
        ...

    async def close(self) -> None:
        """Give up what is under way."""
        ...


class Ranges:
    """Fetches ahead; each range demands the same revision, or the same version, so that all are of one content.

    Args:
        calls: to the service.
        info: of the blob.
        place: the arguments that lead to the object.
        start: first byte.
        size: how many bytes.
        step: bytes in a range.
        at_once: how many ranges are under way, or waiting in memory.
        attempts: how often a connection may break.
        first: the body of an answer that begins with the first range.
        whole: of a content without revisions: its first range, and all the rest if it is replaced meanwhile.
    """

    def __init__(
        self,
        calls: Calls,
        info: BlobInfo,
        place: Headers,
        *,
        start: int,
        size: int,
        step: int,
        at_once: int,
        attempts: int,
        first: Any = None,  # botocore's StreamingBody
        whole: Stream | None = None,
    ) -> None:
        self._calls = calls
        self._info = info
        self._place = place if info.revision is not None else {**place, "IfMatch": quoted(info.version)}
        self._start = self._given = self._at = start
        self._end = start + size
        self._step = step
        self._at_once = at_once
        self._attempts = attempts
        self._first = first
        self._whole = whole
        self._is_replaced = False
        self._ahead: deque[asyncio.Task[list[bytes]]] = deque()

    async def next(self) -> list[bytes]:
        """The next range; nothing behind the last."""
        if self._is_replaced and self._whole is not None:
            return await self._whole.next()
        self._fetch_ahead()
        if not self._ahead:
            return []
        try:
            pieces = await self._ahead[0]
        except Refused as refusal:
            return await self._from_whole(refusal)
        self._ahead.popleft()
        self._given += sum(map(len, pieces))
        return pieces

    async def close(self) -> None:
        """Give up what is under way."""
        await self._stop()
        if self._whole is not None:
            await self._whole.close()

    async def _stop(self) -> None:
        self._at = self._end
        pending = list(self._ahead)
        self._ahead.clear()
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        first, self._first = self._first, None
        if first is not None:
            first.close()

    async def _from_whole(self, refusal: Refused) -> list[bytes]:
        """What is read was replaced or deleted; the first answer still has it, as long as its connection lasts."""
        await self._stop()
        if self._whole is None:
            raise Unavailable(
                f"The revision of blob {self._info.key!r} that was being read is gone; read the blob again."
            ) from refusal
        await self._whole.skip_to(self._given)
        self._is_replaced = True
        return await self._whole.next()

    def _fetch_ahead(self) -> None:
        while len(self._ahead) < self._at_once and self._at < self._end:
            stop = min(self._at + self._step, self._end)
            task = asyncio.create_task(self._fetch_one(self._at, stop))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._ahead.append(task)
            self._at = stop

    def _fetch_one(self, start: int, stop: int) -> Coroutine[Any, Any, list[bytes]]:
        if self._whole is not None and start == self._start:
            return self._whole.read(stop - start)
        body, self._first = self._first, None
        return self._fetch(start, stop, body)

    async def _fetch(self, start: int, stop: int, body: Any) -> list[bytes]:
        """A range; what came before a connection broke is kept."""
        pieces: list[bytes] = []
        attempt = 0
        while start < stop:
            try:
                if body is None:
                    body = await self._answered(start, stop)
                try:
                    more = await self._calls.threads.run(partial(taken, body, stop - start))
                finally:
                    body.close()
                    body = None
            except Lost as failure:
                attempt += 1
                if attempt == self._attempts:
                    raise self._calls.translated(failure, f"blob {self._info.key!r}") from failure
                await self._calls.pause(attempt)
                continue
            pieces += more
            start += sum(map(len, more))
        return pieces

    async def _answered(self, start: int, stop: int) -> Any:
        answer = await self._calls.send(
            "get_object",
            about=f"blob {self._info.key!r}",
            undo=lambda answer: answer["Body"].close(),
            **self._place,
            Range=f"bytes={start}-{stop - 1}",
        )
        return answer["Body"]
