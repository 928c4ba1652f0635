"""Events in one DynamoDB table: a log with one order, whoever emits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from storycore.ports.capabilities import Capabilities, Durability, Guarantees
from storycore.ports.environment import Environment
from storycore.ports.events import Emitted, Event, EventPage, Offset
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore_dynamodb._log import LogWriter
from storycore_dynamodb._log_reads import LogReader
from storycore_dynamodb._log_trims import trim
from storycore_dynamodb.config import DynamodbEventsConfig
from storycore_dynamodb.entities import DynamodbEntityStore

__all__ = ["DynamodbEventSink", "open_events"]

N = TypeVar("N")


def open_events(config: DynamodbEventsConfig, env: Environment) -> DynamodbEventSink:
    """The event sink of the adapter ``dynamodb``."""
    return DynamodbEventSink(DynamodbEntityStore(config, env), env)


class DynamodbEventSink(Lifecycle):
    """An append-only log in a table of its own, which any number of machines may write to.

    Args:
        table: where the log lies, not yet open.
        env: chance, for the pauses between attempts.
    """

    def __init__(self, table: DynamodbEntityStore, env: Environment) -> None:
        self._table = table
        self._reader = LogReader(table)
        self._writer = LogWriter(table, self._reader, env)

    @property
    def info(self) -> AdapterInfo:
        """The adapter's name and version, the table and where it is."""
        return self._table.info

    @property
    def capabilities(self) -> Capabilities:
        """In three places of a region before an emit returns; any number of machines."""
        return Capabilities(guarantees=Guarantees(Durability.REPLICATED, multi_process=True))

    async def open(self) -> None:
        """Connect; the table must exist and be of this layout."""
        await self._table.open()
        self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the table, or what it lacks."""
        return await self._table.ensure(dry_run=dry_run)

    async def health(self, *, deep: bool = False) -> Health:
        """Ask the service for the table."""
        return await self._table.health(deep=deep)

    def native(self, kind: type[N]) -> N:
        """The raw client of the table, else ``Unsupported``."""
        return self._table.native(kind)

    async def close(self) -> None:
        """Close the connections, once what was emitted has come to its end."""
        if self._opened:
            self._opened = False
            await self._writer.settled()
            await self._table.close()

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        """Append events; calls that meet share a transaction, and a long one takes several."""
        self._require_open()
        return await self._writer.emit(events) if events else []

    async def read(
        self,
        after: Offset | None = None,
        *,
        types: Sequence[str] = (),
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
    ) -> EventPage:
        """Events behind ``after``; what is not wanted is read all the same, and passed over."""
        self._require_open()

        def is_wanted(event: Event) -> bool:
            return (
                (not types or event.type in types)
                and (subject is None or event.subject == subject)
                and (since is None or since <= event.at)
                and (until is None or event.at < until)
            )

        return await self._reader.page(after, limit, is_wanted)

    async def trim(self, before: datetime) -> int:
        """Remove events with ``at < before``; the whole log is read for it."""
        self._require_open()
        return await trim(self._table, self._reader, before)
