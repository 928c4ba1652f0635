"""The EntityStore port with what entities declare as ``cache_tags``: a write outdates the cached lists it changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from storycore.caching.caching import Caching
from storycore.caching.sightings import Sightings
from storycore.entities.codec import from_record
from storycore.entities.declaration import Entity
from storycore.entities.keys import encode
from storycore.entities.scrutiny import LAYOUT_FIELD
from storycore.entities.soft_deletion import deleted_twin, grave_key
from storycore.errors import StorycoreError
from storycore.layers.passing import PassingEntities
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import (
    Change,
    Delete,
    EntityStore,
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

__all__ = ["TaggedEntities"]

_GRAVES = grave_key(Key("", "")).pk
"""What the partitions of all deleted instances begin with."""


class TaggedEntities(PassingEntities):
    """The same port, whose writes invalidate the tags of the records before and after, whatever became of the write.

    Which tags a record had before is read from the store, in one call for all writes of a call: once more for every
    put, delete and change of a tag's field of an entity that declares tags. Creating and counting read nothing more.

    Two writers may move one instance at the same moment. Where one of them writes without the version it has read,
    the tag between may stay as it is, until the change feed tells of both writes, to who follows it.

    Args:
        inner: the store as it is used, with whatever caches its records.
        raw: the same records, without what fetches their bodies.
        caching: where tags are invalidated.
        remembers: whether to remember which tags the records had that were read, for the sake of ``outdate``.
    """

    def __init__(self, inner: EntityStore, raw: EntityStore, caching: Caching, *, remembers: bool = False) -> None:
        super().__init__(inner)
        self._raw = raw
        self._caching = caching
        self._sightings = Sightings() if remembers else None
        self._entities: dict[str, Entity[Any]] = {}  # of any models
        self._partitions: tuple[str, ...] = ()
        self._fields: frozenset[str] = frozenset()

    def meet(self, entity: Entity[Any]) -> None:
        """Let writes of an entity invalidate the tags that it declares, if it does; also while it lies deleted."""
        if not entity.cache_tags or self._entities.get(entity.kind) is entity:
            return
        self._entities |= {each.kind: each for each in (entity, deleted_twin(entity))}
        first = entity.table.pk[0]
        start = encode([first]) if isinstance(first, str) else ""
        self._partitions = tuple({*self._partitions, start, _GRAVES})
        self._fields = frozenset(
            name for each in self._entities.values() for tag in each.cache_tags for name in tag.fields
        )

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``."""
        found = await self.inner.get(keys, consistent=consistent)
        if self._sightings is not None:
            await self._see(record for record in found if record is not None)
        return found

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order."""
        page = await self.inner.query(plan)
        if self._sightings is not None:
            await self._see(page.records)
        return page

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment."""
        page = await self.inner.scan(segment, after=after, limit=limit)
        if self._sightings is not None:
            await self._see(page.records)
        return page

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes, and invalidate the tags of what they change."""
        if not isinstance(writes, Sequence) or not any(map(self._concerns, writes)):
            return await self.inner.write(writes, atomic=atomic, token=token)
        tags = await self._tags_under([write.key for write in writes if self._hides_tags(write)])
        tags |= {
            tag for put in writes if isinstance(put, Put) and self._concerns(put) for tag in self._tags_of_put(put)
        }
        try:
            written = await self.inner.write(writes, atomic=atomic, token=token)
        except BaseException:  # it may have happened all the same
            await self._invalidate(tags)
            with suppress(StorycoreError):
                await self._invalidate(await self._tags_under([each.key for each in writes if isinstance(each, Patch)]))
            raise
        await self._invalidate(tags | self._all(each.record for each in written))
        return written

    async def outdate(self, changes: Sequence[Change]) -> bool:
        """Invalidate the tags of changes, whoever made them; whether the shared tier confirmed it.

        A change does not tell what was before. What this process has read of the record is remembered for that.
        """
        tags: set[str] = set()
        for change in changes:
            if change.kind in self._entities:
                now = frozenset() if change.record is None else self._tags(change.record)
                tags |= now if self._sightings is None else self._sightings.told(change, now)
        return await self._invalidate(tags)

    async def _see(self, records: Iterable[Record]) -> None:
        """Remember records that were read; what is read later than it was changed outdates what is made of it."""
        assert self._sightings is not None
        late: set[str] = set()
        for record in records:
            if record.kind in self._entities:
                late |= self._sightings.read(record, self._tags(record))
        await self._invalidate(late)

    async def _invalidate(self, tags: Collection[str]) -> bool:
        return await self._caching.invalidate_tags(*sorted(tags))

    def _concerns(self, write: object) -> bool:
        """Whether a write may be of an entity with tags."""
        if isinstance(write, Put):
            return isinstance(write.kind, str) and write.kind in self._entities
        return isinstance(write, Patch | Delete) and isinstance(write.key, Key) and self._is_ours(write.key)

    def _hides_tags(self, write: Write) -> bool:
        """Whether what a write changes may have had other tags than the write and its outcome tell."""
        if not self._concerns(write):
            return False
        if isinstance(write, Patch):
            return not self._fields.isdisjoint({*write.set, *write.unset, *write.add})
        return not (isinstance(write, Put) and write.when == ABSENT)

    def _is_ours(self, key: Key) -> bool:
        return isinstance(key.pk, str) and key.pk.startswith(self._partitions)

    async def _tags_under(self, keys: Sequence[Key]) -> set[str]:
        """The tags of what is stored now."""
        return self._all(await self._raw.get(keys)) if keys else set()

    def _all(self, records: Iterable[Record | None]) -> set[str]:
        return {tag for record in records if record is not None for tag in self._tags(record)}

    def _tags_of_put(self, put: Put) -> frozenset[str]:
        return _made(self._entities[put.kind], put.fields) if isinstance(put.fields, Mapping) else frozenset()

    def _tags(self, record: Record) -> frozenset[str]:
        entity = self._entities.get(record.kind)
        if entity is None:
            return frozenset()
        if entity.has_present_form(record.fields.get(LAYOUT_FIELD)):
            return _made(entity, record.fields)
        return _made(entity, _as_read(entity, record))


def _made(entity: Entity[Any], values: Mapping[str, object]) -> frozenset[str]:
    return frozenset(made for tag in entity.cache_tags if (made := tag.of(values)) is not None)


def _as_read(entity: Entity[Any], record: Record) -> Mapping[str, object]:
    """The values of a record of an older layout; of one that cannot be read, what it tells by itself."""
    try:
        return dict(from_record(entity, record))
    except StorycoreError:
        return record.fields
