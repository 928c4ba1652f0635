"""Soft deletion: an instance moves to where only ``restore``, ``purge`` and ``deleted`` find it.

A deleted instance is a record of another kind under another key. So no read, listing or write of the entity can meet
it by mistake, it holds no unique values, and the change feed tells a deletion as a deletion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from storycore.entities.steps import Companion
from storycore.entities.uniqueness import HELD_FIELD
from storycore.errors import AlreadyExists, Retry
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import Check, FieldValue, Key, Put

if TYPE_CHECKING:
    from storycore.entities.declaration import Entity

__all__ = ["SoftDelete", "buried", "deleted_twin", "grave_key", "guard"]

M = TypeVar("M", bound=BaseModel)

_PREFIX = "!deleted#"
_PK_BYTES = 2048


@dataclass(frozen=True, slots=True)
class SoftDelete:
    """Deletion that can be undone.

    Args:
        field: a field of type ``datetime | None`` that tells when an instance was deleted; ``delete`` sets it.
        keep: how long a deleted instance can be restored; ``None``: until it is purged.
    """

    field: str
    keep: timedelta | None = None


def grave_key(key: Key) -> Key:
    """Where the instance of ``key`` lies while it is deleted; no instance's own key begins with ``!``."""
    pk = _PREFIX + key.pk
    if len(pk.encode()) > _PK_BYTES:
        pk = f"{_PREFIX}%sha256%{sha256(key.pk.encode()).hexdigest()}"
    return Key(pk, key.sk)


def deleted_twin(entity: Entity[M]) -> Entity[M]:
    """The declaration by which deleted instances are read."""
    return replace(entity, kind=f"{entity.kind}~deleted", indexes={}, unique={})


def buried(entity: Entity[M], put: Put, at: datetime) -> Put:
    """The record of an instance that was deleted ``at``, made of the one that would store it alive."""
    fields: Mapping[str, FieldValue] = {name: value for name, value in put.fields.items() if name != HELD_FIELD}
    ends = [moment for moment in (put.expires_at, _kept_until(entity, at)) if moment is not None]
    return replace(
        put,
        key=grave_key(put.key),
        kind=deleted_twin(entity).kind,
        expires_at=min(ends, default=None),
        index_keys={},
        fields=fields,
    )


def guard(kind: str, key: Key) -> Companion:
    """Let a write that creates fail while a deleted instance has the key."""
    return Companion(
        Check(key=grave_key(key), when=ABSENT),
        AlreadyExists(
            f"A deleted {kind} lies under ({key.pk!r}, {key.sk!r}); restore() or purge() it first.", retry=Retry.NEVER
        ),
    )


def _kept_until(entity: Entity[M], at: datetime) -> datetime | None:
    assert entity.soft_delete is not None
    keep = entity.soft_delete.keep
    return None if keep is None else at + keep
