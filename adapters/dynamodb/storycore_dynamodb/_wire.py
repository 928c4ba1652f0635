"""Items as DynamoDB keeps them: plain functions between records and attribute values.

Nothing here asks for anything or knows a client; attribute values are the service's own JSON, as boto3's low-level
client takes and gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final, TypeAlias

from storycore.errors import Corrupt
from storycore.ports.conditions import Version
from storycore.ports.entities import INDEX_SLOTS, FieldValue, Key, Record
from storycore.ports.index_order import index_place, index_prefix
from storycore.ports.instants import micros, moment
from storycore.ports.item_size import item_size

__all__ = [
    "RESERVED_PK",
    "AttributeValue",
    "Item",
    "attribute_name",
    "attribute_value",
    "body_value",
    "index_attributes",
    "index_sk_of",
    "is_record",
    "item_of",
    "key_of",
    "key_values",
    "number",
    "number_of",
    "record_of",
    "seconds_after",
    "string_set",
]

AttributeValue: TypeAlias = Mapping[str, Any]
"""One of ``{"S": text}``, ``{"N": digits}``, ``{"B": bytes}``, ``{"BOOL": bool}``, ``{"SS": [text, …]}``."""

Item: TypeAlias = Mapping[str, AttributeValue]

RESERVED_PK: Final = "\0storycore"
"""The partition of the adapter's own items: the layout mark and the tokens."""

_OWN = frozenset({"pk", "sk", "ttl", "d", *(f"g{n}{part}" for n in range(1, INDEX_SLOTS + 1) for part in ("pk", "sk"))})
_PARTS = _OWN | {"_k", "_v", "_w", "_at", "_s", "_x", "_f", "_d"}
_INDEX_NAMES = {slot: (f"g{slot}pk", f"g{slot}sk") for slot in range(1, INDEX_SLOTS + 1)}
_NO_KEY = Key("", "")
_ENVELOPE_BYTES = item_size(Record(key=_NO_KEY, kind="", version=Version(1)))
_INDEX_NAMES_BYTES = 8
_NUMBER_BYTES = 22
_PLAIN = 10**38
_WIDE = Context(prec=400)
_ESCAPED = re.compile("\1([\1\2])")
_NONE: frozenset[str] = frozenset()


def item_of(record: Record, *, write_id: str, written_at: int) -> dict[str, AttributeValue]:
    """The whole item of a record.

    Args:
        record: what is kept.
        write_id: of the write that stores it.
        written_at: microseconds since 1970.
    """
    key, kind, body = record.key, record.kind, record.body
    item: dict[str, AttributeValue] = {
        "pk": {"S": key.pk},
        "sk": {"S": key.sk},
        "_k": {"S": kind},
        "_v": {"N": str(record.version)},
        "_w": {"S": write_id},
        "_at": {"N": str(written_at)},
    }
    size = _ENVELOPE_BYTES + _length(key.pk) + _length(key.sk) + _length(kind) + len(body)
    if record.expires_at is not None:
        item["_x"] = number(micros(record.expires_at))
        item["ttl"] = number(seconds_after(record.expires_at))
    if body:
        item["d"] = body_value(body)
    if record.index_keys:
        size += _add_indexes(item, record.index_keys, key)
    if record.fields:
        size += _add_fields(item, record.fields)
    item["_s"] = {"N": str(size)}
    return item


