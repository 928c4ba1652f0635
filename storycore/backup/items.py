"""Items: records, vectors and events as bytes that are the same wherever they came from, and back.

An item is one line of JSON, a line feed, and raw bytes: a record's body, a vector's floats. The JSON has sorted keys,
and nothing in it depends on the store, so that equal states have equal bytes.
"""

from __future__ import annotations

import sys
from array import array
from datetime import datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from functools import lru_cache
from typing import Any

import orjson

from storycore.errors import Corrupt
from storycore.ports.conditions import ANY, Condition, Version
from storycore.ports.drafts import quick_put
from storycore.ports.entities import FieldValue, Key, Put, Record
from storycore.ports.events import Event
from storycore.ports.instants import micros, moment
from storycore.ports.vectors import Vector, VectorItem

__all__ = [
    "ending",
    "event_item",
    "put_of",
    "read_event",
    "read_vector",
    "record_head",
    "record_item",
    "record_key",
    "vector_item",
    "vector_key",
]

_NOTHING = Key("", "")
_JSON_INT = 2**63
"""Whole numbers below this are JSON numbers; larger ones are texts with a tag."""
_EXACT = Context(prec=64, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Rounds nothing that a port keeps: at most 38 digits."""


def record_item(record: Record) -> bytes:
    """A record without its version, which belongs to the store that holds it."""
    return record_head(record, record_key(record.key)) + record.body


def record_head(record: Record, key: bytes) -> bytes:
    """What stands in front of the body in a record's item.

    Args:
        key: ``record_key`` of its key, with which the line begins.
    """
    if record.fields or record.index_keys or record.expires_at is not None:
        return key[:-1] + _end_of(record)
    return key[:-1] + _plain_end(record.kind)


@lru_cache(256)
def _plain_end(kind: str) -> bytes:
    """The line behind the key, of a record that has nothing but a body; half the time of making it anew."""
    return _end_of(Record(key=_NOTHING, kind=kind, version=Version(0)))


def _end_of(record: Record) -> bytes:
    rest = [
        record.kind,
        None if record.expires_at is None else micros(record.expires_at),
        {str(slot): [key.pk, key.sk] for slot, key in record.index_keys.items()},
        {name: _tagged(value) for name, value in record.fields.items()},
    ]
    return b"," + orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)[1:] + b"\n"


def put_of(item: bytes, when: Condition = ANY) -> Put:
    """The put that brings the record back.

    Raises:
        Corrupt: these bytes are not a record's.
    """
    head, body = _parts(item, 6)
    pk, sk, kind, expires_at, index_keys, fields = head
    return quick_put(
        Key(pk, sk),
        kind,
        None if expires_at is None else moment(expires_at),
        {int(slot): Key(*key) for slot, key in index_keys.items()} if index_keys else {},
        {name: _untagged(value) for name, value in fields.items()} if fields else {},
        body,
        when,
    )


def ending(item: bytes) -> datetime | None:
    """When a record ends by itself.

    Raises:
        Corrupt: these bytes are not a record's.
    """
    line = item[: item.find(b"\n")]
    if b'",null,{' in line and b"\\" not in line:  # what most records say; no key can look like it
        return None
    expires_at = _parts(item, 6)[0][3]
    return None if expires_at is None else moment(expires_at)


def record_key(key: Key) -> bytes:
    """What identifies a record among all items of its port."""
    return orjson.dumps([key.pk, key.sk])


def vector_item(item: VectorItem, *, namespace: str) -> bytes:
    """A vector with its metadata; the floats are little-endian."""
    head = [namespace, item.id, {name: _listed(value) for name, value in item.metadata.items()}]
    return orjson.dumps(head, option=orjson.OPT_SORT_KEYS) + b"\n" + _little(item.values).tobytes()


def read_vector(item: bytes) -> tuple[str, VectorItem]:
    """The namespace and the vector.

    Raises:
        Corrupt: these bytes are not a vector's.
    """
    (namespace, id_, metadata), raw = _parts(item, 3)
    values = array("f")
    if len(raw) % values.itemsize:
        raise Corrupt(f"The vector {id_!r} in the backup has {len(raw)} bytes, which are no whole floats.")
    values.frombytes(raw)
    return namespace, VectorItem(id_, _little(values), metadata)


def vector_key(namespace: str, id_: str) -> bytes:
    """What identifies a vector among all items of its port."""
    return orjson.dumps([namespace, id_])


def event_item(event: Event) -> bytes:
    """An event without its offset, which belongs to the log that holds it."""
    head = [event.id, event.type, micros(event.at), event.subject]
    return orjson.dumps(head) + b"\n" + orjson.dumps(event.data, option=orjson.OPT_SORT_KEYS)


def read_event(item: bytes) -> Event:
    """The event.

    Raises:
        Corrupt: these bytes are not an event's.
    """
    (id_, type_, at, subject), data = _parts(item, 4)
    return Event(id=id_, type=type_, at=moment(at), subject=subject, data=orjson.loads(data))


def _parts(item: bytes, count: int) -> tuple[list[Any], bytes]:  # Any: JSON that this module wrote
    line, found, rest = item.partition(b"\n")
    try:
        head = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise Corrupt(f"An item of the backup cannot be read: {exc}.") from exc
    if not found or not isinstance(head, list) or len(head) != count:
        raise Corrupt("An item of the backup has another form than this version of storycore writes.")
    return head, rest


def _tagged(value: FieldValue) -> object:
    if isinstance(value, frozenset):
        return {"s": sorted(value)}
    if isinstance(value, Decimal):
        return {"d": str(_EXACT.add(value, 0).normalize(_EXACT))}  # -0 is 0
    if isinstance(value, int) and not isinstance(value, bool) and not -_JSON_INT <= value < _JSON_INT:
        return {"i": str(value)}
    return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0, as in the port


def _untagged(value: Any) -> FieldValue:  # Any: JSON that this module wrote
    if not isinstance(value, dict):
        plain: FieldValue = value
        return plain
    ((tag, held),) = value.items()
    if tag == "s":
        return frozenset(held)
    return Decimal(held) if tag == "d" else int(held)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, (list, tuple)) else value


def _little(values: Vector) -> Vector:
    """The floats in the other order of bytes where the machine's is not little-endian."""
    if sys.byteorder == "little":
        return values
    swapped = array("f", values)
    swapped.byteswap()
    return swapped
