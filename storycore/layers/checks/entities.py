"""The limits of the EntityStore port, checked before any I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from storycore.errors import InvalidArgument, InvalidKey
from storycore.layers.checks.forward import Forward
from storycore.layers.checks.text import (
    PK_BYTES,
    RESERVED,
    SK_BYTES,
    check_key,
    check_key_part,
    check_sequence,
    check_whole_number,
    is_plain,
)
from storycore.layers.checks.writes import check_writes
from storycore.ports.entities import (
    INDEX_SLOTS,
    ChangePage,
    EntityStore,
    FeedPosition,
    Key,
    Position,
    QueryPlan,
    Record,
    RecordPage,
    Segment,
    Write,
    Written,
)

__all__ = ["CheckedEntities"]

_PAGE = 1000
_SEGMENTS = 1_000_000
_BUDGET = 1_000_000


class CheckedEntities(Forward[EntityStore]):
    """An entity store that refuses what production would refuse."""

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under valid keys."""
        if type(keys) is not list:
            check_sequence(keys, what="keys")
        for key in keys:
            if not is_plain(key):
                check_key(key)
        return await self.inner.get(keys, consistent=consistent)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes that keep to every limit."""
        check_writes(writes, atomic=atomic, token=token)
        return await self.inner.write(writes, atomic=atomic, token=token)

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, for a plan without contradiction."""
        _check_plan(plan)
        return await self.inner.query(plan)

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment."""
        if not isinstance(segment, Segment):
            raise InvalidArgument(f"A scan takes a Segment, not a {type(segment).__name__}.")
        check_whole_number(segment.of, 1, _SEGMENTS, what="number of segments")
        check_whole_number(segment.index, 0, segment.of - 1, what="segment")
        check_whole_number(limit, 1, _PAGE, what="limit")
        if after is not None:
            _check_position(after, slot=None)
        return await self.inner.scan(segment, after=after, limit=limit)

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        """The change feed, where the adapter has one."""
        self.inner.capabilities.demand("entities.changes", adapter=self.inner.info.adapter)
        check_whole_number(limit, 1, _PAGE, what="limit")
        if after is not None and not isinstance(after, str):
            raise InvalidArgument(f"A feed position is text that changes() returned, not {type(after).__name__}.")
        return await self.inner.changes(after, limit=limit)

    async def changes_end(self) -> FeedPosition:
        """The end of the change feed, where the adapter has one."""
        self.inner.capabilities.demand("entities.changes", adapter=self.inner.info.adapter)
        return await self.inner.changes_end()

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        """The store's own account of a query, where the adapter gives one."""
        self.inner.capabilities.demand("entities.explain", adapter=self.inner.info.adapter)
        _check_plan(plan)
        return await self.inner.explain(plan)

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        """Remove expired records."""
        if not isinstance(now, datetime) or now.utcoffset() is None:
            raise InvalidArgument("expire() needs a datetime with a time zone; write datetime.now(UTC).")
        check_whole_number(budget, 1, _BUDGET, what="budget")
        return await self.inner.expire(now, budget=budget, dry_run=dry_run)


def _check_plan(plan: QueryPlan) -> None:
    if not isinstance(plan, QueryPlan):
        raise InvalidArgument(f"A query takes a QueryPlan, not a {type(plan).__name__}.")
    check_key_part(plan.pk, PK_BYTES, what="partition")
    if plan.pk.startswith(RESERVED):
        raise InvalidKey(f"The partition begins with {RESERVED!r}, which adapters keep for themselves.")
    check_whole_number(plan.limit, 1, _PAGE, what="limit")
    if plan.slot is not None:
        check_whole_number(plan.slot, 1, INDEX_SLOTS, what="index slot")
        if plan.consistent:
            raise InvalidArgument("An index may lag and cannot be read consistently; leave out consistent=True.")
    for name, bound in (("low", plan.low), ("high", plan.high)):
        if bound is not None:
            check_key_part(bound, SK_BYTES, what=f"bound {name!r}")
    if plan.low is not None and plan.high is not None and plan.low > plan.high:
        raise InvalidArgument("The bound 'low' lies above 'high'; exchange them, and use reverse for the order.")
    if plan.after is not None:
        _check_position(plan.after, slot=plan.slot)
        _check_partition(plan, plan.after)


def _check_position(after: Position, *, slot: int | None) -> None:
    if not isinstance(after, Position):
        raise InvalidArgument(f"after is a Position that a page gave as next, not a {type(after).__name__}.")
    check_key(after.key, what="position's key")
    if slot is None and after.index_key is not None:
        raise InvalidArgument("The position comes from a query of an index; go on with that query.")
    if slot is not None:
        if after.index_key is None:
            raise InvalidArgument(f"The position has no index key, so it does not come from index {slot}.")
        check_key(after.index_key, what="position's index key")


def _check_partition(plan: QueryPlan, after: Position) -> None:
    place = after.key if after.index_key is None else after.index_key
    if place.pk != plan.pk:
        raise InvalidArgument("The position lies in another partition than the query; go on with its own query.")
