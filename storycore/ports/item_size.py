"""How large a record counts, in bytes, by the rules of the production store."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from storycore.errors import TooLarge
from storycore.ports.entities import FieldValue, Key, Patch, Put, Record
from storycore.ports.index_order import index_place

__all__ = ["ITEM_BYTES", "item_size", "require_item_size", "size_breakdown"]

ITEM_BYTES = 400 * 1024
"""The largest record (DynamoDB: item size, names and values together)."""

_ENVELOPE_BYTES = 140
"""Names and values of what every record carries besides its own parts: version, expiry, write id, size, their names."""

_INDEX_NAMES_BYTES = 8
"""The names of an index's two attributes."""

_NAMED_TYPES = (float, Decimal)
"""Types of numbers that have to be named beside the number."""


def item_size(item: Put | Patch | Record) -> int:
    """The size in bytes; of a patch, the size of the parts that it brings."""
    size = _key_size(item.key) + _ENVELOPE_BYTES
    if not isinstance(item, Patch):
        size += _text_size(item.kind)
    if isinstance(item.body, bytes):
        size += len(item.body)
    if isinstance(item.index_keys, Mapping):
        for key in item.index_keys.values():
            size += _index_size(key, item.key)
    for name, value in _fields(item).items():
        size += _field_size(name, value)
    return size


def size_breakdown(item: Put | Patch | Record) -> dict[str, int]:
    """The size in bytes per part and field, largest first.

    Text counts its UTF-8 bytes, a number one byte more than its pairs of digits, a set the sum of its members; each
    field also counts its name, and once more where the name is needed to tell a float or a ``Decimal`` from an int.
    An index key counts with the place that orders it (DynamoDB: item sizes and formats).
    """
    sizes = {"key": _key_size(item.key), "envelope": _ENVELOPE_BYTES}
    if not isinstance(item, Patch):
        sizes["kind"] = _text_size(item.kind)
    if isinstance(item.body, bytes):
        sizes["body"] = len(item.body)
    if isinstance(item.index_keys, Mapping):
        sizes |= {f"index_keys[{slot}]": _index_size(key, item.key) for slot, key in item.index_keys.items()}
    sizes |= {f"fields[{name}]": _field_size(name, value) for name, value in _fields(item).items()}
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def require_item_size(item: Put | Patch | Record) -> None:
    """Raise ``TooLarge``, with the size of each part, when the item is larger than 400 KiB."""
    if _is_surely_small(item):
        return
    actual = item_size(item)
    if actual > ITEM_BYTES:
        breakdown = size_breakdown(item)
        largest = ", ".join(f"{part} {size}" for part, size in list(breakdown.items())[:3])
        raise TooLarge(
            f"The record ({item.key.pk!r}, {item.key.sk!r}) counts {actual} bytes, at most {ITEM_BYTES} are allowed "
            f"(largest parts: {largest}); move large values to the blob store.",
            limit=ITEM_BYTES,
            actual=actual,
            breakdown=breakdown,
        )


def _is_surely_small(item: Put | Patch | Record) -> bool:
    fields = item.set if isinstance(item, Patch) else item.fields
    return not fields and isinstance(item.body, bytes) and len(item.body) < ITEM_BYTES // 2


def _fields(item: Put | Patch | Record) -> Mapping[str, FieldValue]:
    return {**item.set, **item.add, **item.include} if isinstance(item, Patch) else item.fields


def _index_size(index_key: Key, key: Key) -> int:
    return _INDEX_NAMES_BYTES + _text_size(index_key.pk) + _text_size(index_place(index_key, key))


def _field_size(name: str, value: FieldValue) -> int:
    names = 2 if isinstance(value, _NAMED_TYPES) else 1
    return names * _text_size(name) + _value_size(value)


def _key_size(key: Key) -> int:
    return _text_size(key.pk) + _text_size(key.sk)


def _value_size(value: FieldValue) -> int:
    if isinstance(value, str):
        return _text_size(value)
    if isinstance(value, bool):
        return 1
    if isinstance(value, frozenset):
        return sum(map(_text_size, value))
    return _number_size(value)


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _number_size(value: int | float | Decimal) -> int:
    """A byte for each pair of digits, counted from the decimal point, and one more; a sign is another."""
    if isinstance(value, int):
        text, exponent = str(abs(value)), 0
    else:
        decimal = Decimal(repr(value)) if isinstance(value, float) else value
        text, exponent = "".join(map(str, decimal.as_tuple().digits)), int(decimal.as_tuple().exponent)
    text = text.lstrip("0")
    significant = text.rstrip("0")
    shift = (len(text) - len(significant) + exponent) % 2 if significant else 0
    return (len(significant) + shift + 1) // 2 + 1 + (value < 0)
