"""Upkeep: what keeps searches fast and memory small after many writes; done aside, while searches and writes go on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from itertools import islice

import numpy as np

from storycore_faiss._sql import reading
from storycore_faiss.calibration import calibrated
from storycore_faiss.codes import LEAST_SAMPLE, SAMPLE, Codebook, CodeBytes, Coded
from storycore_faiss.flat import Floats, RowNumbers
from storycore_faiss.graph import Graph
from storycore_faiss.library import Library
from storycore_faiss.reads import Reads
from storycore_faiss.rows import Read
from storycore_faiss.shelf import Shelf
from storycore_faiss.snapshots import Snapshot, Snapshots, carried
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
_UNLINKED_SHARE = 0.05
_PROBES = 48
_NEAR, _FAR = 10, 100
_RECALL, _FAR_RECALL = 0.999, 0.998
"""Of a sample of the rows themselves; new queries lie a little further off, and keep 0.99."""
_FAR_SEARCHES = 4
"""One of so many searches is taken to have a filter, or to ask for many matches."""
_REACHES = (2, 4, 8, 16, 32, 64)


class Upkeep:
    """Compacts shelves, and gives them codes.

    Args:
        library: what is kept up.
        codes_from: shelves with at least so many rows get codes.
        graph_from: shelves with at least so many rows get a graph.
        snapshots: where codes are kept for the next time.
        stopping: set when the index is being closed; what takes long then ends early.
    """

    def __init__(
        self,
        library: Library,
        *,
        codes_from: int,
        graph_from: int | None,
        snapshots: Snapshots,
        stopping: threading.Event,
    ) -> None:
        self._library = library
        self._snapshots = snapshots
        self._codes_from = codes_from
        self._graph_from = graph_from
        self._stopping = stopping
        self._working = threading.Lock()
        self._measured = False

    def due(self) -> bool:
        """Whether what changed since this was asked last needs work."""
        touched = self._library.shelves(self._library.touched())
        return any(self._is_due(shelf, view) for shelf, view in touched.values())

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
            self._link(name, *held, connection, 0.0 if thoroughly else _UNLINKED_SHARE)
        if held := self._now(name):
            self._save(name, *held, 1.0 if thoroughly else _SAVED_SHARE)
        return dropped

    def _now(self, name: str) -> tuple[Shelf, View] | None:
        """A shelf as it is; ``None`` when memory was loaded anew without it."""
        return self._library.shelves([name]).get(name)

    def _is_due(self, shelf: Shelf, view: View) -> bool:
        return (
            self._is_wasteful(view, _FEW_DEAD)
            or self._needs_codes(shelf, view, _TAIL)
            or self._needs_links(view, _UNLINKED_SHARE)
        )

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
            coded = self._trained(view, read)
        else:
            coded = known.extended(self._encoded(view, known.book, len(known), read))
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

    def _needs_links(self, view: View, share: float) -> bool:
        if self._graph_from is None or len(view.alive) < self._graph_from:
            return False
        return view.count - (len(view.graph) if view.graph else 0) > share * view.count

    def _link(self, name: str, shelf: Shelf, view: View, connection: sqlite3.Connection, share: float) -> None:
        if not self._needs_links(view, share):
            return
        read = reader(view, connection)
        known = view.graph
        if known is None:
            chosen = view.alive.numbers[:: max(1, len(view.alive) // SAMPLE)]
            known = Graph.started(view.kept.rows.take(chosen, read), view.measure.metric)
        pieces = (piece.matrix for piece in view.kept.rows.run(len(known), view.count, read))
        graph = known.extended(pieces, self._stopping.is_set)
        if graph is not None:
            self._library.change(name, shelf, lambda: shelf.with_graph(graph))

    def _trained(self, view: View, read: Read) -> Coded | None:
        """The codes that a search takes least time for, at the recall that is promised; ``None`` when none give it."""
        chance = np.random.default_rng(view.count)
        rows = view.alive.numbers
        chosen = np.sort(chance.choice(rows, min(SAMPLE, len(rows)), replace=False))
        sample = view.kept.rows.take(chosen, read)
        probes = chance.choice(len(chosen), _PROBES, replace=False)
        exact = _neighbours(view, sample[probes], chosen[probes], read)
        found, least = None, np.inf
        for width in _widths(view.measure.dimension):
            if self._scan_cost(view, width, (0, 0)) >= least or self._stopping.is_set():
                break
            book = Codebook.trained(sample, view.measure.metric, width)
            coded = Coded(book, self._encoded(view, book, 0, read), reach=(0, 0), trained_rows=view.count)
            reach = _reach(coded, sample[probes], exact)
            if reach and (cost := self._scan_cost(view, width, reach)) < least:
                found, least = coded.with_reach(reach), cost
        return found

    def _scan_cost(self, view: View, width: int, reach: tuple[int, int]) -> float:
        """What a search over the codes of a width may take, in nanoseconds."""
        costs, dimension = self._library.planner.costs, view.measure.dimension
        scored = (reach[0] + reach[1] / _FAR_SEARCHES) * _NEAR * (costs.fetched + dimension * costs.listed)
        return view.count * dimension / (2 * width) * costs.code + scored

    def _encoded(self, view: View, book: Codebook, first: int, read: Read) -> CodeBytes:
        parts = []
        for low in range(first, view.count, _BATCH):
            if self._stopping.is_set():
                break
            for piece in view.kept.rows.run(low, min(view.count, low + _BATCH), read):
                parts.append(book.encode(piece.matrix))
        return np.concatenate(parts) if parts else np.empty((0, book.code_bytes), np.uint8)


def reader(view: View, connection: sqlite3.Connection) -> Read:
    """Fetches rows of a view outside of a transaction; what has gone meanwhile comes as some other vector."""
    reads = Reads(connection, view.measure.dimension)

    def read(rows: RowNumbers) -> Floats:
        with reading(connection):
            return view.measure.kept(reads.vectors(view.slots(rows.tolist()), missing=True))

    return read


def _neighbours(view: View, targets: Floats, own: RowNumbers, read: Read) -> list[list[int]]:
    """For each target its nearest rows but its own, best first."""
    rows, _ = view.measure.nearest(targets, _FAR + 1, view.kept.rows.run(0, view.count, read))
    return [[r for r in line if r != mine][:_FAR] for line, mine in zip(rows.tolist(), own.tolist(), strict=True)]


def _reach(coded: Coded, targets: Floats, exact: list[list[int]]) -> tuple[int, int] | None:
    """How far the codes have to look for the recall that is promised; ``None`` when that is too far."""
    found = coded.nearest(targets, min(len(coded), _REACHES[-1] * _FAR)).tolist()
    near = _reach_at(_NEAR, _RECALL, found, [line[:_NEAR] for line in exact])
    far = _reach_at(_FAR, _FAR_RECALL, found, exact)
    return (near, max(near, far)) if near and far else None


def _reach_at(depth: int, recall: float, found: list[list[int]], exact: list[list[int]]) -> int | None:
    for reach in _REACHES:
        hits = sum(len(set(line).intersection(near[: reach * depth])) for line, near in zip(exact, found, strict=True))
        if hits >= recall * sum(map(len, exact)):
            return reach
    return None


def _widths(dimension: int) -> tuple[int, ...]:
    if dimension >= 256:
        return 8, 6, 4, 2
    return (4, 2) if dimension >= 64 else (2,)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
