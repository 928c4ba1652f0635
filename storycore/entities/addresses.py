"""What stands for a key: an instance, a mapping of parts, a ``Key``, parts by name, or a value alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypeVar

from pydantic import BaseModel

from storycore.entities.codec import key_of
from storycore.entities.declaration import Entity
from storycore.errors import InvalidArgument
from storycore.ports.entities import Key

__all__ = ["KeyLike", "address_of", "addresses_of"]

M = TypeVar("M", bound=BaseModel)

KeyLike: TypeAlias = Key | BaseModel | Mapping[str, object] | object
"""A key: an instance, a mapping of parts, a ``Key``, or the value itself where the key has one part."""


def address_of(entity: Entity[M], key: KeyLike | None, parts: Mapping[str, object]) -> Key:
    """The record key that a key, or its parts by name, stand for.

    Raises:
        InvalidArgument: a part is missing, unknown or of the wrong type.
        InvalidKey: a part is empty or cannot stand in a key.
    """
    if key is None:
        return entity.table.address(parts)
    if parts:
        raise InvalidArgument("Give the key itself or its parts by name, not both.")
    if isinstance(key, Key):
        return key
    if isinstance(key, entity.model):
        return key_of(entity, key)
    if isinstance(key, Mapping):
        return entity.table.address({str(name): value for name, value in key.items()})
    fields = entity.table.fields
    if len(fields) != 1:
        raise InvalidArgument(f"The key of a {entity.kind} has the parts {', '.join(fields)}; name each.")
    return entity.table.address({fields[0]: key})


def addresses_of(entity: Entity[M], keys: Iterable[KeyLike]) -> list[Key]:
    """The record keys that several keys stand for, in their order.

    Raises:
        InvalidArgument: one key is given where several are expected; otherwise as ``address_of``.
    """
    if isinstance(keys, str | bytes | BaseModel | Key) or not isinstance(keys, Iterable):
        raise InvalidArgument(f"Several keys of a {entity.kind} are a list of them, not a {type(keys).__name__}.")
    return [address_of(entity, key, {}) for key in keys]
