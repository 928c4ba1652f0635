"""The EntityStore port: versioned records under two-part keys, with ordered partitions and overloaded indexes.

The port speaks records. Models, key templates, cursors, uniqueness, upgrades, filters and sizes live above it, once.
Every limit here is the production stack's, and is checked above the adapter (``storycore.layers.checks``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType, Protocol, TypeAlias

from storycore.ports.conditions import ANY, PRESENT, Condition, Version
from storycore.ports.lifecycle import Port

__all__ = [
    "INDEX_SLOTS",
    "KEEP",
    "Action",
    "Change",
    "ChangePage",
    "Check",
    "Delete",
    "EntityStore",
    "FeedPosition",
    "FieldValue",
    "Keep",
    "Key",
    "Patch",
    "Position",
    "Put",
    "QueryPlan",
    "Record",
    "RecordPage",
    "Segment",
    "Write",
    "Written",
]

INDEX_SLOTS = 8
"""How many overloaded secondary indexes a store has: slots 1 to 8."""

FieldValue: TypeAlias = str | int | float | bool | Decimal | frozenset[str]
"""What a promoted field may hold. Numbers: at most 38 significant digits, finite; sets: not empty.

A value comes back equal and of its type; trailing zeros of a ``Decimal`` and the sign of zero need not be kept."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A record's address: partition and sort key, both non-empty text.

    Order is by UTF-8 bytes, which is Python's order of ``str``. At most 2048 bytes for ``pk`` and 1024 for ``sk``
    (DynamoDB: limits of partition and sort keys). Partitions that
    begin with U+0000 and ``storycore`` are the adapters' own.
    """

    pk: str
    sk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a store keeps under a key.

    Args:
        key: the address.
        kind: which entity declaration wrote it.
        version: issued by the adapter with the last write.
        expires_at: from this instant on the record is absent for every operation; ``None``: never. Comes back in UTC,
            to the microsecond.
        index_keys: slot (1 to 8) to the key under which that index lists the record; absent slots do not list it.
            An index orders by (index sk, pk, sk): the three together are at most 1024 bytes, see ``index_place``.
        fields: promoted values: counters, sets, and what a server-side filter may look at.
        body: everything else, opaque to the store.
    """

    key: Key
    kind: str
    version: Version
    expires_at: datetime | None = None
    index_keys: Mapping[int, Key] = field(default_factory=dict)
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    body: bytes = b""


class Keep(StrEnum):
    """Leave a part of the record as it is."""

    KEEP = "keep"


KEEP = Keep.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Replace the whole record under ``key``, or create it. What the new record does not say is gone."""

    key: Key
    kind: str
    expires_at: datetime | None = None
    index_keys: Mapping[int, Key] = field(default_factory=dict)
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    body: bytes = b""
    when: Condition = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Change parts of a live record in one atomic step; what is not named stays.

    Args:
        add: field to the number that is added to it; a missing field counts as 0.
        set: field to its new value. A field stands in one of ``add``, ``set``, ``unset``, ``include`` and ``exclude``.
        unset: fields to remove; removing a missing field is no error.
        include: field to the members that its set gains; a missing field counts as the empty set.
        exclude: field to the members that its set loses; members that are not there are no error, and a set that
            loses its last member is gone.
        body: the new body.
        index_keys: the new index keys, all slots at once.
        expires_at: the new expiry; ``None`` removes it.
        when: never ``ABSENT``; ``ANY`` counts as ``PRESENT``, for a patch never creates.
    """

    key: Key
    add: Mapping[str, int | Decimal] = field(default_factory=dict)
    set: Mapping[str, FieldValue] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()
    include: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exclude: Mapping[str, frozenset[str]] = field(default_factory=dict)
    body: bytes | Keep = KEEP
    index_keys: Mapping[int, Key] | Keep = KEEP
    expires_at: datetime | Keep | None = KEEP
    when: Condition = PRESENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Remove the record under ``key``. With ``ANY`` a missing record is no error."""

    key: Key
    when: Condition = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Write nothing, but let the atomic write fail unless the condition holds. Only in atomic writes."""

    key: Key
    when: Condition = PRESENT


Write: TypeAlias = Put | Patch | Delete | Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a write did.

    Args:
        key: of the write.
        version: the new version; of a delete or check the one that was there, ``None`` if nothing was.
        created: whether nothing live was there before. Always ``False`` for patch, delete and check.
        record: the record as it now is, after a put or a patch; ``None`` after a delete or check.
    """

    key: Key
    version: Version | None
    created: bool = False
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a query or scan stopped: the last record's key and, on an index, its index key."""

    key: Key
    index_key: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """One partition of the table or of an index, a range of sort keys, a direction.

    Args:
        pk: the partition (of the index, when ``slot`` is given).
        slot: which index; ``None``: the table itself.
        low: sort keys from here on, inclusive; ``None``: from the first.
        high: sort keys below this, exclusive; ``None``: to the last.
        reverse: descending order.
        limit: at most so many records, 1 to 1000.
        after: go on behind this record, whether or not it still exists.
        consistent: see every write that returned before; refused on an index, which may lag.
        bodies: ``False`` gives records with an empty body, which is cheaper where the fields are enough.
    """

    pk: str
    slot: int | None = None
    low: str | None = None
    high: str | None = None
    reverse: bool = False
    limit: int = 100
    after: Position | None = None
    consistent: bool = False
    bodies: bool = True


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records and where to go on.

    Args:
        records: may be fewer than the limit, or none, even when there is more.
        next: hand it in as ``after``; ``None`` only when nothing is left.
    """

    records: Sequence[Record]
    next: Position | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One of ``of`` disjoint parts of the whole store, numbered from 0."""

    index: int = 0
    of: int = 1


