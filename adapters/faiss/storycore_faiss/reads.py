"""Reads: what the engine takes from the truth by slot, many slots with one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
import orjson

from storycore.errors import Corrupt
from storycore.ports.vectors import Metadata
from storycore_faiss.flat import Floats
from storycore_faiss.truth import Row, metadata_of

__all__ = ["Reads", "matrix_of"]

_SLOTS = "(SELECT value FROM json_each(?))"


class Reads:
    """Statements over one connection; the caller holds the transaction.

    Args:
        connection: open, with the tables in place.
        dimension: the length of every vector.
    """

    def __init__(self, connection: sqlite3.Connection, dimension: int) -> None:
        self._sql = connection
        self._dimension = dimension

    def rows(self, namespace: str) -> Iterator[Row]:
        """Everything live in a namespace, ascending by slot."""
        found = self._sql.execute(
            "SELECT slot, namespace, id, vector, metadata FROM item WHERE namespace = ? ORDER BY slot", (namespace,)
        )
        return map(Row._make, found)

    def vectors(self, slots: Sequence[int], *, missing: bool = False) -> Floats:
        """The vectors in some slots, in their order, as they were written.

        Args:
            slots: all live, unless ``missing``.
            missing: whether a slot that is not live gives ones instead of ``Corrupt``.
        """
        filler = np.ones(self._dimension, np.float32).tobytes() if missing else b""
        return matrix_of(self.blobs(slots, filler), self._dimension)

    def blobs(self, slots: Sequence[int], filler: bytes = b"") -> list[bytes]:
        """The stored vectors in some slots, in their order; ``filler`` where a slot is not live."""
        sql = f"SELECT slot, vector FROM item WHERE slot IN {_SLOTS}"  # noqa: S608 - own constant
        held = dict(self._sql.execute(sql, (orjson.dumps(slots).decode(),)))
        return [held.get(slot, filler) for slot in slots]

    def metadata(self, slots: Sequence[int]) -> list[Metadata]:
        """The metadata in some live slots, in their order."""
        sql = f"SELECT slot, metadata FROM item WHERE slot IN {_SLOTS}"  # noqa: S608 - own constant
        held = dict(self._sql.execute(sql, (orjson.dumps(slots).decode(),)))
        return [metadata_of(held.get(slot, b"")) for slot in slots]

    def slot_of(self, namespace: str, id_: str) -> int | None:
        """The live slot of an id."""
        found = self._sql.execute("SELECT slot FROM item WHERE namespace = ? AND id = ?", (namespace, id_)).fetchone()
        return int(found[0]) if found else None


def matrix_of(blobs: Sequence[bytes], dimension: int) -> Floats:
    """Stored vectors, one a line; ``Corrupt`` when one has another length."""
    if any(len(blob) != 4 * dimension for blob in blobs):
        raise Corrupt(f"A stored vector does not have {dimension} dimensions; restore from a backup.")
    return np.frombuffer(b"".join(blobs), np.float32).reshape(len(blobs), dimension)
