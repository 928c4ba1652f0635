"""Coalescing: gets of one moment reach a store as one call, where one call with many keys is what costs least."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from storycore.errors import Unavailable
from storycore.layers.deadline import timeless
from storycore.layers.passing import PassingEntities
from storycore.ports.entities import (
    EntityStore,
    Key,
    Record,
)

__all__ = ["CoalescedEntities"]

_KEYS_OF_A_BATCH = 100
"""A call with as many keys goes alone (DynamoDB: BatchGetItem takes 100)."""

_Found: TypeAlias = Mapping[Key, Record | None]


class _Batch:
    """The gets of one turn of the event loop that read alike.

    Args:
        loop: on which they wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.keys: dict[Key, None] = {}
        self.asked = 0
        self.waiters: list[asyncio.Future[_Found]] = []
        self.task: asyncio.Task[None] | None = None

    def join(self, keys: Sequence[Key]) -> asyncio.Future[_Found]:
        """Ask for ``keys`` too; the future gets what is found under all keys."""
        self.keys.update(dict.fromkeys(keys))
        self.asked += len(keys)
        waiter: asyncio.Future[_Found] = self.loop.create_future()
        self.waiters.append(waiter)
        return waiter

    @property
    def is_deserted(self) -> bool:
        """Whether nobody waits any more."""
        return all(waiter.done() for waiter in self.waiters)

    def tell(self, found: _Found) -> None:
        """Answer everybody who still waits."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(found)

    def fail(self, exc: BaseException) -> None:
        """Let everybody who still waits hear of the failure."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(exc)


class CoalescedEntities(PassingEntities):
    """The same port; gets that are begun in one turn of the event loop become one get of ``inner``.

    Each key is read once, and each caller gets copies of its own. A caller that is cancelled disturbs nobody; the call
    is cancelled when the last one has gone. An error of the call reaches all callers, so that checks of arguments
    belong around this layer, not inside. The call stands under no caller's deadline, so deadlines belong around too.

    Args:
        inner: the store, without its checks; of the feature ``entities.batch_get``.
    """

    def __init__(self, inner: EntityStore) -> None:
        super().__init__(inner)
        self._gathering: dict[bool, _Batch] = {}
        self._flying: set[asyncio.Task[None]] = set()

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``, read together with what others ask for at the same moment."""
        if not 0 < len(keys) < _KEYS_OF_A_BATCH:
            return await self.inner.get(keys, consistent=consistent)
        batch = self._batch(consistent)
        waiter = batch.join(keys)
        try:
            found = await waiter
        except asyncio.CancelledError:
            if batch.task is not None and batch.is_deserted:
                batch.task.cancel()
            raise
        if batch.asked == len(batch.keys):
            return [found[key] for key in keys]
        return [_copy(found[key]) for key in keys]

    async def close(self) -> None:
        """End the calls under way, whose callers hear that the store is closed, and release everything."""
        flying = list(self._flying)
        for task in flying:
            task.cancel()
        if flying:
            await asyncio.wait(flying)
        await super().close()

    def _batch(self, consistent: bool) -> _Batch:
        """The batch that gathers now; it leaves when the loop comes around."""
        loop = asyncio.get_running_loop()
        batch = self._gathering.get(consistent)
        if batch is None or batch.loop is not loop:
            batch = self._gathering[consistent] = _Batch(loop)
            loop.call_soon(self._send, batch, consistent, context=timeless())
        return batch

    def _send(self, batch: _Batch, consistent: bool) -> None:
        if self._gathering.get(consistent) is batch:
            del self._gathering[consistent]
        if batch.is_deserted:
            return
        batch.task = batch.loop.create_task(self._fetch(batch, consistent))
        self._flying.add(batch.task)
        batch.task.add_done_callback(self._flying.discard)

    async def _fetch(self, batch: _Batch, consistent: bool) -> None:
        keys = list(batch.keys)
        try:
            records = await self.inner.get(keys, consistent=consistent)
        except asyncio.CancelledError:
            batch.fail(Unavailable("The store was closed during the call; open it again."))
            raise
        except BaseException as exc:  # belongs to the callers, one and all
            batch.fail(exc)
        else:
            batch.tell(dict(zip(keys, records, strict=True)))


def _copy(record: Record | None) -> Record | None:
    if record is None:
        return None
    return replace(record, fields=dict(record.fields), index_keys=dict(record.index_keys))
