"""Removing old events from a log: chunk by chunk, many chunks in a transaction where they are short."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from storycore.errors import TransactionConflict
from storycore.ports.entities import EntityStore, Write
from storycore.ports.events import StoredEvent
from storycore_dynamodb._log_reads import LogReader
from storycore_dynamodb._log_records import MOST_CHUNKS, MOST_WRITES, PARTITION_EVENTS, Chunk, chunk_of, without_marker

__all__ = ["trim"]


@dataclass(slots=True)
class _Batch:
    chunks: list[Chunk] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    removed: int = 0

    def takes(self, writes: Sequence[Write]) -> bool:
        return len(self.chunks) < MOST_CHUNKS and len(self.writes) + len(writes) <= MOST_WRITES

    def add(self, chunk: Chunk, writes: Sequence[Write]) -> None:
        self.chunks.append(chunk)
        self.writes.extend(writes)
        self.removed += len(writes) - 1


async def trim(store: EntityStore, reader: LogReader, before: datetime) -> int:
    """Remove the events with ``at < before``, and their markers with them; how many they were."""
    head = await reader.head()
    first: int | None = None
    removed, batch = 0, _Batch()
    async for chunk in reader.chunks(head.first - 1, head.last):
        writes, kept = _without(chunk, before)
        if kept and first is None:
            first = kept[0].offset
        if not writes:
            continue
        if not batch.takes(writes):
            removed, batch = removed + await _applied(store, batch, before), _Batch()
        batch.add(chunk, writes)
    removed += await _applied(store, batch, before)
    await _begin_at(store, reader, head.last + 1 if first is None else first)
    return removed


async def _applied(store: EntityStore, batch: _Batch, before: datetime) -> int:
    if not batch.writes:
        return 0
    try:
        await store.write(batch.writes, atomic=True)
    except TransactionConflict:  # somebody else trims too
        return sum([await _one(store, chunk, before) for chunk in batch.chunks])
    return batch.removed


async def _one(store: EntityStore, chunk: Chunk, before: datetime) -> int:
    while True:
        (record,) = await store.get([chunk.key], consistent=True)
        if record is None:
            return 0
        writes, _ = _without(chunk_of(record), before)
        if not writes:
            return 0
        with suppress(TransactionConflict):
            await store.write(writes, atomic=True)
            return len(writes) - 1


def _without(chunk: Chunk, before: datetime) -> tuple[list[Write], list[StoredEvent]]:
    """The writes that remove what is old from a chunk, the chunk's own first; none if nothing is. And what is kept."""
    kept = [stored for stored in chunk.events if stored.event.at >= before]
    if len(kept) == len(chunk.events):
        return [], kept
    own = replace(chunk, events=kept).put() if kept else chunk.delete()
    return [own, *(without_marker(stored) for stored in chunk.events if stored.event.at < before)], kept


async def _begin_at(store: EntityStore, reader: LogReader, first: int) -> None:
    """Spare readers the partitions in which nothing is left; where others write, the next trim does it."""
    head = await reader.head()
    if head.writing or first // PARTITION_EVENTS <= head.first // PARTITION_EVENTS:
        return
    with suppress(TransactionConflict):
        await store.write([replace(head, first=first).put(head)], atomic=True)
