"""Entities in backups: a scan, and the change feed over it, give the state of one moment on every store with a feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from storycore.backup.entries import Entry
from storycore.backup.items import ending, put_of, record_head, record_item, record_key
from storycore.backup.manifest import PortContent
from storycore.backup.sources.contract import Contents, Reached, Sink, Step
from storycore.entities.leases import OWN_KINDS
from storycore.errors import AlreadyExists, FeedGap, InvalidArgument, PartialFailure
from storycore.layers.spilled_bodies import PLACE_KIND
from storycore.ports.conditions import ABSENT, ANY, Condition
from storycore.ports.entities import (
    Change,
    ChangePage,
    Delete,
    EntityStore,
    FeedPosition,
    Key,
    Record,
    Segment,
    Write,
    Written,
)
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

__all__ = ["EntitySource", "Fed", "Told"]

_PAGE = 500
_FEED_PAGE = 1000
_OWN_KINDS = OWN_KINDS | {PLACE_KIND}
"""What a store keeps about itself, and another one must not take over."""


@dataclass(frozen=True, slots=True)
class Told:
    """A change as the feed tells it.

    Args:
        at: when it was written, by the store.
        step: what it did.
    """

    at: datetime
    step: Step


@dataclass(frozen=True, slots=True)
class Fed:
    """A page of the feed.

    Args:
        told: what it tells, in order, without what a store keeps about itself.
        next: the position behind it.
        until: whatever was written before lies before ``next``; ``None`` where the feed goes on.
    """

    told: Sequence[Told]
    next: str
    until: datetime | None


class EntitySource:
    """The records of a store, with whole bodies.

    Args:
        store: the open port, behind the layer that spills.
        env: time.
    """

    name = str(PortName.ENTITIES)
    forgets = True

    def __init__(self, store: EntityStore, env: Environment) -> None:
        self._store = store
        self._env = env
        self.lag = timedelta(milliseconds=store.capabilities.limits.get("entities.changes_lag_ms", 0))

    async def read(self, sink: Sink) -> Reached:
        """Scan, then replay what was written meanwhile, until nothing is left: the state at that moment."""
        if not self._store.capabilities.has("entities.changes"):
            begun = self._env.clock.now()
            await self._scan_into(sink)
            return Reached(begun, "fuzzy", reason=f"{self._store.info.adapter} has no change feed")
        begin = await self._store.changes_end()
        await self._scan_into(sink)
        try:
            return await self._replay(sink, begin)
        except FeedGap as exc:
            return Reached(self._env.clock.now(), "fuzzy", reason=exc.message)

    async def tells(self, parent: PortContent) -> bool:
        """Where there is a feed; that it no longer reaches back shows when it is read."""
        return parent.position is not None

    async def read_changes(self, sink: Sink, parent: PortContent) -> Reached:
        """Replay the feed from the backup's position to its end.

        Raises:
            FeedGap: it no longer reaches so far back.
        """
        return await self._replay(sink, parent.position)

    def check(self, facts: Mapping[str, str | int]) -> None:
        """Any store takes any record."""

    def is_live(self, entry: Entry) -> bool:
        """Whether the record's time has not come."""
        ends = None if entry.item is None else ending(entry.item)
        return ends is None or ends > self._env.clock.now()

    def kind(self, entry: Entry) -> str:
        """The record's kind; ``""`` where it is gone."""
        return "" if entry.item is None else put_of(entry.item).kind

    async def scan(self) -> AsyncIterator[list[Entry]]:
        """All live records."""
        async for records in self._records():
            yield [step.entry for step in _steps(records)]

    async def held(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The records under these keys."""
        found = await self._store.get([_key(key) for key in keys])
        return [None if record is None else record_item(record) for record in found]

    async def apply(self, entries: Sequence[Entry], contents: Contents, *, overwrite: bool) -> list[bool]:
        """Put and delete records, all in one call."""
        writes = await asyncio.to_thread(_writes, entries, ANY if overwrite else ABSENT)
        return await self._written(writes) if writes else []

    async def _written(self, writes: Sequence[Write]) -> list[bool]:
        try:
            return [True for _ in await self._store.write(writes)]
        except AlreadyExists:
            return [False]
        except PartialFailure as exc:
            for outcome in exc.outcomes:
                if isinstance(outcome, Exception) and not isinstance(outcome, AlreadyExists):
                    raise outcome from exc
            return [isinstance(outcome, Written) for outcome in exc.outcomes]

    async def _scan_into(self, sink: Sink) -> None:
        async for records in self._records():
            await sink.base(_steps(records))

    async def _records(self) -> AsyncIterator[Sequence[Record]]:
        after = None
        while True:
            page = await self._store.scan(Segment(), after=after, limit=_PAGE)
            yield page.records
            if (after := page.next) is None:
                return

    async def feed(self, position: str | None) -> Fed:
        """The changes behind a position (``None``: the oldest that are kept), and up to when nothing is missing.

        Raises:
            FeedGap: changes behind the position are no longer kept, or it is of another feed than the store's.
        """
        looked = self._env.clock.now()
        page = await self._page(position)
        told = [Told(change.at, _changed(change)) for change in page.changes if change.kind not in _OWN_KINDS]
        is_end = page.is_end or not page.changes
        return Fed(told, str(page.next), looked - self.lag if is_end else None)

    async def _page(self, position: str | None) -> ChangePage:
        try:
            return await self._store.changes(None if position is None else FeedPosition(position), limit=_FEED_PAGE)
        except InvalidArgument as exc:
            raise FeedGap(f"The store was made anew since the last backup of it: {exc.message}") from exc

    async def _replay(self, sink: Sink, position: str | None) -> Reached:
        """Apply the changes up to this moment; what was written since is left to the next increment.

        Stamps that lie ahead of the clock are of one that went wrong, and what bears them is not left out.
        """
        moment, has_waited = self._env.clock.now(), not self.lag
        resume: list[str | None] = []
        while True:
            fed = await self.feed(position)
            now = self._env.clock.now()
            later = [moment < told.at <= now for told in fed.told]
            await sink.change([told.step for told, is_later in zip(fed.told, later, strict=True) if not is_later])
            if any(later):
                resume.append(position)
            position = fed.next
            if fed.until is None and not (later and all(later)):
                continue
            if has_waited:
                return Reached(moment, "point", position=[*resume, position][0])
            await asyncio.sleep(self.lag.total_seconds())
            has_waited = True


def _steps(records: Sequence[Record]) -> Iterator[Step]:
    return (_step(record) for record in records if record.kind not in _OWN_KINDS)


def _step(record: Record) -> Step:
    key = record_key(record.key)
    return Step(key, record_head(record, key), record.body, record.expires_at)


def _changed(change: Change) -> Step:
    if change.record is None:
        return Step(record_key(change.key), None)
    return _step(change.record)


def _key(data: bytes) -> Key:
    pk, sk = orjson.loads(data)
    return Key(pk, sk)


def _writes(entries: Sequence[Entry], when: Condition) -> list[Write]:
    return [Delete(key=_key(each.key)) if each.item is None else put_of(each.item, when) for each in entries]
