"""Writes: what changes the truth, each in the caller's transaction, with everything that has to change with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import orjson

from storycore.errors import NotFound, SchemaMismatch
from storycore.ports.field_types import FieldType, fixed_types
from storycore.ports.metadata_size import MAX_METADATA, check_size
from storycore.ports.vectors import IndexSpec, Metadata, Vector, VectorItem
from storycore.ports.words import text_of
from storycore_faiss.texts import Texts
from storycore_faiss.truth import REMEMBERED, State, Truth

__all__ = ["Writes", "require_text_fields"]

_BATCH = 500
"""Items that a change of many holds in memory at the same time."""


class Writes:
    """The changes over one connection; the caller holds the transaction, and rolls it back when one raises.

    Args:
        connection: open, with the tables in place.
        spec: what the index was made for.
    """

    def __init__(self, connection: sqlite3.Connection, spec: IndexSpec) -> None:
        self._sql = connection
        self._spec = spec
        self.truth = Truth(connection, spec.dimension)
        self._texts = Texts(connection)

    def state(self) -> State:
        """How far the file is in this transaction."""
        return self.truth.state()

    def put(self, namespace: str, items: Sequence[VectorItem]) -> State:
        """Write items with distinct ids; what they replace ends. Nothing is written when there are none.

        Raises:
            SchemaConflict: a field has another type.
        """
        if not items:
            return self.state()
        self._fix_types(namespace, [item.metadata for item in items])
        state = self._next(slots=len(items))
        self._replace(namespace, state, state.last_slot - len(items) + 1, items)
        return state

    def change(self, namespace: str, id_: str, *, values: Vector | None, set_: Metadata, unset: Sequence[str]) -> State:
        """Merge into an item; ``NotFound`` when there is none."""
        stored = self.truth.item(namespace, id_)
        if stored is None:
            raise NotFound(f"There is no item {id_!r} in namespace {namespace!r}.")
        self._fix_types(namespace, [set_])
        changed = _merged(stored, set_, unset)
        state = self._next(slots=1)
        item = changed if values is None else VectorItem(id_, values, changed.metadata)
        self._replace(namespace, state, state.last_slot, [item])
        return state

    def change_slots(
        self, namespace: str, slots: Sequence[int], *, set_: Metadata, unset: Sequence[str]
    ) -> tuple[int, State]:
        """Merge into the items in these slots of a namespace; gives how many there were."""
        added = self._added_types(namespace, [set_])
        if not slots:
            return 0, self.state()
        self._keep_types(namespace, added)
        state = self._next(slots=len(slots))
        slot = state.last_slot - len(slots) + 1
        for batch in _batches(slots):
            items = [_merged(item, set_, unset) for item in self.truth.items_in(batch)]
            self._replace(namespace, state, slot, items)
            slot += len(items)
        return len(slots), state

    def rehearse_slots(
        self, namespace: str, slots: Sequence[int], *, set_: Metadata, unset: Sequence[str]
    ) -> tuple[int, State]:
        """Raise what ``change_slots`` would raise, and write nothing; gives how many items there are."""
        self._added_types(namespace, [set_])
        if set_:
            room = MAX_METADATA - len(orjson.dumps(set_))
            for item in self.truth.items_above(room, slots):
                _merged(item, set_, unset)
        return len(slots), self.state()

    def remove_ids(self, namespace: str, ids: Iterable[str]) -> tuple[int, State]:
        """End the items of these ids; gives how many there were."""
        return self._remove("namespace = ? AND id = ?", [(namespace, id_) for id_ in dict.fromkeys(ids)])

    def remove_slots(self, slots: Iterable[int]) -> tuple[int, State]:
        """End the items in these slots; gives how many there were."""
        return self._remove("slot = ?", [(slot,) for slot in slots])

    def remove_all(self, namespace: str) -> tuple[int, State]:
        """End every item of a namespace and forget the types of its fields; gives how many items there were."""
        self._sql.execute("DELETE FROM field WHERE namespace = ?", (namespace,))
        if self.truth.is_alone(namespace):
            self._texts.clear()
        return self._remove("namespace = ?", [(namespace,)])

    def _fix_types(self, namespace: str, written: Sequence[Metadata]) -> None:
        self._keep_types(namespace, self._added_types(namespace, written))

    def _added_types(self, namespace: str, written: Sequence[Metadata]) -> Mapping[str, FieldType]:
        """The types to keep; a declared one is kept too once it is written, for it binds other processes."""
        held, declared = self.truth.types(namespace), self._spec.fields
        added = fixed_types({**declared, **held}, written, namespace=namespace)
        names = {name for metadata in written for name in metadata} if declared else set()
        return {**{name: kind for name, kind in declared.items() if name in names and name not in held}, **added}

    def _keep_types(self, namespace: str, added: Mapping[str, FieldType]) -> None:
        rows = [(namespace, name, kind) for name, kind in added.items()]
        self._sql.executemany("INSERT INTO field VALUES (?, ?, ?)", rows)

    def _replace(self, namespace: str, state: State, first: int, items: Sequence[VectorItem]) -> None:
        self._end(state.lsn, "namespace = ? AND id = ?", [(namespace, item.id) for item in items])
        numbered = list(enumerate(items, first))
        self._sql.executemany(
            "INSERT INTO item VALUES (?, ?, ?, ?, ?)",
            [(slot, namespace, i.id, i.values.tobytes(), orjson.dumps(i.metadata)) for slot, i in numbered],
        )
        fields = require_text_fields(self.truth, self._spec.text_fields)
        self._texts.add((slot, text_of(item.metadata, fields)) for slot, item in numbered)

    def _remove(self, which: str, values: Sequence[tuple[object, ...]]) -> tuple[int, State]:
        before = self.state()
        count = self._end(before.lsn + 1, which, values)
        return (count, self._next(slots=0)) if count else (0, before)

    def _end(self, lsn: int, which: str, values: Sequence[tuple[object, ...]]) -> int:
        chosen = f"FROM item WHERE {which}"
        count = self._sql.executemany(f"INSERT INTO gone SELECT {lsn:d}, slot, namespace {chosen}", values).rowcount
        if count:
            self._sql.executemany(f"DELETE FROM words WHERE rowid IN (SELECT slot {chosen})", values)  # noqa: S608
            self._sql.executemany(f"DELETE {chosen}", values)
        return max(count, 0)

    def _next(self, *, slots: int) -> State:
        self._sql.execute("UPDATE state SET lsn = lsn + 1, last_slot = last_slot + ?", (slots,))
        state = self.state()
        if state.lsn % REMEMBERED == 0:
            self.truth.forget(state.lsn - REMEMBERED)
        return state


def require_text_fields(truth: Truth, asked: Sequence[str]) -> Sequence[str]:
    """The fields whose words are kept; ``SchemaMismatch`` when another process has changed them meanwhile."""
    kept = truth.text_fields()
    if kept != asked:
        raise SchemaMismatch(
            f"The vector index keeps the words of {', '.join(kept) or 'no fields'} by now, and was opened for "
            f"those of {', '.join(asked) or 'no fields'}; close it and open it anew with the same text_fields."
        )
    return asked


def _merged(stored: VectorItem, set_: Metadata, unset: Sequence[str]) -> VectorItem:
    kept = {key: value for key, value in stored.metadata.items() if key not in unset}
    metadata = {**kept, **set_}
    check_size(metadata, of=f"item {stored.id!r}")
    return VectorItem(stored.id, stored.values, metadata)


def _batches(slots: Sequence[int]) -> Iterator[Sequence[int]]:
    walk = iter(slots)
    while batch := list(islice(walk, _BATCH)):
        yield batch
