"""An entity store that passes everything on: what wrappers derive from that change only some of the verbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from storycore.layers.checks.forward import Forward
from storycore.ports.entities import (
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

__all__ = ["PassingEntities"]


class PassingEntities(Forward[EntityStore]):
    """The same port, unchanged."""

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``."""
        return await self.inner.get(keys, consistent=consistent)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes."""
        return await self.inner.write(writes, atomic=atomic, token=token)

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order."""
        return await self.inner.query(plan)

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment."""
        return await self.inner.scan(segment, after=after, limit=limit)

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        """The change feed."""
        return await self.inner.changes(after, limit=limit)

    async def changes_end(self) -> FeedPosition:
        """The end of the change feed."""
        return await self.inner.changes_end()

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        """The store's own account of a query."""
        return await self.inner.explain(plan)

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        """Physically remove expired records."""
        return await self.inner.expire(now, budget=budget, dry_run=dry_run)
