"""The library: all shelves, brought up to a state of the truth and searched there.

Searches work on a generation, which never changes. Who follows the truth makes the next one beside it, so that no
search waits for a write, and no write for a search.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from storycore.ports.vectors import IndexSpec
from storycore_faiss._sql import reading
from storycore_faiss.flat import Measure
from storycore_faiss.planner import Costs, Planner, Search
from storycore_faiss.rows import Storage
from storycore_faiss.shelf import Shelf
from storycore_faiss.truth import Row, State, Tail, Truth
from storycore_faiss.view import View

__all__ = ["Generation", "Library"]

T = TypeVar("T")

_ATTEMPTS = 8
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """What memory held at one state of the truth."""

    state: State
    views: Mapping[str, View]


@dataclass(slots=True)
class _Shelves:
    """What the next generation is made from; only who holds the lock touches it."""

    state: State
    by_name: dict[str, Shelf] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)


class Library:
    """What is searched, in memory. The truth decides what is in it.

    Args:
        spec: dimension and metric of every vector.
        storage: where the vectors are.
        search: which ways to an answer are allowed.
        kept_metadata: so many bytes of an item's metadata are kept.
        changed: called, with nothing locked, after memory has followed the truth.
    """

    def __init__(
        self,
        spec: IndexSpec,
        *,
        storage: Storage = "float32",
        search: Search = "auto",
        kept_metadata: int = 0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.measure = Measure(spec.dimension, spec.metric)
        self.planner = Planner(Costs(), search)
        self._storage: Storage = storage
        self._kept_metadata = kept_metadata
        self._changed = changed
        self._lock = threading.Lock()
        self._shelves: _Shelves | None = None
        self._generation: Generation | None = None
        self._touched: set[str] = set()
        self._empty = self.shelf(0).view()

    @property
    def lsn(self) -> int:
        """How far memory is; 0 before anything was read."""
        return self._generation.state.lsn if self._generation else 0

    @property
    def shown(self) -> Generation | None:
        """What memory holds now, whatever the truth says; ``None`` before anything was read."""
        return self._generation

    def latest(self, connection: sqlite3.Connection) -> Generation | None:
        """The generation that shows the truth as it is now, without a transaction; ``None`` when memory differs.

        What follows from the generation alone needs no more.
        """
        lsn, held = Truth(connection, self.measure.dimension).state().lsn, self._generation
        return held if held is not None and held.state.lsn == lsn else None

    def current(self, connection: sqlite3.Connection, work: Callable[[Truth, Generation], T]) -> T:
        """Do ``work`` on the truth as it is now, and on the generation that shows the same state.

        Another thread may move memory on beyond this thread's view of the truth; then the view is taken again, and
        after a few times memory is held still until both agree.
        """
        truth = Truth(connection, self.measure.dimension)
        for _ in range(_ATTEMPTS):
            with reading(connection):
                generation = self._followed(truth)
                if generation is not None:
                    return work(truth, generation)
        with reading(connection):
            with self._lock:
                connection.execute("ROLLBACK")
                connection.execute("BEGIN")
                generation = self._caught_up(truth, truth.state())
            return work(truth, generation)

    def follow(self, truth: Truth) -> Generation:
        """Bring memory up to the truth as the caller's transaction sees it, which nobody else can write to."""
        with self._lock:
            return self._caught_up(truth, truth.state())

    def view(self, generation: Generation, namespace: str) -> View:
        """The view of a namespace; an unknown one is empty."""
        return generation.views.get(namespace, self._empty)

    def shelf(self, expected: int) -> Shelf:
        """An empty shelf."""
        return Shelf(self.measure, self.planner, self._storage, expected, kept_metadata=self._kept_metadata)

    def shelves(self, names: Iterable[str] | None = None) -> dict[str, tuple[Shelf, View]]:
        """The shelves of some namespaces, or of all, and what they show now."""
        with self._lock:
            held = self._shelves
            if held is None:
                return {}
            asked = held.by_name if names is None else [name for name in names if name in held.by_name]
            return {name: (held.by_name[name], held.views[name]) for name in asked}

    def change(self, namespace: str, shelf: Shelf, step: Callable[[], Shelf]) -> bool:
        """Do a short step that changes or replaces a shelf, and show what came of it.

        Gives whether it was done: not when the shelf is not the library's any more.
        """
        with self._lock:
            held = self._shelves
            if held is None or held.by_name.get(namespace) is not shelf:
                return False
            held.by_name[namespace] = step()
            self._publish(held, {namespace})
            return True

    def replace(self, namespace: str, shelf: Shelf, fresh: Shelf, at: State, connection: sqlite3.Connection) -> bool:
        """Put a fresh shelf, loaded at a state of the truth, in the place of one; gives whether that could be done."""
        truth = Truth(connection, self.measure.dimension)
        with self._lock, reading(connection):
            state = truth.state()
            self._caught_up(truth, state)
            held = self._shelves
            if held is None or held.by_name.get(namespace) is not shelf or at.lsn < state.floor:
                return False
            tail = truth.tail(at)
            for name, slot in tail.gone:
                if name == namespace:
                    fresh.end(slot)
            if rows := [row for row in tail.rows if row.namespace == namespace]:
                fresh.add(rows)
            held.by_name[namespace] = fresh
            self._publish(held, {namespace})
            return True

    def touched(self) -> set[str]:
        """The namespaces that changed since this was asked last."""
        with self._lock:
            touched, self._touched = self._touched, set()
            return touched

    def _followed(self, truth: Truth) -> Generation | None:
        """The generation of this transaction's state; ``None`` when memory is beyond it."""
        state, held = truth.state(), self._generation
        if held is not None and held.state.lsn == state.lsn:
            return held
        if held is not None and held.state.lsn > state.lsn:
            return None
        with self._lock:
            found = self._caught_up(truth, state)
        self._changed()
        return found if found.state.lsn == state.lsn else None

    def _caught_up(self, truth: Truth, state: State) -> Generation:
        held, self._shelves = self._shelves, None  # whatever fails below, the next call loads everything anew
        if held is None or held.state.lsn < state.floor:
            held = _Shelves(state)
            self._publish(held, self._add(held, truth.tail(None), truth.counts()))
        elif held.state.lsn < state.lsn:
            self._publish(held, self._apply(held, truth.tail(held.state)), state)
        elif self._generation is None or self._generation.state is not held.state:
            self._publish(held, set())
        self._shelves = held
        assert self._generation is not None
        return self._generation

    def _apply(self, held: _Shelves, tail: Tail) -> set[str]:
        changed = set[str]()
        for namespace, slot in tail.gone:
            if namespace in held.by_name:
                held.by_name[namespace].end(slot)
                changed.add(namespace)
        return changed | self._add(held, tail, {})

    def _add(self, held: _Shelves, tail: Tail, counts: Mapping[str, int]) -> set[str]:
        changed = set[str]()
        for batch in _batches(tail.rows):
            by_name: dict[str, list[Row]] = defaultdict(list)
            for row in batch:
                by_name[row.namespace].append(row)
            for name, rows in by_name.items():
                if name not in held.by_name:
                    held.by_name[name] = self.shelf(counts.get(name, len(rows)))
                held.by_name[name].add(rows)
            changed |= by_name.keys()
        return changed

    def _publish(self, held: _Shelves, changed: set[str], state: State | None = None) -> None:
        self._touched |= changed
        held.state = state or held.state
        held.views = {**held.views, **{name: held.by_name[name].view() for name in changed}}
        self._generation = Generation(held.state, held.views)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    walk = iter(rows)
    while batch := list(islice(walk, _BATCH)):
        yield batch
