"""The recorder: takes accesses without making anybody wait, and brings them into the chain in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from itertools import islice

from storycore.audit.accesses import Access
from storycore.audit.chain import Chain, Draft
from storycore.errors import Effect, StorycoreError, Unavailable
from storycore.layers.acting import Acting
from storycore.layers.deadline import timeless

__all__ = ["Recorder"]

_MOST_WAITING = 50_000
"""Accesses and keys in them that wait for their batch."""
_IN_BATCH = 1000
_PATIENCE_SECONDS = 5.0


class Recorder:
    """Records the accesses of one store.

    Args:
        chain: where they go.
        who: writes what the trail says of itself.
        flush_seconds: between two batches.
        blocks: whether an access that finds the buffer full waits for room, and is refused when there is none in time;
            otherwise it is done, and the trail tells how many were not recorded.
        most: so many accesses and keys wait at most.
        patience: seconds to wait for room.
    """

    def __init__(
        self,
        chain: Chain,
        who: Acting,
        *,
        flush_seconds: float,
        blocks: bool,
        most: int = _MOST_WAITING,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._chain = chain
        self._who = who
        self._pause = flush_seconds
        self._blocks = blocks
        self._most = most
        self._patience = patience
        self._waiting: deque[Access] = deque()
        self._weight = 0
        self._draft: tuple[Draft, int] | None = None
        self._added = 0
        self._written = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._turn = asyncio.Lock()
        self._stirred = asyncio.Event()
        self._hurried = asyncio.Event()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.lost = 0
        """Accesses that could not be recorded, and that the trail has not told of yet."""
        self.failure: StorycoreError | None = None
        """Why the last batch could not be stored; ``None``: it was."""

    @property
    def is_full(self) -> bool:
        """Whether an access has to wait."""
        return self._blocks and self._weight >= self._most

    @property
    def waiting(self) -> int:
        """How many records wait for their batch."""
        return self._added - self._written

    async def room(self) -> None:
        """Wait until there is room.

        Raises:
            Unavailable: there is none in time; nothing was done.
        """
        try:
            async with asyncio.timeout(self._patience):
                while self.is_full:
                    self._room.clear()
                    self._hurried.set()
                    await self._room.wait()
        except TimeoutError as exc:
            raise Unavailable(
                f"The access was not begun, for the audit trail cannot be written and {self.waiting} records wait"
                f"{self._why}; `storycore health` tells more."
            ) from exc

    def add(self, access: Access) -> None:
        """Take an access that was done."""
        if self._weight >= self._most and not self._blocks:
            self.lost += 1
            return
        self._waiting.append(access)
        self._weight += 1 + len(access.names)
        self._added += 1
        if not self._stirred.is_set():
            self._stirred.set()
            if self._task is None:
                self._task = asyncio.create_task(self._serve(), name="audit", context=timeless())
        if len(self._waiting) >= _IN_BATCH:
            self._hurried.set()

    async def settled(self, effect: Effect) -> None:
        """Wait until what was taken so far is stored.

        Args:
            effect: what is known of the access whose record it is.

        Raises:
            Unavailable: it could not be stored now; it stays, and is tried again.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((self._added, done))
        self._hurried.set()
        try:
            await done
        except StorycoreError as exc:
            raise Unavailable(
                f"The access was done, but its record is not in the audit trail yet: {exc.message}", effect=effect
            ) from exc

    async def flush(self) -> None:
        """Store all that waits.

        Raises:
            StorycoreError: it cannot be stored; it stays, and is tried again.
        """
        async with self._turn:
            try:
                while self._draft is not None or self._waiting or self.lost:
                    await self._batch()
            except StorycoreError as exc:
                self.failure = exc
                self._answer(exc)
                raise
            self.failure = None
            self._stirred.clear()

    async def close(self) -> None:
        """Store all that waits and end the chain.

        Raises:
            Unavailable: records are lost, for they could not be stored.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.flush()
            await self._chain.close()
        except StorycoreError as exc:
            raise Unavailable(
                f"{self.waiting + self.lost} records of the audit trail could not be stored and are lost: {exc.message}"
            ) from exc

    async def _serve(self) -> None:
        while True:
            await self._stirred.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._hurried.wait()
            self._hurried.clear()
            with suppress(StorycoreError):
                await self.flush()
            if self.failure is not None:
                await asyncio.sleep(min(self._pause, 1.0))

    async def _batch(self) -> None:
        if self._draft is None:
            taken = list(islice(self._waiting, _IN_BATCH))
            lost, self.lost = self.lost, 0
            try:
                drafted = await self._chain.draft(taken, lost=lost, who=self._who)
            except BaseException:
                self.lost += lost
                raise
            self._draft = drafted, len(taken)
            for _ in taken:
                self._weight -= 1 + len(self._waiting.popleft().names)
            self._room.set()
        draft, count = self._draft
        await self._chain.put(draft)
        self._draft = None
        self._written += count
        self._answer(None)

    def _answer(self, failure: StorycoreError | None) -> None:
        """Tell those who wait, as far as their records are stored; all of them when they are not."""
        waiting, self._waiters = self._waiters, []
        for target, done in waiting:
            if done.done():
                continue
            if failure is not None:
                done.set_exception(failure)
            elif target <= self._written:
                done.set_result(None)
            else:
                self._waiters.append((target, done))

    @property
    def _why(self) -> str:
        return "" if self.failure is None else f" ({self.failure.message})"
