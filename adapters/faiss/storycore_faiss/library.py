"""The library: all shelves, brought up to a state of the truth and searched there."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from storycore.ports.vectors import IndexSpec
from storycore_faiss._sql import reading
from storycore_faiss.gate import Gate
from storycore_faiss.shelf import Shelf
from storycore_faiss.truth import Row, State, Tail, Truth

__all__ = ["Library"]

T = TypeVar("T")

_ATTEMPTS = 8
_BATCH = 2048
_FEW_DEAD = 1024


class Library:
    """What is searched, in memory. The truth decides what is in it; ``at`` says up to which write it has been read.

    Args:
        spec: dimension and metric of every vector.
    """

    def __init__(self, spec: IndexSpec) -> None:
        self._spec = spec
        self._gate = Gate()
        self.at: State | None = None
        self.shelves: dict[str, Shelf] = {}

    def current(self, connection: sqlite3.Connection, work: Callable[[Truth], T]) -> T:
        """Do ``work`` while memory and truth show the same state, and nothing changes either.

        Another thread may move memory on beyond this thread's view of the truth; then the view is taken again, and
        after a few times memory is held still.
        """
        truth = Truth(connection, self._spec.dimension)
        for _ in range(_ATTEMPTS):
            with reading(connection):
                state = truth.state()
                self._follow(truth, state)
                with self._gate.reading():
                    if self.at is not None and self.at.lsn == state.lsn:
                        return work(truth)
        with self._gate.writing(), reading(connection):
            self._catch_up(truth, truth.state())
            return work(truth)

    def follow(self, truth: Truth) -> None:
        """Bring memory up to the truth as this transaction sees it."""
        self._follow(truth, truth.state())

    def shelf(self, namespace: str) -> Shelf:
        """The shelf of a namespace; an unknown one is empty."""
        return self.shelves.get(namespace) or self._empty()

    def compact(self) -> int:
        """Drop all dead rows; gives how many there were."""
        with self._gate.writing():
            dropped = sum(shelf.dead for shelf in self.shelves.values())
            self.shelves = {name: s.compacted() if s.dead else s for name, s in self.shelves.items() if len(s)}
            return dropped

    def _follow(self, truth: Truth, state: State) -> None:
        if self.at is None or self.at.lsn < state.lsn:  # asked again behind the gate
            with self._gate.writing():
                self._catch_up(truth, state)

    def _catch_up(self, truth: Truth, state: State) -> None:
        known, self.at = self.at, None  # whatever fails below, the next call loads everything anew
        if known is None or known.lsn < state.floor:
            self.shelves = self._added({}, truth.tail(None))
        elif known.lsn < state.lsn:
            self._apply(truth.tail(known))
        self.at = state if known is None or known.lsn < state.lsn else known

    def _apply(self, tail: Tail) -> None:
        for namespace, slot in tail.gone:
            if namespace in self.shelves:
                self.shelves[namespace].end(slot)
        self._added(self.shelves, tail)
        for name, shelf in self.shelves.items():
            if shelf.dead > max(_FEW_DEAD, len(shelf) // 4):
                self.shelves[name] = shelf.compacted()

    def _added(self, shelves: dict[str, Shelf], tail: Tail) -> dict[str, Shelf]:
        for batch in _batches(tail.rows):
            by_name: dict[str, list[Row]] = defaultdict(list)
            for row in batch:
                by_name[row.namespace].append(row)
            for name, rows in by_name.items():
                if name not in shelves:
                    shelves[name] = self._empty()
                shelves[name].add(rows)
        return shelves

    def _empty(self) -> Shelf:
        return Shelf(self._spec.dimension, self._spec.metric)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    walk = iter(rows)
    while batch := list(islice(walk, _BATCH)):
        yield batch
