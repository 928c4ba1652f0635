"""Values that one live instance may hold: what is declared, and the marker records that keep it true.

A marker lies under a key that is made of the value, so that a second holder would have to put a record where one is.
It is written and removed in the same atomic write as its owner, and expires with it. Each record names the values it
holds, so that the markers it leaves behind are known without decoding what an older program wrote.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel

from storycore.entities.key_types import KeyType
from storycore.entities.keys import KeyPart, encode, encode_part
from storycore.entities.steps import Companion
from storycore.errors import NotUnique
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import Delete, FieldValue, Key, Put, Record

__all__ = [
    "HELD_FIELD",
    "NOTHING",
    "Constraint",
    "Held",
    "Unique",
    "held_by",
    "is_abandoned",
    "marker_key",
    "marker_kind",
    "markers",
    "owner_key",
]

HELD_FIELD = "unique-values"
"""The field of a record that names the values it holds; no field of a model can have that name."""

_LONGEST_VALUE = 255
_MARKER_SORT_KEY = "unique"


@dataclass(frozen=True, slots=True, init=False)
class Unique:
    """A value, or several together, that only one live instance may have.

    An instance of which one of the fields is ``None`` holds nothing.

    Args:
        fields: text, whole numbers, bools, dates, datetimes, UUIDs or enumerations of these.
        within: fields that tell where: a name that is unique within a tenant, say.
        fold: ``"casefold"`` takes texts in ``fields`` that differ only in case for the same.
        name: of the constraint; by default the fields' names. It is stored, so keep it when fields are renamed.
    """

    fields: tuple[str, ...]
    within: tuple[str, ...]
    fold: Literal["casefold"] | None
    name: str

    def __init__(
        self,
        *fields: str,
        within: tuple[str, ...] = (),
        fold: Literal["casefold"] | None = None,
        name: str | None = None,
    ) -> None:
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "within", within)
        object.__setattr__(self, "fold", fold)
        object.__setattr__(self, "name", "_".join(map(str, fields)) if name is None else name)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A declared ``Unique`` that knows its fields' types.

    Args:
        unique: as it was declared.
        types: the key type of each field.
    """

    unique: Unique
    types: Mapping[str, KeyType]

    def value(self, instance: BaseModel) -> str | None:
        """The text that stands for what ``instance`` holds; ``None`` when it holds nothing.

        Different values have different texts, of at most 255 bytes behind the constraint's name.

        Raises:
            InvalidArgument, InvalidKey: a field holds what cannot stand in a key.
        """
        names = (*self.unique.within, *self.unique.fields)
        given = {name: getattr(instance, name) for name in names}
        if None in given.values():
            return None
        text = encode([self._part(name, given[name]) for name in names])
        if len(text.encode()) > _LONGEST_VALUE:
            text = f"%sha256%{sha256(text.encode()).hexdigest()}"
        return f"{encode_part(self.unique.name)}#{text}"

    def _part(self, name: str, value: object) -> KeyPart:
        part = self.types[name].part(name, value)
        if self.unique.fold == "casefold" and name in self.unique.fields and isinstance(part, str):
            return _folded(part)
        return part


@dataclass(frozen=True, slots=True)
class Held:
    """What a stored record holds.

    Args:
        values: as ``Constraint.value`` tells them.
        expires_at: of the record, and so of its markers.
    """

    values: frozenset[str] = field(default_factory=frozenset)
    expires_at: datetime | None = None


NOTHING = Held()
"""What a record holds that does not exist."""


def held_by(record: Record | Put) -> Held:
    """What a record says that it holds, or would hold once it is put."""
    values = record.fields.get(HELD_FIELD, frozenset())
    return Held(values if isinstance(values, frozenset) else frozenset(), record.expires_at)


def marker_key(kind: str, value: str) -> Key:
    """Where the marker of a value lies; no instance's key begins with ``!``."""
    return Key(f"!unique#{kind}#{value}", _MARKER_SORT_KEY)


def marker_kind(kind: str) -> str:
    """The kind of the markers of an entity's values."""
    return f"{kind}~unique"


def owner_key(marker: Record) -> Key:
    """Of the record that holds the value."""
    return Key(str(marker.fields.get("pk", "!")), str(marker.fields.get("sk", "!")))


def is_abandoned(marker: Record, owner: Record | None) -> bool:
    """Whether the value is not held by the record that the marker names, as when a program without it removed that."""
    kind, held = marker.kind.removesuffix(marker_kind("")), NOTHING if owner is None else held_by(owner)
    return marker.key not in {marker_key(kind, value) for value in held.values}


def markers(kind: str, before: Held, after: Put | None, constraints: Mapping[str, Unique]) -> tuple[Companion, ...]:
    """What becomes of the markers when a record that holds ``before`` is replaced by ``after``, or removed.

    Args:
        kind: of the owner.
        before: what the stored record holds; the owner's write must be conditioned on exactly that record.
        after: the owner's write; ``None`` when it is removed.
        constraints: the declared ones by name, for messages.
    """
    then = NOTHING if after is None else held_by(after)
    found = [Companion(Delete(key=marker_key(kind, value))) for value in sorted(before.values - then.values)]
    if after is None:
        return tuple(found)
    for value in sorted(then.values - before.values):
        put = _marker(kind, value, after)
        found.append(Companion(put, _not_unique(kind, value, constraints)))
    if then.expires_at != before.expires_at:
        found += [Companion(_renewed(kind, value, after)) for value in sorted(then.values & before.values)]
    return tuple(found)


def _marker(kind: str, value: str, owner: Put) -> Put:
    fields: dict[str, FieldValue] = {"pk": owner.key.pk, "sk": owner.key.sk}
    key = marker_key(kind, value)
    return Put(key=key, kind=marker_kind(kind), expires_at=owner.expires_at, fields=fields, when=ABSENT)


def _renewed(kind: str, value: str, owner: Put) -> Put:
    fields: dict[str, FieldValue] = {"pk": owner.key.pk, "sk": owner.key.sk}
    return Put(key=marker_key(kind, value), kind=marker_kind(kind), expires_at=owner.expires_at, fields=fields)


def _not_unique(kind: str, value: str, constraints: Mapping[str, Unique]) -> NotUnique:
    name = value.partition("#")[0]
    unique = constraints[name]
    told = " and ".join(unique.fields)
    where = f" within the same {' and '.join(unique.within)}" if unique.within else ""
    return NotUnique(
        f"Another {kind} has the same {told}{where}; choose another value, or change the other {kind} first.",
        kind=kind,
        constraint=name,
        fields=unique.fields,
    )


def _folded(text: str) -> str:
    """Text without its case (Unicode: canonical caseless matching)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
