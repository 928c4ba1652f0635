"""A lossless codec for entity records: a JSON head, then the body's own bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson

from storycore.errors import InvalidArgument
from storycore.ports.conditions import Version
from storycore.ports.entities import FieldValue, Key, Record

__all__ = ["RecordCodec"]

_HEAD_LENGTH = struct.Struct(">I")

_READ: Mapping[str, Callable[[Any], FieldValue]] = {  # each reads what _written wrote
    "s": str,
    "b": bool,
    "f": float.fromhex,
    "i": int,
    "d": Decimal,
    "S": frozenset,
}


class RecordCodec:
    """Records of any kind; equal records come back, with fields of the same types."""

    schema = blake2b(b"storycore record 1", digest_size=8).digest()
    allows_none = False

    def encode(self, value: Record) -> bytes:
        """The record as bytes."""
        head = orjson.dumps(
            {
                "key": [value.key.pk, value.key.sk],
                "kind": value.kind,
                "version": str(value.version),
                "expires_at": None if value.expires_at is None else value.expires_at.isoformat(),
                "index_keys": [[slot, key.pk, key.sk] for slot, key in value.index_keys.items()],
                "fields": [[name, *_written(field)] for name, field in value.fields.items()],
            }
        )
        return _HEAD_LENGTH.pack(len(head)) + head + value.body

    def decode(self, payload: bytes) -> Record:
        """The record; ``ValueError`` for bytes that are none."""
        try:
            (length,) = _HEAD_LENGTH.unpack_from(payload)
            head = orjson.loads(payload[_HEAD_LENGTH.size : _HEAD_LENGTH.size + length])
            return _record(head, payload[_HEAD_LENGTH.size + length :])
        except (KeyError, TypeError, ArithmeticError, struct.error) as exc:
            raise ValueError("These bytes are no record.") from exc

    def keep(self, payload: bytes, value: Record) -> object:
        """The record, which ``give`` copies."""
        return _copied(value)

    def give(self, kept: Any) -> Record:
        """A copy, so that nobody changes another's mappings; all else cannot be changed."""
        return _copied(kept)


def _copied(record: Record) -> Record:
    return replace(record, index_keys=dict(record.index_keys), fields=dict(record.fields))


def _record(head: Any, body: bytes) -> Record:
    expires_at = head["expires_at"]
    return Record(
        key=Key(*head["key"]),
        kind=head["kind"],
        version=Version(int(head["version"])),
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
        index_keys={slot: Key(pk, sk) for slot, pk, sk in head["index_keys"]},
        fields={name: _READ[form](field) for name, form, field in head["fields"]},
        body=body,
    )


def _written(field: FieldValue) -> tuple[str, object]:
    if isinstance(field, str):
        return "s", field
    if isinstance(field, bool):
        return "b", field
    if isinstance(field, float):
        return "f", field.hex()
    if isinstance(field, int):
        return "i", str(field)
    if isinstance(field, Decimal):
        return "d", str(field)
    if isinstance(field, frozenset):
        return "S", sorted(field)
    raise InvalidArgument(f"A record's field cannot be {type(field).__name__}.")
