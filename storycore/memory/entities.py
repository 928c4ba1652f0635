"""The reference entity store: a dict of records and a list of changes, as plain as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import dropwhile
from zlib import crc32

from storycore.errors import FeedGap, InvalidArgument, StorycoreError, Unsupported
from storycore.memory.config import MemoryConfig
from storycore.ports.capabilities import Capabilities, Support
from storycore.ports.conditions import Version
from storycore.ports.entities import (
    Action,
    Change,
    ChangePage,
    Delete,
    FeedPosition,
    Key,
    Patch,
    Position,
    Put,
    QueryPlan,
    Record,
    RecordPage,
    Segment,
    Write,
    Written,
)
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle
from storycore.ports.records import demand, is_live, patched, put_record, refusal, settled, transaction_conflict
from storycore.ports.write_digest import write_digest

__all__ = ["MemoryEntityStore", "open_entities"]

_FEED_RETENTION = timedelta(hours=24)
_TOKEN_WINDOW = timedelta(minutes=10)


def open_entities(config: MemoryConfig, env: Environment) -> MemoryEntityStore:
    """The entity store of the adapter ``memory``."""
    return MemoryEntityStore(env)


@dataclass(frozen=True)
class _Token:
    digest: bytes
    results: list[Written]
    until: datetime


class MemoryEntityStore(Lifecycle):
    """An entity store in a dict. Its operations never wait, so each is one atomic step."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._records: dict[Key, Record] = {}
        self._changes: list[Change] = []
        self._told = 0
        self._trimmed = 0
        self._feed = env.new_id()
        self._last_version = 0
        self._tokens: dict[str, _Token] = {}

    @property
    def info(self) -> AdapterInfo:
        """The adapter's name; it has no place."""
        return AdapterInfo(adapter="memory")

    @property
    def capabilities(self) -> Capabilities:
        """A change feed; nothing outlives the process."""
        return Capabilities(features={"entities.changes": Support.NATIVE})

    async def health(self, *, deep: bool = False) -> Health:
        """Whether it is open, and how many records it holds, expired ones included."""
        if not self._opened:
            return Health(ok=False, detail="The store is not open; call open().")
        return Health(ok=True, facts={"records": len(self._records), "changes": len(self._changes)})

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``."""
        self._require_open()
        return [None if (found := self._live(key)) is None else _copy(found) for key in keys]

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes one by one, or all or nothing."""
        self._require_open()
        if not atomic:
            return self._write_each(writes)
        if token is None:
            return self._write_all(writes)
        return self._write_once(list(writes), token)

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order."""
        self._require_open()
        found = sorted(
            (
                (place, record)
                for record in self._all_live()
                if (place := _place(record, plan.slot)) is not None and place[0] == plan.pk
            ),
            key=lambda pair: pair[0],
            reverse=plan.reverse,
        )
        behind = None if plan.after is None else _place_of(plan.after, plan.slot)
        matching = [
            record if plan.bodies else replace(record, body=b"")
            for place, record in found
            if (plan.low is None or place[1] >= plan.low)
            and (plan.high is None or place[1] < plan.high)
            and (behind is None or (place < behind if plan.reverse else place > behind))
        ]
        return _page(matching, plan.limit, plan.slot)

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment, in an order that nobody should rely on."""
        self._require_open()
        matching = sorted(
            (record for record in self._all_live() if crc32(record.key.pk.encode()) % segment.of == segment.index),
            key=lambda record: _scan_place(record.key),
        )
        if after is not None:
            matching = [record for record in matching if _scan_place(record.key) > _scan_place(after.key)]
        return _page(matching, limit, None)

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        """The change feed behind ``after``."""
        self._require_open()
        start = self._trimmed if after is None else self._number(after)
        if start < self._trimmed:
            raise FeedGap(f"Changes behind {after!r} are no longer kept; start again from a full scan.")
        found = self._changes[start - self._trimmed :][:limit]
        told, end = tuple(_copy_change(change) for change in found), start + len(found)
        return ChangePage(told, self._position(end), is_end=end == self._trimmed + len(self._changes))

    async def changes_end(self) -> FeedPosition:
        """Behind the last change."""
        self._require_open()
        return self._position(self._trimmed + len(self._changes))

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        """Not here."""
        raise Unsupported("A dict in memory has no query planner.", feature="entities.explain")

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        """Remove expired records, forget old tokens and changes older than 24 hours."""
        self._require_open()
        present = min(now, self._env.clock.now())
        gone = [record for record in self._records.values() if not is_live(record, present)][:budget]
        if dry_run:
            return len(gone)
        for record in gone:
            del self._records[record.key]
            self._tell(Action.EXPIRE, record)
        self._trim(present)
        return len(gone)

    def _live(self, key: Key) -> Record | None:
        record = self._records.get(key)
        return record if record is not None and is_live(record, self._env.clock.now()) else None

    def _all_live(self) -> list[Record]:
        now = self._env.clock.now()
        return [_copy(record) for record in self._records.values() if is_live(record, now)]

    def _write_each(self, writes: Sequence[Write]) -> list[Written]:
        outcomes: list[Written | StorycoreError] = []
        for write in writes:
            error = self._refusal(write)
            outcomes.append(self._apply(write) if error is None else error)
        return settled(outcomes)

    def _write_all(self, writes: Sequence[Write]) -> list[Written]:
        reasons = {i: error for i, write in enumerate(writes) if (error := self._refusal(write)) is not None}
        if reasons:
            raise transaction_conflict(reasons)
        return [self._apply(write) for write in writes]

    def _write_once(self, writes: list[Write], token: str) -> list[Written]:
        now, digest = self._env.clock.now(), write_digest(writes)
        known = self._tokens.get(token)
        if known is None or known.until <= now:
            known = _Token(digest, self._write_all(writes), now + _TOKEN_WINDOW)
            self._tokens[token] = known
        if known.digest != digest:
            raise InvalidArgument(f"The token {token!r} was used with other writes; take a new token.")
        return [_copy_written(result) for result in known.results]

    def _refusal(self, write: Write) -> StorycoreError | None:
        current = self._live(write.key)
        error = refusal(write.key, None if current is None else current.version, demand(write))
        if error is None and isinstance(write, Patch) and current is not None:
            try:
                patched(current, write, current.version)
            except InvalidArgument as exc:
                return exc
        return error

    def _apply(self, write: Write) -> Written:
        current = self._live(write.key)
        if isinstance(write, Put):
            record = self._store(put_record(write, self._next_version()))
            return Written(key=write.key, version=record.version, created=current is None, record=_copy(record))
        if isinstance(write, Patch) and current is not None:
            record = self._store(patched(current, write, self._next_version()))
            return Written(key=write.key, version=record.version, record=_copy(record))
        if isinstance(write, Delete) and current is not None:
            del self._records[write.key]
            self._tell(Action.DELETE, current)
        return Written(key=write.key, version=None if current is None else current.version)

    def _store(self, record: Record) -> Record:
        self._records[record.key] = record
        self._tell(Action.PUT, record)
        return record

    def _next_version(self) -> Version:
        self._last_version += 1
        return Version(self._last_version)

    def _tell(self, action: Action, record: Record) -> None:
        self._told += 1
        self._changes.append(
            Change(
                position=self._position(self._told),
                at=self._env.clock.now(),
                action=action,
                key=record.key,
                kind=record.kind,
                version=record.version,
                record=record if action is Action.PUT else None,
            )
        )

    def _trim(self, now: datetime) -> None:
        kept = list(dropwhile(lambda change: change.at <= now - _FEED_RETENTION, self._changes))
        self._trimmed += len(self._changes) - len(kept)
        self._changes = kept
        self._tokens = {name: token for name, token in self._tokens.items() if token.until > now}

    def _position(self, number: int) -> FeedPosition:
        return FeedPosition(f"{self._feed}.{number}")

    def _number(self, position: FeedPosition) -> int:
        feed, _, digits = position.rpartition(".")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= len(str(self._told))
        if feed != self._feed or not is_number or int(digits) > self._told:
            raise InvalidArgument(f"{position!r} is not a position of this feed; take one that changes() returned.")
        return int(digits)


