"""When two calls under one token ask for the same: one digest of their writes, for every adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from storycore.ports.entities import KEEP, FieldValue, Key, Patch, Put, Write

__all__ = ["write_digest"]


def write_digest(writes: Sequence[Write]) -> bytes:
    """32 bytes: the same for writes that are equal with values of equal types, and for no others.

    It does not matter in which order fields were given, how a ``Decimal`` is written, or in which time zone an expiry.
    """
    return hashlib.sha256(repr([_canonical(write) for write in writes]).encode()).digest()


def _canonical(write: Write) -> tuple[object, ...]:
    head = (type(write).__name__, write.key.pk, write.key.sk, repr(write.when))
    if isinstance(write, Put):
        parts = (_time(write.expires_at), _keys(write.index_keys), _values(write.fields), write.body)
        return (*head, write.kind, *parts)
    if isinstance(write, Patch):
        changes = tuple(_values(given) for given in (write.add, write.set, write.include, write.exclude))
        body = KEEP.value if write.body is KEEP else write.body
        index_keys = KEEP.value if write.index_keys is KEEP else _keys(write.index_keys)
        expires_at = KEEP.value if write.expires_at is KEEP else _time(write.expires_at)
        return (*head, changes, sorted(write.unset), body, index_keys, expires_at)
    return head


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


def _keys(index_keys: Mapping[int, Key]) -> list[tuple[int, str, str]]:
    return [(slot, key.pk, key.sk) for slot, key in sorted(index_keys.items())]


def _values(fields: Mapping[str, FieldValue]) -> list[tuple[str, str, object]]:
    return [(name, type(fields[name]).__name__, _plain(fields[name])) for name in sorted(fields)]


def _plain(value: FieldValue) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Decimal):
        return _shortest(value)
    return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0


def _shortest(value: Decimal) -> tuple[int, str, int]:
    """Sign, digits and exponent without trailing zeros; no context rounds."""
    if not value:
        return 0, "", 0
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    return sign, kept, int(exponent) + len(text) - len(kept)
