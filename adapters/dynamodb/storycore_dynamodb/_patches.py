"""Patches as one UpdateItem: what the server can work out by itself, and what it cannot.

The server's sums and sets are used where they mean exactly what the port means. What it would do differently, such as
adding to a float, is excluded by the condition; the caller then works the patch out from the item that comes back.
"""

from __future__ import annotations

from decimal import Decimal

from storycore.ports.entities import KEEP, Patch
from storycore.ports.instants import micros
from storycore.ports.item_size import ITEM_BYTES, item_size
from storycore.ports.records import demand
from storycore_dynamodb._expressions import Expression, condition_of
from storycore_dynamodb._table import SLOTS
from storycore_dynamodb._wire import (
    AttributeValue,
    Item,
    attribute_name,
    attribute_value,
    body_value,
    index_attributes,
    number,
    seconds_after,
    string_set,
)

__all__ = ["is_simple", "update_of"]

_MOST_PARTS = 20
"""Fields in one expression; longer ones could exceed what the service reads (DynamoDB: 4 KB an expression)."""

_LARGEST_GROWTH = 200 * 1024
"""What an update may bring: its parts count against the item's limit too."""

_LARGEST_SUM = 10**36
"""Whole numbers below it can be added without losing a digit (DynamoDB: 38 digits)."""

_NUMBER_BYTES = 22
"""The largest number (DynamoDB: item sizes)."""


def is_simple(patch: Patch) -> bool:
    """Whether one UpdateItem can do it: whole sums, few parts, and no two that change the same list of types."""
    parts = (*patch.add, *patch.set, *patch.unset, *patch.include, *patch.exclude)
    if len(parts) > _MOST_PARTS or _growth(patch) > _LARGEST_GROWTH:
        return False
    if not all(isinstance(amount, int) and abs(amount) < _LARGEST_SUM for amount in patch.add.values()):
        return False
    floats, decimals, whole = _by_type(patch)
    return not ((floats and (decimals or whole)) or (decimals and whole))


def update_of(patch: Patch, *, write_id: str, now: int) -> dict[str, object]:
    """The expressions of an UpdateItem for a simple patch.

    Args:
        patch: what changes.
        write_id: of this write.
        now: the present in microseconds.
    """
    e = Expression()
    grows = _growth(patch)
    conditions = [
        condition_of(e, demand(patch), now),
        f"{e.name('_s')} <= {e.value(number(ITEM_BYTES - grows))}",
        *(_can_be_added_to(e, name) for name in patch.add),
        *(_is_a_set(e, name) for name in (*patch.include, *patch.exclude)),
    ]
    return e.request(
        UpdateExpression=_update(e, patch, write_id, now, grows),
        ConditionExpression=" AND ".join(conditions),
    )


def _update(e: Expression, patch: Patch, write_id: str, now: int, grows: int) -> str:
    given, gone = _attributes(patch)
    given |= {"_w": {"S": write_id}, "_at": number(now)}
    sets = [f"{e.name(name)} = {e.value(value)}" for name, value in given.items()]
    sets.append(f"{e.name('_v')} = {e.name('_v')} + {e.value(number(1))}")
    floats, decimals, _ = _by_type(patch)
    others = [*(name for name in patch.set if name not in floats and name not in decimals), *patch.unset]
    adds = {attribute_name(name): number(amount) for name, amount in patch.add.items()}
    adds |= {attribute_name(name): string_set(members) for name, members in patch.include.items()}
    adds |= {"_s": number(grows)}
    adds |= {list_: string_set(names) for list_, names in (("_f", floats), ("_d", decimals)) if names}
    deletes = {attribute_name(name): string_set(members) for name, members in patch.exclude.items()}
    if not floats and (decimals or others):
        deletes["_f"] = string_set((*decimals, *others))
    if not decimals and (floats or others):
        deletes["_d"] = string_set((*floats, *others))
    return " ".join(
        (
            f"SET {', '.join(sets)}",
            f"REMOVE {', '.join(e.name(name) for name in gone)}",
            f"ADD {_pairs(e, adds)}",
            *([f"DELETE {_pairs(e, deletes)}"] if deletes else []),
        )
    )


def _attributes(patch: Patch) -> tuple[dict[str, AttributeValue], list[str]]:
    """The attributes that are set and those that are removed."""
    given = {attribute_name(name): attribute_value(value) for name, value in patch.set.items()}
    gone = ["_gone", *(attribute_name(name) for name in patch.unset)]
    if patch.body is not KEEP:
        if patch.body:
            given["d"] = body_value(patch.body)
        else:
            gone.append("d")
    if patch.index_keys is not KEEP:
        given.update(index_attributes(patch.index_keys, patch.key))
        gone += [f"g{slot}{part}" for slot in SLOTS if slot not in patch.index_keys for part in ("pk", "sk")]
    if patch.expires_at is None:
        gone += ["_x", "ttl"]
    elif patch.expires_at is not KEEP:
        given |= {"_x": number(micros(patch.expires_at)), "ttl": number(seconds_after(patch.expires_at))}
    return given, gone


def _by_type(patch: Patch) -> tuple[list[str], list[str], list[str]]:
    """The fields that become floats, those that become decimals, and those that become whole numbers."""
    floats = [name for name, value in patch.set.items() if isinstance(value, float)]
    decimals = [name for name, value in patch.set.items() if isinstance(value, Decimal)]
    whole = [name for name, value in patch.set.items() if isinstance(value, int) and not isinstance(value, bool)]
    return floats, decimals, whole


def _can_be_added_to(e: Expression, field: str) -> str:
    attribute, held = e.name(attribute_name(field)), e.value({"S": field})
    within = f"{attribute} BETWEEN {e.value(number(-_LARGEST_SUM))} AND {e.value(number(_LARGEST_SUM))}"
    return (
        f"(attribute_not_exists({attribute}) OR {within})"
        f" AND NOT contains({e.name('_f')}, {held}) AND NOT contains({e.name('_d')}, {held})"
    )


def _is_a_set(e: Expression, field: str) -> str:
    attribute = e.name(attribute_name(field))
    return f"(attribute_not_exists({attribute}) OR attribute_type({attribute}, {e.value({'S': 'SS'})}))"


def _growth(patch: Patch) -> int:
    """At most so many bytes does the item grow."""
    return item_size(patch) - item_size(Patch(key=patch.key)) + _NUMBER_BYTES * len(patch.add)


def _pairs(e: Expression, given: Item) -> str:
    return ", ".join(f"{e.name(name)} {e.value(value)}" for name, value in given.items())