def _copy(record: Record) -> Record:
    return replace(record, fields=dict(record.fields), index_keys=dict(record.index_keys))


def _copy_written(written: Written) -> Written:
    return written if written.record is None else replace(written, record=_copy(written.record))


def _copy_change(change: Change) -> Change:
    return change if change.record is None else replace(change, record=_copy(change.record))


def _place(record: Record, slot: int | None) -> tuple[str, ...] | None:
    if slot is None:
        return (record.key.pk, record.key.sk)
    listed = record.index_keys.get(slot)
    return None if listed is None else (listed.pk, listed.sk, record.key.pk, record.key.sk)


def _place_of(position: Position, slot: int | None) -> tuple[str, ...]:
    if slot is None or position.index_key is None:
        return (position.key.pk, position.key.sk)
    return (position.index_key.pk, position.index_key.sk, position.key.pk, position.key.sk)


def _scan_place(key: Key) -> tuple[int, Key]:
    return crc32(f"{key.pk}\0{key.sk}".encode()), key


def _page(records: Sequence[Record], limit: int, slot: int | None) -> RecordPage:
    shown = tuple(records[:limit])
    if len(records) <= limit:
        return RecordPage(shown)
    last = shown[-1]
    return RecordPage(shown, Position(last.key, None if slot is None else last.index_keys[slot]))
