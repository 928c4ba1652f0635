"""Items as the service takes and gives them, and how many of them go into one request."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus

import orjson
from pinecone import Vector as Record

from storycore.ports.filters import MetadataValue
from storycore.ports.vectors import Metadata, VectorItem
from storycore_pinecone._errors import REQUEST_BYTES

__all__ = [
    "ANSWER_BYTES",
    "NUMBER_BYTES",
    "batches",
    "ids_in_batches",
    "item_of",
    "lines_of_ids",
    "metadata_of",
    "record_of",
]

_RECORDS: Final = 1_000
"""Of one upsert, and ids of one delete (Pinecone: database limits)."""
_ROOM: Final = 4_096
"""Bytes of a request that are not records: the namespace, and what holds the records together."""
ANSWER_BYTES: Final = 4_000_000
"""Of an answer (Pinecone: a query's result has at most 4 MB)."""
NUMBER_BYTES: Final = 12
"""Of a vector's number in an answer, at least."""
_FETCHED: Final = 100
_LINE_CHARS: Final = 6_000
"""Of an address with the ids to fetch: common servers take 8 KB."""
_WHOLE: Final = 2**53
_TURN_BYTES: Final = 100_000
"""Of records that are measured before other tasks get a turn."""


def record_of(item: VectorItem) -> dict[str, Any]:
    """An item for the service; without metadata where it has none."""
    record: dict[str, Any] = {"id": item.id, "values": item.values.tolist()}
    if item.metadata:
        record["metadata"] = dict(item.metadata)
    return record


def item_of(record: Record) -> VectorItem:
    """An item from the service."""
    return VectorItem(record.id, array("f", record.values), metadata_of(record.metadata))


def metadata_of(given: Mapping[str, Any] | None) -> Metadata:
    """Metadata from the service: numbers come as float64, and whole ones are ints again."""
    return {key: _value(value) for key, value in (given or {}).items()}


async def batches(items: Iterable[VectorItem]) -> AsyncIterator[list[dict[str, Any]]]:
    """Records for one upsert each: at most 1000, and at most 2 MB as JSON."""
    batch: list[dict[str, Any]] = []
    used, measured = _ROOM, 0
    for item in items:
        record = record_of(item)
        size = len(orjson.dumps(record)) + 1
        measured += size
        if measured > _TURN_BYTES:
            measured = 0
            await asyncio.sleep(0)
        if batch and (len(batch) == _RECORDS or used + size > REQUEST_BYTES):
            yield batch
            batch, used = [], _ROOM
        batch.append(record)
        used += size
    if batch:
        yield batch


def ids_in_batches(ids: Sequence[str]) -> list[list[str]]:
    """Ids for one delete each: at most 1000, and at most 2 MB."""
    return [list(ids[start : start + _RECORDS]) for start in range(0, len(ids), _RECORDS)]


def lines_of_ids(ids: Iterable[str], dimension: int) -> list[list[str]]:
    """Ids for one fetch each: at most 100, as many as its address holds, and as an answer of 4 MB holds vectors."""
    most = max(1, min(_FETCHED, ANSWER_BYTES // (NUMBER_BYTES * dimension)))
    lines: list[list[str]] = []
    room = 0
    for id_ in ids:
        size = len(quote_plus(id_)) + 5
        if not lines or len(lines[-1]) == most or size > room:
            lines.append([])
            room = _LINE_CHARS
        lines[-1].append(id_)
        room -= size
    return lines


def _value(value: Any) -> MetadataValue:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE:
        return int(value)
    return value  # type: ignore[no-any-return]  # a text, a bool, another number, or a list of texts
