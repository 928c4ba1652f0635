"""The truth: what the file holds, read and written in whole transactions."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from storycore.errors import Corrupt
from storycore.ports.field_types import FieldType
from storycore.ports.vectors import IdPage, Metadata, Vector, VectorItem, VectorPage

__all__ = ["REMEMBERED", "Row", "State", "Tail", "Truth", "metadata_of", "vector_of"]

REMEMBERED = 1024
"""At least so many of the last writes another process can follow one by one."""


@dataclass(frozen=True, slots=True)
class State:
    """How far the file is.

    Args:
        lsn: number of the last write; every write that changes something takes the next one.
        floor: what ended up to this write is forgotten; who is behind it loads everything anew.
        last_slot: the highest slot ever given.
    """

    lsn: int
    floor: int
    last_slot: int


class Row(NamedTuple):
    """A live item as the file holds it: the vector as float32 bytes, the metadata as JSON."""

    slot: int
    namespace: str
    id: str
    vector: bytes
    metadata: bytes


@dataclass(frozen=True, slots=True)
class Tail:
    """What changed since a known state: the slots that ended, and the rows that came."""

    state: State
    gone: Sequence[tuple[str, int]]
    rows: Iterable[Row]


def vector_of(blob: bytes, dimension: int) -> Vector:
    """The stored vector; ``Corrupt`` when it has another length."""
    if len(blob) != 4 * dimension:
        raise Corrupt(f"A stored vector has {len(blob)} bytes where {4 * dimension} belong; restore from a backup.")
    vector = array("f")
    vector.frombytes(blob)
    return vector


def metadata_of(blob: bytes) -> Metadata:
    """The stored metadata; ``Corrupt`` when it is not what this adapter writes."""
    try:
        metadata = orjson.loads(blob)
    except orjson.JSONDecodeError as exc:
        raise Corrupt("Stored metadata is not JSON; restore from a backup.") from exc
    if not isinstance(metadata, dict):
        raise Corrupt("Stored metadata is not an object; restore from a backup.")
    return metadata


class Truth:
    """The statements over one connection; the caller holds the transaction.

    Args:
        connection: open, with the tables in place.
        dimension: the length of every vector.
    """

    def __init__(self, connection: sqlite3.Connection, dimension: int) -> None:
        self._sql = connection
        self._dimension = dimension

    def state(self) -> State:
        """How far the file is in this transaction."""
        row = self._sql.execute("SELECT lsn, floor, last_slot FROM state").fetchone()
        if row is None:
            raise Corrupt("The vector index has lost its state; restore it from a backup.")
        return State(*row)

    def tail(self, known: State | None) -> Tail:
        """What changed since ``known``; everything when it is ``None``."""
        state = self.state()
        slot = known.last_slot if known else 0
        gone = self._sql.execute("SELECT namespace, slot FROM gone WHERE lsn > ?", (known.lsn,)) if known else ()
        rows = self._sql.execute(
            "SELECT slot, namespace, id, vector, metadata FROM item WHERE slot > ? ORDER BY slot", (slot,)
        )
        return Tail(state, list(gone), map(Row._make, rows))

    def places(self) -> Iterable[tuple[str, int, str]]:
        """Namespace, slot and id of every live item."""
        return self._sql.execute("SELECT namespace, slot, id FROM item")

    def counts(self) -> dict[str, int]:
        """Live items by namespace."""
        return dict(self._sql.execute("SELECT namespace, count(*) FROM item GROUP BY namespace"))

    def count_of(self, namespace: str, ids: Iterable[str]) -> int:
        """How many items these ids name, each counted once."""
        return sum(self.item(namespace, id_) is not None for id_ in dict.fromkeys(ids))

    def item(self, namespace: str, id_: str) -> VectorItem | None:
        """One item."""
        row = self._sql.execute(
            "SELECT vector, metadata FROM item WHERE namespace = ? AND id = ?", (namespace, id_)
        ).fetchone()
        return VectorItem(id_, vector_of(row[0], self._dimension), metadata_of(row[1])) if row else None

    def values(self, slot: int) -> Vector:
        """The vector in a live slot."""
        [blob] = self._sql.execute("SELECT vector FROM item WHERE slot = ?", (slot,)).fetchone()
        return vector_of(blob, self._dimension)

    def items_in(self, slots: Iterable[int]) -> Iterator[VectorItem]:
        """The items in live slots."""
        for slot in slots:
            found = self._sql.execute("SELECT id, vector, metadata FROM item WHERE slot = ?", (slot,)).fetchone()
            yield VectorItem(found[0], vector_of(found[1], self._dimension), metadata_of(found[2]))

    def items_above(self, metadata_bytes: int, slots: Iterable[int]) -> Iterator[VectorItem]:
        """The items in live slots whose metadata takes more than so many bytes."""
        large = "SELECT 1 FROM item WHERE slot = ? AND length(metadata) > ?"
        return self.items_in(slot for slot in slots if self._sql.execute(large, (slot, metadata_bytes)).fetchone())

    def types(self, namespace: str) -> dict[str, FieldType]:
        """The types that writes have fixed."""
        return dict(self._sql.execute("SELECT name, type FROM field WHERE namespace = ?", (namespace,)))

    def text_fields(self) -> tuple[str, ...]:
        """The fields whose words are kept; ``Corrupt`` when the file does not say."""
        row = self._sql.execute("SELECT value FROM spec WHERE name = 'text_fields'").fetchone()
        with suppress(orjson.JSONDecodeError):
            if row is not None and isinstance(fields := orjson.loads(row[0]), list):
                return tuple(map(str, fields))
        raise Corrupt("The vector index has lost its specification; restore it from a backup.")

    def is_alone(self, namespace: str) -> bool:
        """Whether no other namespace has items."""
        [found] = self._sql.execute(
            "SELECT EXISTS(SELECT 1 FROM item WHERE namespace < :n) OR EXISTS(SELECT 1 FROM item WHERE namespace > :n)",
            {"n": namespace},
        ).fetchone()
        return not found

    def ids(self, namespace: str, *, prefix: str, after: str | None, limit: int) -> IdPage:
        """Ids in ascending order."""
        rows = self._sql.execute(
            "SELECT id FROM item WHERE namespace = ? AND id > ? AND id >= ? AND id < ? ORDER BY id LIMIT ?",
            (namespace, after or "", prefix, prefix + "\x7f", limit + 1),
        )
        ids = [id_ for (id_,) in rows]
        return IdPage(ids[:limit], ids[limit - 1] if len(ids) > limit else None)

    def page(self, namespace: str, *, after: str | None, limit: int) -> VectorPage:
        """Items in ascending order of id."""
        rows = self._sql.execute(
            "SELECT id, vector, metadata FROM item WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?",
            (namespace, after or "", limit + 1),
        )
        items = [VectorItem(id_, vector_of(blob, self._dimension), metadata_of(text)) for id_, blob, text in rows]
        return VectorPage(items[:limit], items[limit - 1].id if len(items) > limit else None)

    def forget(self, lsn: int) -> None:
        """Drop the names of slots that ended up to this write; who is behind it will load everything anew."""
        self._sql.execute("DELETE FROM gone WHERE lsn <= ?", (lsn,))
        self._sql.execute("UPDATE state SET floor = max(floor, ?)", (lsn,))
