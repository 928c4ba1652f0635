"""Spilling: records whose body is too long for the entity store keep it in the blob store, and nobody notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from storycore.errors import ConditionFailed, Corrupt, FeedGap, InvalidArgument, NotFound, PartialFailure
from storycore.layers.checks.text import check_key
from storycore.layers.checks.writes import check_writes
from storycore.layers.passing import PassingEntities
from storycore.layers.spill_sweep import SweepReport, sweep
from storycore.layers.spilled_bodies import POINTER_FIELD, Pointer, SpilledBodies, in_parallel, without_pointer
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import (
    Change,
    ChangePage,
    EntityStore,
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

__all__ = ["SpillingEntities"]

_PAGE_BYTES = 32 * 1024 * 1024
"""A page ends before the spilled bodies in it are more than this together; one is always in it."""

_ATTEMPTS = 4
_REFUSALS = (ConditionFailed, NotFound, InvalidArgument)
"""Errors after which it is certain that a write did not happen."""


@dataclass(frozen=True, slots=True)
class _Spill:
    """A body on its way out of a write."""

    key: Key
    body: bytes
    pointer: Pointer


class SpillingEntities(PassingEntities):
    """The same port; bodies beyond a kind's threshold lie in the blob store, and the record points there.

    A write stores the bodies first, each under a new name, and then the records. So a record never points to what is
    not there, and a failure in between leaves a body to which nothing points: ``sweep`` removes it.

    Args:
        inner: the store, behind its checks.
        blobs: keeps the bodies; borrowed.
        env: makes names, and tells the time.
        thresholds: kind to the longest body in bytes that stays in the record; may grow while the store is used.
        place: what the names of this store's blobs begin with; ``None``: an id that a record of the store keeps.
    """

    def __init__(
        self,
        inner: EntityStore,
        blobs: BlobStore,
        env: Environment,
        thresholds: Mapping[str, int | None],
        *,
        place: str | None = None,
    ) -> None:
        super().__init__(inner)
        self._env = env
        self._thresholds = thresholds
        self._bodies = SpilledBodies(blobs, env, inner, place)

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records with their whole bodies."""
        found = await self.inner.get(keys, consistent=consistent)
        if not _any_spilled(found):
            return found
        return await in_parallel(self._whole, found)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes whose bodies may be of any length.

        Raises:
            InvalidArgument: a write names the field that this layer keeps for itself; otherwise as the port says.
        """
        if not isinstance(writes, list | tuple | Sequence) or not any(map(self._concerns, writes)):
            return await self._finished(await self.inner.write(writes, atomic=atomic, token=token), {})
        reduced, spills = await self._reduced(writes, token)
        check_writes(reduced, atomic=atomic, token=token)
        await in_parallel(lambda spill: self._store(spill, token), list(spills.values()))
        try:
            written = await self.inner.write(reduced, atomic=atomic, token=token)
        except PartialFailure as exc:
            raise await self._partial(exc, spills) from exc
        except _REFUSALS:
            if token is None:
                await self._bodies.forget(spill.pointer for spill in spills.values())
            raise
        return await self._finished(written, spills)

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order; without bodies nothing is fetched."""
        page = await self.inner.query(plan)
        if not _any_spilled(page.records):
            return page
        if not plan.bodies:
            return replace(page, records=[without_pointer(record, b"") for record in page.records])
        return await self._whole_page(page, plan.slot)

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment."""
        page = await self.inner.scan(segment, after=after, limit=limit)
        return await self._whole_page(page, None) if _any_spilled(page.records) else page

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        """The change feed, with the bodies as they were written; a page ends before a change whose body is lost.

        Raises:
            FeedGap: also where the body of the first change, of an old version, is no longer kept.
            Corrupt: the body of the first change should be there and is not.
        """
        page = await self.inner.changes(after, limit=limit)
        if not _any_spilled([change.record for change in page.changes]):
            return page
        count = _fitting([change.record for change in page.changes])
        told: list[Change] = []
        for each in await in_parallel(self._told_or_lost, page.changes[:count]):
            if isinstance(each, Change):
                told.append(each)
            elif told:
                break
            else:
                raise each
        if len(told) < len(page.changes):
            return ChangePage(told, told[-1].position)
        return ChangePage(told, page.next, page.is_end)

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        """Physically remove expired records; their bodies are left to ``sweep``."""
        return await self.inner.expire(now, budget=budget, dry_run=dry_run)

    async def sweep(self, *, grace: timedelta = timedelta(hours=25), dry_run: bool = False) -> SweepReport:
        """Remove bodies to which no record has pointed for as long as ``grace``.

        Args:
            grace: longer than any read takes and than the change feed is kept, for both may still want them. A body is
                marked when it is first found without a record, and removed by a later sweep.
            dry_run: only tell what would be marked or removed.
        """
        return await sweep(self.inner, self._bodies, before=self._env.clock.now() - grace, dry_run=dry_run)

    def _concerns(self, write: object) -> bool:
        """Whether a write's body spills, or may replace one that has."""
        if isinstance(write, Put | Patch):
            _refuse_reserved(write)
        if isinstance(write, Put):
            longest = self._thresholds.get(write.kind) if isinstance(write.kind, str) else None
            is_long = longest is not None and isinstance(write.body, bytes) and len(write.body) > longest
            return is_long and isinstance(write.fields, Mapping)
        return (
            isinstance(write, Patch)
            and isinstance(write.body, bytes)
            and isinstance(write.set, Mapping)
            and isinstance(write.unset, frozenset)
        )

    async def _reduced(self, writes: Sequence[Write], token: str | None) -> tuple[list[Write], dict[int, _Spill]]:
        """The writes as the store gets them, and what is taken out of them by position."""
        reduced = list(writes)
        spills: dict[int, _Spill] = {}
        for position, write in enumerate(writes):
            if not self._concerns(write) or not isinstance(write, Put | Patch):
                continue
            assert isinstance(write.body, bytes)
            check_key(write.key)
            if isinstance(write, Patch) and not await self._spills(write):
                reduced[position] = replace(write, unset=write.unset | {POINTER_FIELD})
                continue
            pointer = await self._bodies.pointer(write.key, write.body, token)
            spills[position] = _Spill(write.key, write.body, pointer)
            reduced[position] = _pointing(write, pointer)
        return reduced, spills

    async def _spills(self, patch: Patch) -> bool:
        """Whether the body of a patch is too long for the kind of the record that it changes."""
        assert isinstance(patch.body, bytes)
        if len(patch.body) <= min((n for n in self._thresholds.values() if n is not None), default=len(patch.body)):
            return False
        [record] = await self.inner.get([patch.key], consistent=True)
        longest = None if record is None else self._thresholds.get(record.kind)
        return longest is not None and len(patch.body) > longest

    async def _store(self, spill: _Spill, token: str | None) -> None:
        await self._bodies.store(spill.key, spill.pointer, spill.body, is_repeatable=token is not None)

    async def _finished(self, written: Sequence[Written], spills: Mapping[int, _Spill]) -> list[Written]:
        """The results with whole records."""
        if not _any_spilled([each.record for each in written]):
            return list(written)
        return await in_parallel(lambda at: self._finish(written[at], spills.get(at)), range(len(written)))

    async def _finish(self, written: Written, spill: _Spill | None) -> Written:
        pointer = None if written.record is None else Pointer.of(written.record)
        if written.record is None or pointer is None:
            return written
        if spill is not None and spill.pointer == pointer:
            return replace(written, record=without_pointer(written.record, spill.body))
        return replace(written, record=await self._whole(written.record))

    async def _partial(self, exc: PartialFailure, spills: Mapping[int, _Spill]) -> PartialFailure:
        """The same failure with whole records; the bodies of refused writes are removed."""
        refused = [spill for at, spill in spills.items() if isinstance(exc.outcomes[at], _REFUSALS)]
        await self._bodies.forget(spill.pointer for spill in refused)
        outcomes = [
            await self._finish(outcome, spills.get(at)) if isinstance(outcome, Written) else outcome
            for at, outcome in enumerate(exc.outcomes)
        ]
        return PartialFailure(exc.message, outcomes=outcomes)

    async def _whole_page(self, page: RecordPage, slot: int | None) -> RecordPage:
        """The page with whole bodies, cut where they would be too much to hold."""
        shown = page.records[: _fitting(page.records)]
        last = shown[-1]
        records = [
            record
            for stored, record in zip(shown, await in_parallel(self._whole, shown), strict=True)
            if record is not None and (slot is None or record.index_keys.get(slot) == stored.index_keys.get(slot))
        ]
        if len(shown) == len(page.records):
            return RecordPage(records, page.next)
        return RecordPage(records, Position(last.key, None if slot is None else last.index_keys[slot]))

    async def _whole(self, record: Record | None) -> Record | None:
        """A record with its body; where the body has gone because the record was replaced, the record as it now is."""
        for _ in range(_ATTEMPTS):
            pointer = None if record is None else Pointer.of(record)
            if record is None or pointer is None:
                return record
            try:
                return without_pointer(record, await self._bodies.fetch(record.key, pointer))
            except NotFound as exc:
                [current] = await self.inner.get([record.key], consistent=True)
                if current is not None and current.version == record.version:
                    raise _missing(record.key, pointer) from exc
                record = current
        raise Corrupt("A record was replaced faster than its body could be read; read it again.")

    async def _told_or_lost(self, change: Change) -> Change | FeedGap | Corrupt:
        try:
            return await self._told(change)
        except (FeedGap, Corrupt) as exc:
            return exc

    async def _told(self, change: Change) -> Change:
        pointer = None if change.record is None else Pointer.of(change.record)
        if change.record is None or pointer is None:
            return change
        try:
            body = await self._bodies.fetch(change.key, pointer)
        except NotFound as exc:
            [current] = await self.inner.get([change.key], consistent=True)
            if current is not None and current.version == change.version:
                raise _missing(change.key, pointer) from exc
            raise FeedGap(
                f"The body that the record ({change.key.pk!r}, {change.key.sk!r}) had at {change.at.isoformat()} is no "
                "longer kept; start again from a full scan."
            ) from exc
        return replace(change, record=without_pointer(change.record, body))


