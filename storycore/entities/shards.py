"""Reading the partitions that one access pattern is spread over as if they were one, in the one order of the index."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from math import ceil, isqrt
from typing import Any, TypeVar

from storycore.entities.walks import Read
from storycore.ports.entities import EntityStore, Key, Position, QueryPlan, Record, RecordPage

__all__ = ["chunk_length", "reader"]

T = TypeVar("T")


def reader(store: EntityStore, plans: Sequence[QueryPlan]) -> Callable[[bool], Read]:
    """Makes readers, for one page each, of a partition or of all its shards; the argument is whether to descend."""

    def make(reverse: bool) -> Read:
        turned = [replace(plan, reverse=reverse) for plan in plans]
        if len(turned) > 1:
            return _Shards(store, turned).read
        [plan] = turned

        async def read(after: Position | None, limit: int) -> RecordPage:
            return await store.query(replace(plan, after=after, limit=limit))

        return read

    return make


def chunk_length(wanted: int, shards: int) -> int:
    """How many records to read of each shard at a time: an even share, and what chance may add to it."""
    share = ceil(wanted / shards)
    return min(wanted, share + isqrt(share) + 1)


@dataclass(slots=True)
class _Shard:
    """What is known of one partition: records that were read and not yet given, and where to go on."""

    plan: QueryPlan
    records: deque[Record] = field(default_factory=deque)
    is_read: bool = False

    async def fill(self, store: EntityStore, length: int) -> None:
        """Read on until there is a record, or no more."""
        while not self.records and not self.is_read:
            page = await store.query(replace(self.plan, limit=length))
            self.records.extend(page.records)
            self.plan = replace(self.plan, after=page.next)
            self.is_read = page.next is None


class _Shards:
    """All shards of one partition, merged; what was read ahead serves the next read.

    Args:
        store: where the records are.
        plans: one of an index for each shard, alike but for the partition.
    """

    def __init__(self, store: EntityStore, plans: Sequence[QueryPlan]) -> None:
        self._store = store
        self._plans = plans
        self._reverse = plans[0].reverse
        self._shards: dict[str, _Shard] = {}
        self._at: Position | None = None

    async def read(self, after: Position | None, limit: int) -> RecordPage:
        """The first ``limit`` records behind a position; fewer only at the end."""
        if not self._shards or after != self._at:
            self._begin(after)
        given: list[Record] = []
        while len(given) < limit and await self._fill(limit - len(given)):
            given += self._take(limit - len(given))
        rest = any(shard.records or not shard.is_read for shard in self._shards.values())
        self._at = Position(given[-1].key, self._listed(given[-1])) if given and rest else None
        return RecordPage(given, self._at)

    def _begin(self, after: Position | None) -> None:
        self._shards = {plan.pk: _Shard(replace(plan, after=_in_shard(after, plan.pk))) for plan in self._plans}

    async def _fill(self, wanted: int) -> bool:
        """Read something of every shard that may have the next record; ``False`` when nothing is left."""
        unread = [shard for shard in self._shards.values() if not shard.is_read]
        if unread:
            length = chunk_length(wanted, len(unread))
            await _all_of([shard.fill(self._store, length) for shard in unread if not shard.records])
        return any(shard.records for shard in self._shards.values())

    def _take(self, wanted: int) -> list[Record]:
        """Records which no unread one can precede, in order."""
        edges = [self._place(shard.records[-1]) for shard in self._shards.values() if not shard.is_read]
        edge = (max(edges) if self._reverse else min(edges)) if edges else None
        taken: list[Record] = []
        every = (shard.records for shard in self._shards.values())
        for record in merge(*every, key=self._place, reverse=self._reverse):
            place = self._place(record)
            if len(taken) == wanted or (edge is not None and (place < edge if self._reverse else place > edge)):
                break
            taken.append(record)
        for record in taken:
            self._shards[self._listed(record).pk].records.popleft()
        return taken

    def _listed(self, record: Record) -> Key:
        slot = self._plans[0].slot
        assert slot is not None
        return record.index_keys[slot]

    def _place(self, record: Record) -> tuple[str, str, str]:
        return self._listed(record).sk, record.key.pk, record.key.sk


def _in_shard(after: Position | None, pk: str) -> Position | None:
    """The same place of the order, in another shard."""
    if after is None or after.index_key is None:
        return None
    return Position(after.key, Key(pk, after.index_key.sk))


async def _all_of(calls: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run calls at the same time; when one fails, the others are cancelled and its error is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
