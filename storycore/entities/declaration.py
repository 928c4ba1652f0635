"""``entity``: what is to be stored, under which keys, listed how; checked when it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar
from zlib import crc32

from pydantic import BaseModel

from storycore.entities.annotations import admits_none, is_set
from storycore.entities.cache_tags import CacheTag
from storycore.entities.key_types import KeyType, key_type_of
from storycore.entities.patterns import Pattern
from storycore.entities.scrutiny import Scrutiny
from storycore.entities.soft_deletion import SoftDelete
from storycore.entities.templates import Index, Key
from storycore.entities.uniqueness import Constraint, Unique

__all__ = ["Entity", "Upgrade", "entity"]

M = TypeVar("M", bound=BaseModel)

Upgrade: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]  # JSON values
"""Turns the JSON values of an instance as one schema wrote it into those of the next."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entity(Generic[M]):
    """A declared entity; made by ``entity()``.

    Args:
        model: the pydantic model, which knows nothing of storage.
        kind: the name under which records of this entity are known in a store.
        schema: the number of the present layout; grows by one with every upgrade.
        table: the access pattern of the primary key.
        indexes: the access patterns of the indexes, by name.
        promoted: fields that are stored as values of their own, for summaries and server-side filters.
        counters: promoted numbers that can be added to in one atomic step.
        ttl: the field that says when an instance expires.
        upgrades: from schema number to the function that leads to the next.
        timestamps: the fields that hold when an instance was created and last changed.
        spill: a body of more bytes is kept in the blob store; ``None``: never.
        unique: what only one live instance may hold, by the constraint's name.
        soft_delete: how a deletion can be undone; ``None``: it cannot.
        cache_tags: what a write of an instance outdates in the cache.
    """

    model: type[M]
    kind: str
    schema: int
    table: Pattern
    indexes: Mapping[str, Pattern]
    promoted: frozenset[str]
    counters: frozenset[str]
    ttl: str | None
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict)
    timestamps: tuple[str, str] | None = None
    spill: int | None = None
    unique: Mapping[str, Unique] = field(default_factory=dict)
    soft_delete: SoftDelete | None = None
    cache_tags: tuple[CacheTag, ...] = ()

    @cached_property
    def layout(self) -> str:
        """The form, and a digest of where instances are listed, until when, and what they hold; in every record.

        A record of another layout is read as ever. It is outdated all the same, for an index may lack it.
        """
        listed = [(p.slot, p.described) for p in sorted(self.indexes.values(), key=lambda p: p.slot or 0)]
        held = [(name, u.fields, u.within, u.fold) for name, u in sorted(self.unique.items())]
        return f"{self.form}.{crc32(repr((listed, self.ttl, held)).encode()):08x}"

    @cached_property
    def form(self) -> str:
        """The schema number and a digest of what is promoted: all that reading a record depends on."""
        return f"{self.schema}.{crc32(','.join(sorted(self.columns)).encode()):08x}"

    def has_present_form(self, layout: object) -> bool:
        """Whether a record that was stored with ``layout`` is read without an upgrade."""
        return layout == self.layout or ".".join(str(layout).split(".")[:2]) == self.form

    @cached_property
    def columns(self) -> frozenset[str]:
        """All fields that are stored as values of their own."""
        return self.promoted | self.counters

    @cached_property
    def indexed(self) -> frozenset[str]:
        """All fields that stand in a key, an index key or a unique value."""
        placed = [name for pattern in (self.table, *self.indexes.values()) for name in pattern.fields]
        return frozenset(placed) | {
            name for unique in self.unique.values() for name in (*unique.fields, *unique.within)
        }

    @cached_property
    def sets(self) -> frozenset[str]:
        """Promoted fields that always hold a set."""
        fields = self.model.model_fields
        found = {name: fields[name].annotation for name in self.promoted}
        return frozenset(name for name, given in found.items() if is_set(given) and not admits_none(given))

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """The unique values, with the types of their fields."""
        return tuple(Constraint(unique, self._key_types(unique)) for unique in self.unique.values())

    @property
    def has_companions(self) -> bool:
        """Whether a write of an instance may take other writes with it."""
        return bool(self.unique) or self.soft_delete is not None

    def _key_types(self, unique: Unique) -> dict[str, KeyType]:
        fields = self.model.model_fields
        types = {name: key_type_of(fields[name].annotation) for name in (*unique.within, *unique.fields)}
        return {name: found for name, found in types.items() if found is not None}


def entity(
    model: type[M],
    *,
    kind: str,
    key: Key,
    schema: int = 1,
    indexes: Sequence[Index] = (),
    promoted: Sequence[str] = (),
    counters: Sequence[str] = (),
    ttl: str | None = None,
    upgrades: Mapping[int, Upgrade] | None = None,
    timestamps: tuple[str, str] | None = None,
    spill: int | None = None,
    unique: Sequence[Unique] = (),
    soft_delete: SoftDelete | str | None = None,
    cache_tags: Sequence[str] = (),
) -> Entity[M]:
    """Declare how a pydantic model is stored.

    Args:
        model: stays a plain model.
        kind: lower-case letters, digits, ``_`` and ``-``; unique in a store.
        key: of text and ``part.field``.
        schema: 1 at first; one more whenever stored instances need an upgrade to be read.
        indexes: other ways to list instances; each slot once.
        promoted: top-level fields of a scalar type, or sets of text.
        counters: top-level fields of type int or Decimal.
        ttl: a field that holds an aware datetime or ``None``; from then on the instance is absent.
        upgrades: for every schema below the present one, the function from its JSON values to those of the next.
        timestamps: the names of two datetime fields: created, changed.
        spill: keep what is not promoted in the blob store where it is longer than this many bytes, 1024 to 358 400;
            without it an instance of more than 400 KiB cannot be stored.
        unique: values, or several together, that only one live instance may hold.
        soft_delete: a field of type ``datetime | None``: ``delete`` sets it and hides the instance, ``restore`` brings
            it back; with ``SoftDelete(field, keep=…)`` for so long.
        cache_tags: of cached values that depend on instances, ``("user:{user_id}",)`` say: every write of an instance
            through a store invalidates the tags of its values before and after. They name promoted fields of text,
            whole numbers, UUIDs or enumerations of these; where one is ``None`` there is no tag.

    Raises:
        ConfigError: the declaration contradicts the model or itself.
    """
    scrutiny = Scrutiny(model, kind)
    scrutiny.check_kind()
    scrutiny.check_model()
    table, by_name = scrutiny.primary(key), scrutiny.secondary(indexes)
    scrutiny.check_promoted(promoted)
    scrutiny.check_counters(counters)
    scrutiny.check_ttl(ttl)
    scrutiny.check_upgrades(schema, upgrades or {})
    scrutiny.check_timestamps(timestamps)
    scrutiny.check_spill(spill)
    scrutiny.check_unique(unique)
    deletion = SoftDelete(soft_delete) if isinstance(soft_delete, str) else soft_delete
    tags = scrutiny.cache_tags(cache_tags, promoted=frozenset(promoted) - frozenset(counters))
    scrutiny.check_soft_delete(deletion, taken=(*table.fields, ttl, *(timestamps or ())))
    return Entity(
        model=model,
        kind=kind,
        schema=schema,
        table=table,
        indexes=by_name,
        promoted=frozenset(promoted) - frozenset(counters),
        counters=frozenset(counters),
        ttl=ttl,
        upgrades=dict(upgrades or {}),
        timestamps=timestamps,
        spill=spill,
        unique={constraint.name: constraint for constraint in unique},
        soft_delete=deletion,
        cache_tags=tags,
    )
