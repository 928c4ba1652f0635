"""Sweeping: bodies in the blob store to which no record points any more are removed, in two steps and with patience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from storycore.errors import AlreadyExists
from storycore.layers.spilled_bodies import Pointer, SpilledBodies, in_parallel
from storycore.ports.blobs import BlobInfo
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import EntityStore, Key

__all__ = ["SweepReport", "sweep"]

_MARK = ".gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep found.

    Args:
        checked: how many bodies there were.
        waiting: how many have no record and wait for the end of their grace.
        deleted: how many were removed.
    """

    checked: int = 0
    waiting: int = 0
    deleted: int = 0


async def sweep(store: EntityStore, bodies: SpilledBodies, *, before: datetime, dry_run: bool = False) -> SweepReport:
    """Mark bodies without a record, and remove those that were marked at or before ``before``.

    A body's name is used once, so one without a record stays without; a body whose record is just being written is
    marked at most, and the next sweep takes the mark off. Any number of sweeps may run beside each other and beside
    writers, and one that was interrupted leaves nothing that the next does not find.

    Args:
        store: where the records are, with their pointers.
        bodies: what is swept.
        dry_run: only say what it would find; nothing is marked, removed, or freed of its mark.
    """
    prefix = await bodies.prefix()
    if prefix is None:
        return SweepReport()
    run = _Sweep(store, bodies, before, dry_run)
    after: str | None = None
    while True:
        page = await bodies.blobs.entries(prefix, after=after)
        await run.take(page.blobs)
        if page.next is None:
            return SweepReport(checked=run.checked, waiting=run.waiting, deleted=run.deleted)
        after = page.next


class _Sweep:
    """One walk over all bodies, page by page; a mark stands right behind its body."""

    def __init__(self, store: EntityStore, bodies: SpilledBodies, before: datetime, dry_run: bool) -> None:
        self._store = store
        self._bodies = bodies
        self._before = before
        self._dry_run = dry_run
        self._last = ""
        self.checked = self.waiting = self.deleted = 0

    async def take(self, page: Sequence[BlobInfo]) -> None:
        """Treat one page of the listing."""
        found = [blob for blob in page if self._bodies.is_body(blob.key) and not blob.key.endswith(_MARK)]
        marks = {blob.key.removesuffix(_MARK): blob.modified_at for blob in page if blob.key.endswith(_MARK)}
        known = {blob.key for blob in found} | {self._last}
        await self._remove([f"{name}{_MARK}" for name in marks if name not in known])
        if not found:
            return
        self.checked += len(found)
        self._last = found[-1].key
        wanted = await self._wanted(found)
        await self._remove([f"{name}{_MARK}" for name in marks if name in wanted])
        lost = [blob.key for blob in found if blob.key not in wanted]
        await in_parallel(lambda name: self._bury(name, marks), lost)

    async def _wanted(self, found: Sequence[BlobInfo]) -> set[str]:
        """The names of bodies that have a record, and of those that do not tell whose they are."""
        keys = await in_parallel(self._bodies.key_of, found)
        asked: list[Key] = list({key: None for key in keys if key is not None})
        records = dict(zip(asked, await self._store.get(asked, consistent=True), strict=True))
        wanted: set[str] = set()
        for blob, key in zip(found, keys, strict=True):
            record = None if key is None else records[key]
            pointer = None if record is None else Pointer.of(record)
            if key is None or (pointer is not None and pointer.name == blob.key):
                wanted.add(blob.key)
        return wanted

    async def _bury(self, name: str, marks: Mapping[str, datetime]) -> None:
        """Remove a body whose mark is old enough; else see to it that there is a mark."""
        marked_at = marks.get(name) or (None if self._dry_run else await self._mark(name))
        if marked_at is None or marked_at > self._before:
            self.waiting += 1
            return
        await self._remove([name])
        await self._remove([f"{name}{_MARK}"])
        self.deleted += 1

    async def _mark(self, name: str) -> datetime | None:
        """When the body was marked, which may be now."""
        try:
            return (await self._bodies.blobs.put(f"{name}{_MARK}", b"", when=ABSENT)).modified_at
        except AlreadyExists:  # by another sweep, or the listing cut between the two
            found = await self._bodies.blobs.head(f"{name}{_MARK}")
            return None if found is None else found.modified_at

    async def _remove(self, names: Sequence[str]) -> None:
        if names and not self._dry_run:
            await self._bodies.blobs.delete(names)
