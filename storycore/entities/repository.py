"""Repository: models in, models out, over any entity store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import BaseModel

from storycore.entities.addresses import KeyLike, address_of, addresses_of
from storycore.entities.codec import from_record
from storycore.entities.cursors import CursorSeal, QueryIdentity
from storycore.entities.declaration import Entity
from storycore.entities.explaining import Explaining
from storycore.entities.listing import Listing
from storycore.entities.patching import Changes
from storycore.entities.query import Query
from storycore.entities.reading import whole
from storycore.entities.soft_deletion import deleted_twin
from storycore.entities.walks import Walk
from storycore.entities.writing import Upserted, Writer, not_found
from storycore.errors import InvalidArgument
from storycore.filters import as_filter
from storycore.ports.conditions import ABSENT, ANY, Condition
from storycore.ports.entities import EntityStore, Key, Position, RecordPage, Segment
from storycore.ports.environment import Environment
from storycore.ports.filters import Filter
from storycore.ports.pages import Pages
from storycore.suggestions import did_you_mean

__all__ = ["KeyLike", "Repository"]

M = TypeVar("M", bound=BaseModel)


class Repository(Generic[M]):
    """The instances of one entity in one store.

    Key parts are given by name, ``get(story_id="s9")``; where the key has one part its value alone will do. An
    instance that was loaded or saved knows its version, and ``put`` and ``delete`` of it expect that version. Every
    index of the declaration is an attribute: ``stories.by_user.page(user_id="u1")``.

    Args:
        entity: the declaration.
        store: where records are kept; borrowed, never closed here.
        env: tells the time.
        cursor_key: signs cursors; processes that share it accept each other's. At least 16 bytes.

    Raises:
        ConfigError: the cursor key is too short.
    """

    def __init__(self, entity: Entity[M], store: EntityStore, env: Environment, *, cursor_key: bytes) -> None:
        self.entity = entity
        self.store = store
        self._writer = Writer(entity, store, env)
        self._seal = CursorSeal(cursor_key)
        self._source = whole(entity, store, self._seal)
        self._listings = {name: Listing(self._source, pattern) for name, pattern in entity.indexes.items()}
        self.table = Listing(self._source, entity.table)
        self.explain = Explaining(entity, env.clock)

    def __getattr__(self, name: str) -> Listing[M]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._listings:
            raise AttributeError(
                f"The repository of {self.entity.kind!r} has no index or method {name!r}."
                f" {did_you_mean(name, self._listings)}"
            )
        return self._listings[name]

    def index(self, name: str) -> Listing[M]:
        """The listing of an index, by its name.

        Raises:
            InvalidArgument: no index has that name.
        """
        if not isinstance(name, str) or name not in self._listings:
            raise InvalidArgument(
                f"The entity {self.entity.kind!r} has no index {name!r}. {did_you_mean(str(name), self._listings)}"
            )
        return self._listings[name]

    def address(self, key: KeyLike | None = None, /, **parts: object) -> Key:
        """The record key that a key or its parts by name stand for.

        Raises:
            InvalidArgument: a part is missing, unknown or of the wrong type.
            InvalidKey: a part is empty or cannot stand in a key.
        """
        return address_of(self.entity, key, parts)

    async def create(self, instance: M) -> M:
        """Store a new instance and stamp it.

        Raises:
            AlreadyExists: its key is taken, by a deleted instance too, which can be restored or purged.
            NotUnique: another instance holds one of its unique values.
            InvalidArgument, TooLarge: it cannot be stored.
        """
        return await self.put(instance, when=ABSENT)

    async def get(self, key: KeyLike | None = None, /, *, consistent: bool = False, **parts: object) -> M:
        """The instance under a key.

        Args:
            consistent: ask the store itself, not a cache in front of it.

        Raises:
            NotFound: there is none.
            Corrupt, SchemaMismatch: it cannot be read.
        """
        address = self.address(key, **parts)
        found = await self._load(address, consistent=consistent)
        if found is None:
            raise not_found(self.entity.kind, address)
        return found

    async def find(self, key: KeyLike | None = None, /, *, consistent: bool = False, **parts: object) -> M | None:
        """The instance under a key, or ``None``; otherwise as ``get``."""
        return await self._load(self.address(key, **parts), consistent=consistent)

    async def get_many(self, keys: Iterable[KeyLike], *, consistent: bool = False) -> list[M | None]:
        """The instances under any number of keys, in their order; ``None`` where there is none."""
        records = await self.store.get(addresses_of(self.entity, keys), consistent=consistent)
        return [None if record is None else from_record(self.entity, record) for record in records]

    async def put(self, instance: M, *, when: Condition | None = None) -> M:
        """Store an instance whole, stamp it with its new version, and return it.

        Args:
            when: the condition; by default the version that the instance was loaded or saved under, and ``ANY`` for
                one that never was.

        Raises:
            VersionConflict: somebody else wrote it since; load it again.
            NotUnique: another instance holds one of its unique values.
            AlreadyExists, NotFound: a condition of presence failed, or a deleted instance has the key.
            InvalidArgument, TooLarge: it cannot be stored.
        """
        return await self._writer.put(instance, when)

    async def save(self, instance: M) -> M:
        """The same as ``put`` without a condition of one's own."""
        return await self.put(instance)

    async def save_batch(self, instances: Iterable[M]) -> int:
        """Store any number of instances, each like ``put``, in few calls; returns how many.

        Raises:
            PartialFailure: some could not be stored, the others are; ``outcomes`` tells of each in order.
            InvalidArgument: one is invalid, or two have the same key; nothing was stored.
        """
        return await self._writer.put_all(instances)

    async def patch(
        self,
        key: KeyLike | None = None,
        /,
        *,
        set: Mapping[str, object] | None = None,  # noqa: A002 - the verb of the port
        add: Mapping[str, int | float | Decimal] | None = None,
        unset: Sequence[str] = (),
        include: Mapping[str, Collection[str]] | None = None,
        exclude: Mapping[str, Collection[str]] | None = None,
        when: Filter | Mapping[str, object] | None = None,
        **parts: object,
    ) -> M:
        """Change some fields of a stored instance and return it as it now is.

        Adding to counters and changing the members of promoted sets, and nothing else, is one atomic step that cannot
        conflict, unless an index, a unique value or a validator looks at them. Everything else reads, changes,
        validates and writes under the version that was read, again when somebody was faster; index keys follow.
        Counting does not touch the timestamp of the last change.

        Args:
            set: field to its new value.
            add: numeric field to what is added.
            unset: fields that go back to their default.
            include: field that is a set to the members it gains.
            exclude: field that is a set to the members it loses; what is not there is no error.
            when: change only an instance that matches.

        Raises:
            NotFound: there is no such instance.
            NotUnique: another instance holds one of its unique values.
            ConditionFailed: it does not match ``when``.
            InvalidArgument: a field is unknown or the result is not valid.
            VersionConflict: others were faster 16 times in a row.
        """
        changes = Changes(set or {}, add or {}, unset, as_filter(when), include or {}, exclude or {})
        changes.check(self.entity)
        return await self._writer.patch(self.address(key, **parts), changes)

    async def upsert(
        self,
        instance: M,
        /,
        *,
        set: Mapping[str, object] | None = None,  # noqa: A002 - the verb of the port
        add: Mapping[str, int | float | Decimal] | None = None,
        unset: Sequence[str] = (),
        include: Mapping[str, Collection[str]] | None = None,
        exclude: Mapping[str, Collection[str]] | None = None,
    ) -> Upserted[M]:
        """Store ``instance`` if its key is free; else change what is stored there as ``patch`` does.

        ``upsert(Visit(page="p1", count=1), add={"count": 1})`` counts from the first visit on. Without changes it gives
        what is stored, or stores the first. It never overwrites what somebody else created meanwhile.

        Returns:
            the instance as it now is, and whether it was created.

        Raises:
            AlreadyExists: a deleted instance has the key.
            NotUnique: another instance holds one of its unique values.
            InvalidArgument, TooLarge: the instance or the result of the changes cannot be stored.
            VersionConflict: others were faster 16 times in a row.
        """
        changes = Changes(set or {}, add or {}, unset, None, include or {}, exclude or {})
        if changes.fields:
            changes.check(self.entity)
        return await self._writer.upsert(instance, changes if changes.fields else None)

    async def count(self, key: KeyLike, amounts: Mapping[str, int | Decimal], /) -> M:
        """Add to counters, and to nothing else: ``count("s9", {"views": 1})``; otherwise as ``patch``.

        Raises:
            NotFound: there is no such instance.
            InvalidArgument: a name is not a counter's, or the result is not valid.
        """
        for name in amounts:
            if name not in self.entity.counters:
                known = sorted(self.entity.counters)
                raise InvalidArgument(f"A {self.entity.kind} has no counter {name!r}. {did_you_mean(name, known)}")
        return await self.patch(key, add=amounts)

    async def modify(self, key: KeyLike, change: Callable[[M], Mapping[str, object]], /) -> M:
        """Change a stored instance by what it holds, and return it as it now is.

        Args:
            change: from the instance to the fields to set; an empty mapping leaves it as it is. It is called again
                when somebody else was faster, so it must do nothing else.

        Raises:
            NotFound: there is no such instance.
            InvalidArgument: a field is unknown or the result is not valid.
            VersionConflict: others were faster 16 times in a row.
        """

        def decide(current: M) -> Changes | None:
            values = change(current)
            if not values:
                return None
            changes = Changes(set=values)
            changes.check(self.entity)
            return changes

        return await self._writer.rewrite(self.address(key), decide)

    async def delete(self, key: KeyLike | None = None, /, *, when: Condition | None = None, **parts: object) -> bool:
        """Remove an instance; returns whether there was one.

        Where soft deletion is declared the instance can be restored; it is gone for every other operation.

        Args:
            key: an instance that was loaded or saved is removed only in that version.
            when: the condition instead.

        Raises:
            VersionConflict: somebody wrote the instance since it was loaded.
            NotFound: ``when`` is ``PRESENT`` and there is none.
        """
        if isinstance(key, self.entity.model) and not parts:
            return await self._writer.delete_instance(key, when)
        return await self._writer.delete(self.address(key, **parts), ANY if when is None else when)

    async def restore(self, key: KeyLike | None = None, /, **parts: object) -> M:
        """Bring a deleted instance back, and return it.

        Raises:
            NotFound: no deleted instance has the key, or it is no longer kept.
            NotUnique: another instance has taken one of its unique values meanwhile.
            InvalidArgument: the entity has no soft deletion.
        """
        self._require_soft_deletion()
        return await self._writer.restore(self.address(key, **parts))

    async def purge(self, key: KeyLike | None = None, /, **parts: object) -> bool:
        """Remove an instance for good, deleted or not; returns whether there was one.

        It need not be readable, so that what is corrupt can be removed as well.
        """
        return await self._writer.purge(self.address(key, **parts))

    def deleted(self, *, where: Filter | Mapping[str, object] | None = None) -> Pages[M]:
        """All deleted instances that can be restored, in no particular order; the whole store is read for them.

        Raises:
            InvalidArgument: the entity has no soft deletion.
        """
        self._require_soft_deletion()
        return self._scanned(deleted_twin(self.entity), where)

    async def delete_batch(self, keys: Iterable[KeyLike]) -> int:
        """Remove any number of instances, whatever their version, in few calls; returns how many there were.

        Raises:
            PartialFailure: some could not be removed, the others are; ``outcomes`` tells of each in order.
            InvalidArgument: a key occurs twice; nothing was removed.
        """
        return await self._writer.delete_all(addresses_of(self.entity, keys))

    def scan(self, *, where: Filter | Mapping[str, object] | None = None) -> Pages[M]:
        """All instances in the store, in no particular order."""
        return self._scanned(self.entity, where)

    def query(
        self,
        index: str | None = None,
        /,
        *,
        low: object = None,
        high: object = None,
        prefix: str | None = None,
        reverse: bool = False,
        where: Filter | Mapping[str, object] | None = None,
        consistent: bool = False,
        **parts: object,
    ) -> Query[M]:
        """Instances by an index by name, or in one partition of the table; arguments as for ``Listing.page``."""
        listing = self.table if index is None else self.index(index)
        return listing.iterate(
            reverse=reverse, low=low, high=high, prefix=prefix, where=where, consistent=consistent, **parts
        )

    async def _load(self, address: Key, *, consistent: bool) -> M | None:
        [record] = await self.store.get([address], consistent=consistent)
        return None if record is None else from_record(self.entity, record)

    def _scanned(self, entity: Entity[M], where: Filter | Mapping[str, object] | None) -> Pages[M]:
        source = whole(entity, self.store, self._seal)
        identity = QueryIdentity(
            kind=entity.kind, index="", partition="", low=None, high=None, reverse=False, where=as_filter(where)
        )
        return Walk(source, identity, None, lambda _: self._scan_records, has_order=False).checked().pages()

    def _require_soft_deletion(self) -> None:
        if self.entity.soft_delete is None:
            raise InvalidArgument(f"A {self.entity.kind} is deleted for good; declare soft_delete to restore it.")

    async def _scan_records(self, after: Position | None, limit: int) -> RecordPage:
        return await self.store.scan(Segment(), after=after, limit=limit)
