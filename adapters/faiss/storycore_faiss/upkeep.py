"""Upkeep: what keeps searches fast and memory small after many writes; done aside, while searches and writes go on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from itertools import islice

import numpy as np

from storycore_faiss._sql import reading
from storycore_faiss.calibration import calibrated
from storycore_faiss.codes import LEAST_SAMPLE, Coded
from storycore_faiss.flat import Floats, RowNumbers
from storycore_faiss.library import Library
from storycore_faiss.questions import Questions
from storycore_faiss.reads import Reads
from storycore_faiss.rows import Read
from storycore_faiss.shelf import Shelf
from storycore_faiss.snapshots import Snapshot, Snapshots, carried
from storycore_faiss.training import asked_of, encoded, found_share, listed, needed_effort, trained
from storycore_faiss.truth import Row, Truth
from storycore_faiss.view import View

__all__ = ["Upkeep"]

_FEW_DEAD = 1024
_DEAD_SHARE = 0.2
_TAIL = 1024
"""So many rows without codes are searched one by one before they get theirs: 0.2 ms at 384 numbers."""
_LEAST_DIMENSION = 16
_BATCH = 4096
_SAVED_SHARE = 0.9
"""A snapshot that covers this share is good enough: the rest gets its codes again in a moment."""
_PROMISED = 0.99


class Upkeep:
    """Compacts shelves, gives them codes, and checks what is found by these.

    Args:
        library: what is kept up.
        codes_from: shelves with at least so many rows get codes.
        questions: what was asked, for checks of the recall.
        snapshots: where codes are kept for the next time.
        stopping: set when the index is being closed; what takes long then ends early.
    """

    def __init__(
        self,
        library: Library,
        *,
        codes_from: int,
        questions: Questions,
        snapshots: Snapshots,
        stopping: threading.Event,
    ) -> None:
        self._library = library
        self._snapshots = snapshots
        self._codes_from = codes_from
        self._questions = questions
        self._stopping = stopping
        self._working = threading.Lock()
        self._measured = False
        self.recall: dict[str, float] = {}
        """The share of the nearest ten that the last check of each namespace found."""

    def due(self) -> bool:
        """Whether what changed since this was asked last needs work."""
        touched = self._library.shelves(self._library.touched())
        return any(self._is_due(shelf, view) for shelf, view in touched.values()) or bool(self._questions.ready())

    def adopt(self) -> None:
        """Take over the codes that were kept the last time, and what the machine was measured to take."""
        if costs := self._snapshots.read_costs():
            self._library.planner.costs = costs
            self._measured = True
        for name, (shelf, view) in self._library.shelves().items():
            if self._needs_codes(shelf, view, 0) and (found := self._kept_before(name, shelf, view)):
                self._take(name, shelf, found)

    def run(self, connection: sqlite3.Connection, *, thoroughly: bool = False) -> int:
        """Do what is due; gives how many dead rows were dropped.

        Args:
            connection: reads the truth, outside of any transaction.
            thoroughly: drop every dead row, and code every row of a shelf that has codes.
        """
        dropped = 0
        with self._working:
            for name in self._library.shelves():
                if self._stopping.is_set():
                    break
                dropped += self._keep(name, connection, thoroughly)
            for name in self._questions.ready():
                self._questions.take(name)  # of a namespace that is gone
            if thoroughly:
                self._snapshots.keep_only({name for name, (shelf, _) in self._library.shelves().items() if shelf.coded})
        return dropped

    def _keep(self, name: str, connection: sqlite3.Connection, thoroughly: bool) -> int:
        """Do for one shelf what is due, each step on what the last has left; gives the dead rows that were dropped."""
        dropped = 0
        if held := self._now(name):
            dropped = self._compact(name, *held, connection, 0 if thoroughly else _FEW_DEAD)
        if held := self._now(name):
            self._code(name, *held, connection, 0 if thoroughly else _TAIL)
        if held := self._now(name):
            self._check(name, *held, connection)
        if held := self._now(name):
            self._save(name, *held, 1.0 if thoroughly else _SAVED_SHARE)
        return dropped

    def _now(self, name: str) -> tuple[Shelf, View] | None:
        """A shelf as it is; ``None`` when memory was loaded anew without it."""
        return self._library.shelves([name]).get(name)

    def _is_due(self, shelf: Shelf, view: View) -> bool:
        return self._is_wasteful(view, _FEW_DEAD) or self._needs_codes(shelf, view, _TAIL)

    def _is_wasteful(self, view: View, few: int) -> bool:
        return view.dead > few and (not few or view.dead > _DEAD_SHARE * view.count)

    def _needs_codes(self, shelf: Shelf, view: View, tail: int) -> bool:
        if view.measure.dimension < _LEAST_DIMENSION or len(view.alive) < max(self._codes_from, LEAST_SAMPLE):
            return False
        if view.coded is None:
            return view.count >= 2 * shelf.refused_codes
        return view.count - len(view.coded) > tail or view.count >= 2 * view.coded.trained_rows

    def _compact(self, name: str, shelf: Shelf, view: View, connection: sqlite3.Connection, few: int) -> int:
        if not self._is_wasteful(view, few):
            return 0
        fresh = self._library.shelf(len(view.alive))
        with reading(connection):
            at = Truth(connection, view.measure.dimension).state()
            for batch in _batches(Reads(connection, view.measure.dimension).rows(name)):
                fresh.add(batch)
        if view.coded is not None:
            fresh.coded = carried(view.coded, shelf.marks(len(view.coded))[0], fresh.marks(fresh.count)[0])
        return view.dead if self._library.replace(name, shelf, fresh, at, connection) else 0

    def _code(self, name: str, shelf: Shelf, view: View, connection: sqlite3.Connection, tail: int) -> None:
        if not self._needs_codes(shelf, view, tail):
            return
        read = reader(view, connection)
        known = view.coded or self._kept_before(name, shelf, view)
        if known is None or view.count >= 2 * known.trained_rows:
            coded = trained(view, read, self._library.planner.costs, self._stopping.is_set)
        else:
            codes = encoded(view, known.book, len(known), read, self._stopping.is_set)
            coded = known.extended(codes, listed(view, known.centres, len(known), read)[: len(codes)])
        if not self._stopping.is_set():
            self._take(name, shelf, coded)

    def _take(self, name: str, shelf: Shelf, coded: Coded | None) -> None:
        if coded is not None and not self._measured:
            self._measured = True
            self._library.planner.costs = calibrated()
            self._snapshots.write_costs(self._library.planner.costs)
        self._library.change(name, shelf, lambda: shelf.with_codes(coded))

    def _kept_before(self, name: str, shelf: Shelf, view: View) -> Coded | None:
        snapshot = self._snapshots.read(name)
        if snapshot is None or snapshot.lsn > self._library.lsn:  # the truth was restored from a backup
            return None
        coded = snapshot.for_rows(*shelf.marks(view.count))
        shelf.saved_rows = len(coded) if coded else 0
        return coded

    def _save(self, name: str, shelf: Shelf, view: View, share: float) -> None:
        """Keep the codes for the next time, when enough of them are new."""
        if view.coded is None or len(view.coded) == shelf.saved_rows or shelf.saved_rows > share * len(view.coded):
            return
        slots, prints = shelf.marks(len(view.coded))
        self._snapshots.write(name, Snapshot(self._library.lsn, slots, prints, view.coded))
        shelf.saved_rows = len(view.coded)

    def _check(self, name: str, shelf: Shelf, view: View, connection: sqlite3.Connection) -> None:
        """Compare what searches find with what there is; where that is too little they go further from then on."""
        if name not in self._questions.ready():
            return
        targets = view.measure.kept(np.stack(self._questions.take(name)))
        if view.coded is None:
            return
        asked = asked_of(view, targets, np.full(len(targets), -1), reader(view, connection))
        self.recall[name] = found_share(view.coded, asked)
        calm = self.recall[name] >= _PROMISED
        if not calm:
            needed = needed_effort(view.coded, asked)
            further = view.coded.with_effort(view.coded.effort.at_least(needed)) if needed else None
            shelf.saved_rows = 0
            self._library.change(name, shelf, lambda: shelf.with_codes(further))
        self._questions.settle(name, calm=calm)


def reader(view: View, connection: sqlite3.Connection) -> Read:
    """Fetches rows of a view outside of a transaction; what has gone meanwhile comes as some other vector."""
    reads = Reads(connection, view.measure.dimension)

    def read(rows: RowNumbers) -> Floats:
        with reading(connection):
            return view.measure.kept(reads.vectors(view.slots(rows.tolist()), missing=True))

    return read


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
