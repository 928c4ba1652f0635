"""What reads and writes cost in production, in capacity units, by the published rules; nothing here is measured.

The rules are DynamoDB's (Developer Guide: "Read and write operations", "Item sizes and formats", "Managing
transactions", "Global secondary indexes: provisioned throughput considerations"). Sizes are those of ``item_size``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from storycore.ports.entities import Put, Record
from storycore.ports.item_size import item_size

__all__ = [
    "READ_UNIT_BYTES",
    "REQUEST_BYTES",
    "WRITE_UNIT_BYTES",
    "ReadCost",
    "query_cost",
    "read_units",
    "write_units",
]

READ_UNIT_BYTES = 4096
"""One read unit reads so much consistently, or twice as much eventually."""
WRITE_UNIT_BYTES = 1024
"""One write unit writes so much."""
REQUEST_BYTES = 1024 * 1024
"""A request of a query gives at most so much, whatever its limit."""

_LONGEST_REQUEST = 1000


@dataclass(frozen=True, slots=True)
class ReadCost:
    """What a query costs.

    Args:
        requests: how many are sent.
        records: how many are read.
        units: read capacity units.
    """

    requests: int
    records: int
    units: float


def read_units(size_bytes: int, *, consistent: bool = True, transactional: bool = False) -> float:
    """The units of one read of so many bytes in all: of an item, or of all items that one request of a query reads.

    A read of nothing costs as much as one of a byte.
    """
    units = max(1, ceil(size_bytes / READ_UNIT_BYTES))
    if transactional:
        return 2.0 * units
    return float(units) if consistent else units / 2


def query_cost(records: Sequence[int], item_bytes: int, *, consistent: bool) -> ReadCost:
    """The cost of reading so many records of each partition, of one size each.

    A partition of nothing is asked all the same. Within a request sizes add up before they are rounded.
    """
    requests, units = 0, 0.0
    for count in records:
        needed = max(1, ceil(count / min(_LONGEST_REQUEST, max(1, REQUEST_BYTES // item_bytes))))
        requests += needed
        units += needed * read_units(ceil(count / needed) * item_bytes, consistent=consistent)
    return ReadCost(requests, sum(records), units)


def write_units(before: Put | Record | None, after: Put | Record | None, *, transactional: bool = False) -> int:
    """The units of a write that turns one state of a record into another, ``None`` where there is none.

    The table counts the larger of both. Each index counts its own entry: once when it comes, goes or changes in place,
    twice when its key changes, for that removes an entry and makes another. A refused write costs the same.
    """
    table = max(_units(before), _units(after), 1)
    slots = {slot for state in (before, after) if state is not None for slot in state.index_keys}
    indexes = sum(_index_units(slot, before, after) for slot in slots)
    return (2 * table if transactional else table) + indexes


def _index_units(slot: int, before: Put | Record | None, after: Put | Record | None) -> int:
    old = None if before is None else before.index_keys.get(slot)
    new = None if after is None else after.index_keys.get(slot)
    gone = 0 if old is None else _units(before)
    come = 0 if new is None else _units(after)
    return max(gone, come) if old == new else gone + come


def _units(state: Put | Record | None) -> int:
    return 0 if state is None else ceil(item_size(state) / WRITE_UNIT_BYTES)
