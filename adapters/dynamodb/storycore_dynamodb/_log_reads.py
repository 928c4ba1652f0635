"""Reading a log of events on an entity store, and removing its beginning."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from storycore.ports.entities import EntityStore, QueryPlan
from storycore.ports.events import Event, EventPage, Offset, StoredEvent
from storycore_dynamodb._log_records import HEAD_KEY, PARTITION_EVENTS, Chunk, Head, chunk_of, first_sort_key, partition

__all__ = ["LogReader"]

_PAGE: Final = 1000


class LogReader:
    """Reads what of a log is seen.

    Args:
        store: where the log lies.
    """

    def __init__(self, store: EntityStore) -> None:
        self._store = store

    async def head(self) -> Head:
        """The state of the log."""
        (record,) = await self._store.get([HEAD_KEY], consistent=True)
        return Head.of(record)

    async def chunks(self, after: int, last: int) -> AsyncIterator[Chunk]:
        """The chunks with events behind ``after``, in order, up to the one that ends at ``last``."""
        low = first_sort_key(after)
        for start in range((after + 1) // PARTITION_EVENTS * PARTITION_EVENTS, last + 1, PARTITION_EVENTS):
            place = None
            while True:
                plan = QueryPlan(pk=partition(start), low=low, limit=_PAGE, after=place, consistent=True)
                page = await self._store.query(plan)
                for record in page.records:
                    yield chunk_of(record)
                if (place := page.next) is None:
                    break

    async def page(self, after: Offset | None, limit: int, wanted: Callable[[Event], bool]) -> EventPage:
        """The events behind ``after`` that are wanted, as many as the limit or all that there are."""
        start, head = after or Offset(0), await self.head()
        found: list[StoredEvent] = []
        async for chunk in self.chunks(max(start, head.first - 1), head.last):
            for stored in chunk.events:
                if start < stored.offset <= head.last and wanted(stored.event):
                    found.append(stored)
                    if len(found) == limit:
                        return EventPage(found, stored.offset)
        return EventPage(found, Offset(max(start, head.last)))
