"""One queue to the embedder for all documents in work: small documents share a call, large ones take several."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from storycore.errors import InvalidArgument
from storycore.ports.embeddings import Embedder
from storycore.ports.vectors import Vector

__all__ = ["EmbeddingQueue"]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    text: str
    vector: asyncio.Future[Vector]


class EmbeddingQueue:
    """Collects texts while calls are under way, and sends them on in batches as calls return.

    Args:
        embedder: borrowed.
        batch_size: texts per call at most.
        calls: calls at the same time at most.
    """

    def __init__(self, embedder: Embedder, *, batch_size: int, calls: int) -> None:
        self._embedder = embedder
        self._batch_size = batch_size
        self._free = calls
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Drop what waits and what is under way; the callers have all been answered, or have gone."""
        _fail(self._waiting, None)
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector per text, in order. An error of the embedder reaches exactly those whose texts it concerns."""
        loop = asyncio.get_running_loop()
        mine = [_Waiting(text, loop.create_future()) for text in texts]
        self._waiting.extend(mine)
        self._send()
        return await asyncio.gather(*(waiting.vector for waiting in mine))

    def _send(self) -> None:
        while self._free and (batch := self._next_batch()):
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._call(batch))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._batch_size:
            waiting = self._waiting.popleft()
            if not waiting.vector.done():  # else its caller has gone
                batch.append(waiting)
        return batch

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free += 1
        if not task.cancelled():
            self._send()

    async def _call(self, batch: Sequence[_Waiting]) -> None:
        try:
            vectors = await self._embedder.embed([waiting.text for waiting in batch], purpose="document")
            for waiting, vector in zip(batch, vectors, strict=True):
                if not waiting.vector.done():
                    waiting.vector.set_result(vector)
        except asyncio.CancelledError:
            _fail(batch, None)
            raise
        except InvalidArgument as exc:
            if len(batch) == 1:
                _fail(batch, exc)
            else:
                for waiting in batch:
                    await self._call([waiting])
        except BaseException as exc:  # whatever it is, it belongs to those who wait
            _fail(batch, exc)


def _fail(batch: Iterable[_Waiting], exc: BaseException | None) -> None:
    for waiting in batch:
        if waiting.vector.done():
            continue
        if exc is None:
            waiting.vector.cancel()
        else:
            waiting.vector.set_exception(exc)
