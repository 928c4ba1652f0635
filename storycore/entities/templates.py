"""How a declaration says where its keys come from: literals and parts, for the table and for each index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Index", "Key", "Part", "Sharded", "Template", "part"]


@dataclass(frozen=True, slots=True)
class Part:
    """The value of a model's field as a part of a key; written ``part.user_id``."""

    field: str


class _Parts:
    """Makes parts by attribute."""

    __slots__ = ()

    def __getattr__(self, field: str) -> Part:
        if field.startswith("_"):
            raise AttributeError(field)
        return Part(field)


part = _Parts()
"""``part.user_id`` stands for the value of the field ``user_id`` in a key."""


@dataclass(frozen=True, slots=True)
class Sharded:
    """Stands in the partition of an index that too much is written to: spreads it over ``shards`` partitions.

    Which one an instance goes to is told by a hash of ``by``, the same in every process. Listings read all of them and
    are in the one order of the index. ``shards`` may grow at any time; before it shrinks, and before an index that has
    data gets shards at all, list the data under another slot.

    Args:
        shards: 2 to 1000.
        by: a field that has many values among the instances of one partition, such as their id.
    """

    shards: int
    by: Part


Template: TypeAlias = tuple[str | Part | Sharded, ...]
"""The parts of a key in order: text stands for itself."""


@dataclass(frozen=True, slots=True)
class Key:
    """The primary key of an entity.

    Args:
        pk: the partition: what is stored and read together.
        sk: the sort key: the order within the partition.
    """

    pk: Template
    sk: Template


@dataclass(frozen=True, slots=True)
class Index:
    """Another way to list an entity: a partition and an order of its own.

    The order goes on with the primary key where sort keys are equal, so a template need not repeat it.

    Args:
        name: of the accessor: ``repository.by_user``.
        slot: which of the store's overloaded indexes keeps it, 1 to 8; once per entity.
        pk: the partition; may hold one ``Sharded``.
        sk: the order within the partition.
        when: instances for which it is false are not listed; nor are those where a part is ``None``, or where the only
            part is empty text. It should look at nothing but the instance.
    """

    name: str
    slot: int
    pk: Template
    sk: Template
    when: Callable[[Any], bool] | None = None  # the model is known only to entity()