def record_of(item: Item) -> Record:
    """The record that an item holds.

    Raises:
        Corrupt: the item is not one that this adapter writes.
    """
    try:
        expiry = item.get("_x")
        return Record(
            key=Key(item["pk"]["S"], item["sk"]["S"]),
            kind=item["_k"]["S"],
            version=Version(int(item["_v"]["N"])),
            expires_at=None if expiry is None else moment(int(expiry["N"])),
            index_keys={
                slot: Key(item[pk]["S"], index_sk_of(item[sk]["S"]))
                for slot, (pk, sk) in _INDEX_NAMES.items()
                if pk in item
            },
            fields=_fields_of(item),
            body=_body_of(item.get("d")),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
        raise Corrupt(
            f"The item ({_shown(item, 'pk')}, {_shown(item, 'sk')}) is not one that storycore wrote "
            f"({type(exc).__name__}: {exc}); remove it from the table, or restore the table from a backup."
        ) from exc


def is_record(item: Item) -> bool:
    """Whether an item is a record, and not one of the adapter's own."""
    return "_k" in item and item["pk"]["S"] != RESERVED_PK


def key_values(key: Key) -> dict[str, AttributeValue]:
    """The two key attributes."""
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def key_of(item: Item) -> Key:
    """The key of an item or of a part of one."""
    return Key(item["pk"]["S"], item["sk"]["S"])


def index_attributes(index_keys: Mapping[int, Key], key: Key) -> dict[str, AttributeValue]:
    """The attributes under which the indexes list a record, in the order (index sk, pk, sk)."""
    values: dict[str, AttributeValue] = {}
    _add_indexes(values, index_keys, key)
    return values


def index_sk_of(place: str) -> str:
    """The index sort key that a place made by ``index_place`` begins with."""
    escaped = place[: place.index("\0")]
    return _ESCAPED.sub(lambda found: "\0" if found[1] == "\1" else "\1", escaped) if "\1" in escaped else escaped


def attribute_name(field: str) -> str:
    """The attribute of a promoted field: its own name, or one beginning with ``~`` where that is taken."""
    return f"~{field}" if field in _OWN or field[0] == "~" else field


def attribute_value(value: FieldValue) -> AttributeValue:
    """The attribute value of a promoted field."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, frozenset):
        return string_set(value)
    return number(value)


def number(value: int | float | Decimal) -> AttributeValue:
    """A number, exactly; a float by its shortest text."""
    if not value:
        return {"N": "0"}
    if isinstance(value, float):
        return {"N": repr(value)}
    if isinstance(value, int) and -_PLAIN < value < _PLAIN:
        return {"N": str(value)}
    return {"N": str(_WIDE.create_decimal(value).normalize(_WIDE))}


def string_set(members: Iterable[str]) -> AttributeValue:
    """A set of text; not empty."""
    return {"SS": sorted(members)}


def number_of(value: AttributeValue) -> int:
    """A whole number."""
    digits: str = value["N"]
    try:
        return int(digits)
    except ValueError:
        return int(Decimal(digits))


def body_value(body: bytes) -> AttributeValue:
    """A body: readable where it is text; not empty."""
    try:
        return {"S": body.decode()}
    except UnicodeDecodeError:
        return {"B": body}


def seconds_after(at: datetime) -> int:
    """Seconds since 1970, rounded up."""
    return -(-micros(at) // 1_000_000)


def _add_indexes(item: dict[str, AttributeValue], index_keys: Mapping[int, Key], key: Key) -> int:
    """Add the attributes of the indexes; returns their size in bytes."""
    size = 0
    rest = index_place(_NO_KEY, key)
    for slot, index_key in index_keys.items():
        place = index_prefix(index_key.sk) + rest
        pk_name, sk_name = _INDEX_NAMES[slot]
        item[pk_name] = {"S": index_key.pk}
        item[sk_name] = {"S": place}
        size += _INDEX_NAMES_BYTES + _length(index_key.pk) + _length(place)
    return size


def _add_fields(item: dict[str, AttributeValue], fields: Mapping[str, FieldValue]) -> int:
    """Add the promoted fields; returns at least their size in bytes. The usual types are told without asking twice."""
    size = _length("".join(fields))
    told: dict[str, list[str]] = {}
    for name, value in fields.items():
        attribute = name if name not in _OWN and name[0] != "~" else f"~{name}"
        if type(value) is str:
            item[attribute] = {"S": value}
            size += len(value) if value.isascii() else _length(value)
        elif type(value) is int and -_PLAIN < value < _PLAIN:
            item[attribute] = {"N": str(value)}
            size += _NUMBER_BYTES
        else:
            item[attribute] = attribute_value(value)
            size += _size_of(value)
            if (list_ := _list_of(value)) is not None:
                told.setdefault(list_, []).append(name)
                size += _length(name)
    for list_, names in told.items():
        item[list_] = string_set(names)
    return size


def _list_of(value: FieldValue) -> str | None:
    """The attribute that names the fields of a type which a number alone does not tell."""
    return "_f" if isinstance(value, float) else "_d" if isinstance(value, Decimal) else None


def _size_of(value: FieldValue) -> int:
    """At least the size of a value, in bytes."""
    if isinstance(value, str):
        return _length(value)
    return sum(map(_length, value)) if isinstance(value, frozenset) else _NUMBER_BYTES


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _fields_of(item: Item) -> dict[str, FieldValue]:
    floats = item["_f"]["SS"] if "_f" in item else _NONE
    decimals = item["_d"]["SS"] if "_d" in item else _NONE
    fields: dict[str, FieldValue] = {}
    for attribute, value in item.items():
        if attribute in _PARTS:
            continue
        name = attribute
        if attribute[0] in "_~":
            if attribute[0] == "_":
                continue
            name = attribute[1:]
        if "S" in value:
            fields[name] = value["S"]
        elif "N" in value:
            digits = value["N"]
            fields[name] = (
                float(digits) if name in floats else Decimal(digits) if name in decimals else number_of(value)
            )
        elif "SS" in value:
            fields[name] = frozenset(value["SS"])
        elif "BOOL" in value:
            fields[name] = value["BOOL"]
        else:
            raise ValueError(f"field {name!r} is of type {', '.join(value)}")
    return fields


def _body_of(value: AttributeValue | None) -> bytes:
    if value is None:
        return b""
    return bytes(value["B"]) if "B" in value else str(value["S"]).encode()


def _shown(item: Item, attribute: str) -> str:
    return repr(item.get(attribute, {}).get("S"))
