"""Collections: several entities that share a partition, read with one walk in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel

from storycore.entities.cursors import CursorSeal
from storycore.entities.declaration import Entity
from storycore.entities.patterns import Bounds, Pattern
from storycore.entities.query import Asked, Query
from storycore.entities.reading import Source, mixed
from storycore.entities.templates import Part, Sharded, Template
from storycore.errors import ConfigError, InvalidArgument
from storycore.filters import as_filter
from storycore.ports.entities import EntityStore
from storycore.ports.filters import Filter
from storycore.ports.pages import Cursor, Page
from storycore.suggestions import did_you_mean

__all__ = ["Collected", "Collection"]

R = TypeVar("R", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)
D = TypeVar("D", bound=BaseModel)


class Collection(Generic[R]):
    """Instances of several entities that lie in the same partitions, of the table or of an index.

    Records of other kinds in a partition are passed over. Every instance is of its own model, of whatever schema it was
    stored with.

    Args:
        entities: the declarations, each once.
        index: the name that the index has in all of them; ``None``: the table itself.
        store: where the records are; borrowed, never closed here.
        cursor_key: signs cursors, as those of a repository.

    Raises:
        ConfigError: the entities do not share their partitions; the message tells what differs.
    """

    def __init__(
        self, entities: Sequence[Entity[Any]], store: EntityStore, *, cursor_key: bytes, index: str | None = None
    ) -> None:
        if not entities:
            raise ConfigError("A collection needs at least one entity.", path="collection")
        self.entities = tuple(entities)
        self._pattern, self._has_common_order = _shared([_pattern(entity, index) for entity in entities], entities)
        self._source: Source[R] = mixed(self.entities, store, CursorSeal(cursor_key))

    def query(
        self,
        *,
        low: object = None,
        high: object = None,
        prefix: str | None = None,
        reverse: bool = False,
        where: Filter | Mapping[str, object] | None = None,
        consistent: bool = False,
        **parts: object,
    ) -> Collected[R]:
        """All instances of one partition, in the order of their keys.

        Args:
            low, high, prefix: limits, as in ``Listing.page``; only where all entities have the same sort key.
            reverse: descending order.
            where: only instances that match; one that lacks a field does not.
            consistent: see every write that returned before; refused on an index.
            parts: the values of the partition's parts, by name.

        Raises:
            InvalidArgument: parts or bounds do not fit.
            InvalidFilter: no entity has a field that ``where`` names.
        """
        bounds = Bounds(low, high, prefix)
        if not self._has_common_order and not bounds.is_open:
            kinds = ", ".join(entity.kind for entity in self.entities)
            raise InvalidArgument(f"The sort keys of {kinds} differ, so they have no bounds in common; leave them out.")
        asked = Asked(parts=parts, bounds=bounds, where=as_filter(where), reverse=reverse, consistent=consistent)
        return Collected(self._source, self._pattern, asked)

    async def page(
        self,
        *,
        limit: int = 20,
        cursor: Cursor | str | None = None,
        max_read: int | None = None,
        low: object = None,
        high: object = None,
        prefix: str | None = None,
        reverse: bool = False,
        where: Filter | Mapping[str, object] | None = None,
        consistent: bool = False,
        **parts: object,
    ) -> Page[R]:
        """One page of ``query``; otherwise as ``Listing.page``."""
        query = self.query(
            low=low, high=high, prefix=prefix, reverse=reverse, where=where, consistent=consistent, **parts
        )
        return await query.limit(limit).page(cursor, max_read=max_read)


class Collected(Query[R], Generic[R]):
    """The instances of one partition as a query: iterate over it, page it, or split it by entity."""

    __slots__ = ()

    @overload
    async def split(self, first: Entity[A], /) -> tuple[list[A]]: ...

    @overload
    async def split(self, first: Entity[A], second: Entity[B], /) -> tuple[list[A], list[B]]: ...

    @overload
    async def split(
        self, first: Entity[A], second: Entity[B], third: Entity[C], /
    ) -> tuple[list[A], list[B], list[C]]: ...

    @overload
    async def split(
        self, first: Entity[A], second: Entity[B], third: Entity[C], fourth: Entity[D], /
    ) -> tuple[list[A], list[B], list[C], list[D]]: ...

    async def split(self, *entities: Entity[Any]) -> tuple[list[Any], ...]:  # typed by the overloads
        """One list for each of the entities, each in the order of the keys; up to four. All is held in memory.

        Raises:
            InvalidArgument: an entity is not of this collection.
        """
        known = self._source.entities
        for entity in entities:
            if known.get(entity.kind) is not entity:
                raise InvalidArgument(f"{entity.kind!r} is not in this collection. {did_you_mean(entity.kind, known)}")
        by_model: dict[type[BaseModel], list[Any]] = {entity.model: [] for entity in known.values()}
        async for item in self:
            by_model[type(item)].append(item)
        return tuple(by_model[entity.model] for entity in entities)


def _pattern(entity: Entity[Any], index: str | None) -> Pattern:
    if index is None:
        return entity.table
    if index not in entity.indexes:
        raise ConfigError(
            f"The entity {entity.kind!r} has no index {index!r}. {did_you_mean(index, entity.indexes)}",
            path=f"{entity.kind}.{index}",
        )
    return entity.indexes[index]


def _shared(patterns: Sequence[Pattern], entities: Sequence[Entity[Any]]) -> tuple[Pattern, bool]:
    """The pattern that all have in common, and whether that includes the order."""
    first, kind = patterns[0], entities[0].kind
    for pattern, entity in zip(patterns[1:], entities[1:], strict=True):
        _require(first.slot == pattern.slot, kind, entity.kind, f"they use slots {first.slot} and {pattern.slot}")
        ours, theirs = _told(first.pk, first), _told(pattern.pk, pattern)
        _require(ours == theirs, kind, entity.kind, f"their partitions are ({ours}) and ({theirs})")
    if len({e.kind for e in entities}) < len(entities) or len({e.model for e in entities}) < len(entities):
        kinds = ", ".join(entity.kind for entity in entities)
        raise ConfigError(f"Each kind and model stands in a collection once, not {kinds}.", path="collection")
    if all(_told(pattern.sk, pattern) == _told(first.sk, first) for pattern in patterns):
        return first, True
    return replace(first, sk=()), False


def _require(holds: bool, one: str, other: str, difference: str) -> None:
    if not holds:
        raise ConfigError(
            f"{one!r} and {other!r} do not share partitions: {difference}. Declare the same pk in both.",
            path=f"{other}.pk",
        )


def _told(template: Template, pattern: Pattern) -> str:
    """A template as a person reads it, with the types that decide how its values are written."""
    told = []
    for given in template:
        if isinstance(given, Part):
            told.append(f"{given.field}: {pattern.types[given.field].plain.__name__}")
        elif isinstance(given, Sharded):
            told.append(f"{given.shards} shards")
        else:
            told.append(repr(given))
    return ", ".join(told)