FeedPosition = NewType("FeedPosition", str)
"""A place in the change feed; issued by the adapter, not parsed by callers."""


class Action(StrEnum):
    """What happened to a record."""

    PUT = "put"
    DELETE = "delete"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write, as the feed tells it.

    Args:
        position: behind this change.
        at: when it was written; of a delete or an expiry, when the store noticed it, by the store's own clock.
        action: a patch is told as ``put``.
        key: of the record.
        kind: of the record.
        version: after a put the new one; after a delete or expiry the last one.
        record: the new state after a put; ``None`` after a delete or expiry.
    """

    position: FeedPosition
    at: datetime
    action: Action
    key: Key
    kind: str
    version: Version
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes and where to go on; ``next`` is always a position, so that a reader at the end can wait.

    Args:
        changes: may be fewer than the limit even when there is more.
        next: hand it in as ``after``.
        is_end: everything that the feed had when the page was asked for lies before ``next``, so that what it and
            those before it tell is the state of one moment; where the feed lags (limit ``entities.changes_lag_ms``),
            it is all that was written so long before. ``False`` where the adapter cannot know.
    """

    changes: Sequence[Change]
    next: FeedPosition
    is_end: bool = False


class EntityStore(Port, Protocol):
    """Versioned records under two-part keys.

    Promised by every adapter:

    - A record whose ``expires_at`` is not after the clock's present is absent: for reads, queries, scans, conditions
      and transactions alike. ``Put(when=ABSENT)`` over it creates.
    - Versions grow with every write of a key, also across delete and re-create.
    - A failed write leaves no trace. A returned write is durable to the degree that the capabilities state.
    - Changing a mapping that was handed in or out changes nothing in the store.
    - Reads by key and queries of the table see every write that returned before they began.
    - An index lists a record exactly under its present index key, at once or after the lag that the adapter states.
    - Index order is (index sort key, pk, sk); a query of the table is in sort-key order; ``reverse`` is its mirror.
    """

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``, in their order; ``None`` where there is none. Keys may repeat.

        Any number of keys; an empty sequence gives an empty list. An adapter for which one call with many keys costs
        less than many calls claims the feature ``entities.batch_get``; gets of one moment then reach it as one call.
        """
        ...

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes; the result has one entry per write, in order.

        Args:
            writes: each key at most once. With ``atomic`` at most 100 and 4 MiB (DynamoDB: TransactWriteItems).
            atomic: all or nothing; conditions are judged against the state before the call.
            token: makes an atomic write idempotent for 10 minutes: the same token with the same writes returns the
                first result without writing again; with other writes it is an ``InvalidArgument``. 1 to 36 ASCII
                characters; a refused write does not use it up. It takes the place of one of the 100 writes.

        Raises:
            AlreadyExists, NotFound, VersionConflict: the only write's condition failed.
            TransactionConflict: an atomic call was refused; ``reasons`` names each failing position. Raised for a
                single atomic write too.
            PartialFailure: some of several non-atomic writes failed; the others are done.
            InvalidArgument: a key repeats, a patch adds to a field that is not a number, includes in or excludes from
                one that is not a set, or makes a sum of more than 38 significant digits.
            TooLarge: a record, also as a patch leaves it, is larger than 400 KiB (DynamoDB: item size).
        """
        ...

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order."""
        ...

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment, in no particular order; segments partition the store.

        A record that exists during the whole walk appears exactly once.
        """
        ...

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        """The change feed behind ``after`` (``None``: the oldest kept), in an order that keeps each key's order.

        Feature ``entities.changes``. At least once; resumable from any position, as long as the feed is kept (limit
        ``entities.changes_kept_seconds``; without it as long as the store is).

        Raises:
            FeedGap: changes behind ``after`` have been trimmed.
            InvalidArgument: ``after`` is not a position of this feed.
        """
        ...

    async def changes_end(self) -> FeedPosition:
        """The end of the change feed: where somebody begins who wants to hear only of what is written from now on.

        Feature ``entities.changes``. Whatever is written after the call returned is told behind it. What was written
        before the call is not, but for what a feed that lags (limit ``entities.changes_lag_ms``) did not tell yet.
        What it costs should not grow with the feed; where the service knows no end, the adapter walks there.
        """
        ...

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        """How this store would answer ``query(plan)``, in its own tongue: a request, or the steps of a query planner.

        Feature ``entities.explain``. Reads no records. Plain values that JSON knows, never a secret.
        """
        ...

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        """Physically remove up to ``budget`` records that expired at or before ``now``; returns how many.

        Each is told in the feed once, as ``expire``. Never needed for correctness, only for space. A record that is
        live by the store's clock stays, whatever ``now`` is. A ``dry_run`` counts them, and changes nothing.
        """
        ...