def _any_spilled(records: Sequence[Record | None]) -> bool:
    for record in records:  # noqa: SIM110 - half the time of any() for the one record of most calls
        if record is not None and POINTER_FIELD in record.fields:
            return True
    return False


def _fitting(records: Sequence[Record | None]) -> int:
    """How many of the first records have bodies that can be held at once."""
    total = 0
    for count, record in enumerate(records):
        pointer = None if record is None else Pointer.of(record)
        total += 0 if pointer is None else pointer.size_bytes
        if total > _PAGE_BYTES and count > 0:
            return count
    return len(records)


def _pointing(write: Put | Patch, pointer: Pointer) -> Put | Patch:
    """The write with a pointer in place of its body."""
    if isinstance(write, Put):
        return replace(write, body=b"", fields={**write.fields, POINTER_FIELD: pointer.text})
    return replace(write, body=b"", set={**write.set, POINTER_FIELD: pointer.text})


def _refuse_reserved(write: Put | Patch) -> None:
    if isinstance(write, Put):
        is_named = _names_pointer(write.fields)
    else:
        is_named = any(map(_names_pointer, (write.add, write.set, write.unset, write.include, write.exclude)))
    if is_named:
        raise InvalidArgument(
            f"The field name {POINTER_FIELD!r} is kept for records whose body has spilled; rename it."
        )


def _names_pointer(group: object) -> bool:
    if isinstance(group, dict | frozenset):
        return POINTER_FIELD in group
    return isinstance(group, Mapping) and POINTER_FIELD in group


def _missing(key: Key, pointer: Pointer) -> Corrupt:
    return Corrupt(
        f"The body of the record ({key.pk!r}, {key.sk!r}) should be in the blob {pointer.name!r}, which is not there; "
        "restore the blob or the record from a backup."
    )
