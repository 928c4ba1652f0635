"""A view: one unchanging state of a shelf, which any number of threads search at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pyroaring import BitMap

from storycore.ports.filters import Filter
from storycore_faiss.candidates import Candidates, FilterCache
from storycore_faiss.codes import Coded
from storycore_faiss.flat import Floats, Measure, RowNumbers, Scores
from storycore_faiss.ids import Ids
from storycore_faiss.metadata import MetadataRows
from storycore_faiss.planner import Plan, PlanCache, Planned, Planner, Situation, Way
from storycore_faiss.postings import Postings
from storycore_faiss.rows import Read, Rows

__all__ = ["Brief", "Found", "Kept", "View"]

_GROWTH = 8
"""By how much a first pass that was not enough is widened."""
_FEW_NUMBERS = 50_000
"""So many numbers are fetched and compared in 40 microseconds."""
_FEW_MATCHES = 24
"""So many matches are scored, put in order and handed out in 40 microseconds."""
_BRIEF_US = 100.0
"""So long the event loop may be held by a search among codes, which takes it as long to hand over to a thread."""


class Brief(NamedTuple):
    """A search that is known to be short."""

    candidates: Candidates
    at: Situation
    plan: Plan


class Found(NamedTuple):
    """A row that a search found."""

    row: int
    id: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What the views of a shelf share: it only grows, and a view looks at what was there when it was taken.

    Args:
        slots: the truth's slot of each row, ascending.
        ids: the id of each row.
        metadata: what is short of each row's metadata.
        in_memory: whether rows are there without any rounding, so that no search reads from the truth.
    """

    rows: Rows
    slots: Sequence[int]
    ids: Ids
    postings: Postings
    metadata: MetadataRows
    in_memory: bool


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a search works with.

    Args:
        count: how many rows there are.
        alive: those that are not dead; never changed.
        longest: no row is longer.
        coded: the codes of the first rows.
        filters: what filters left of this state.
        plans: how searches of this state were planned.
    """

    measure: Measure
    planner: Planner
    kept: Kept
    count: int
    alive: Candidates
    longest: float
    coded: Coded | None
    filters: FilterCache
    plans: PlanCache

    @property
    def dead(self) -> int:
        """Rows that take space and are never found."""
        return self.count - len(self.alive)

    def matching(self, where: Filter | None) -> Candidates:
        """The live rows that match."""
        return self.alive if where is None else self.filters.get(where, self._evaluated)

    def slots(self, rows: Sequence[int]) -> list[int]:
        """The slots of some rows."""
        slots = self.kept.slots
        return [slots[row] for row in rows]

    def plan(self, vector: Floats, top_k: int, where: Filter | None, *, exact: bool) -> Plan:
        """How a search would be answered."""
        length = self.measure.length(self.measure.target(vector))
        return self._planned(self.matching(where), length, top_k, exact).plan

    def search(self, vector: Floats, top_k: int, where: Filter | None, read: Read, *, exact: bool) -> list[Found]:
        """The best live rows that match, ``min(top_k, matching)`` of them: scores descending, equal ones by id.

        Args:
            exact: refuse approximation.
            read: fetches rows from the truth.
        """
        target, candidates = self.measure.target(vector), self.matching(where)
        at, planned = self._planned(candidates, self.measure.length(target), top_k, exact)
        if planned.way is Way.EMPTY:
            return []
        near = self._near(target, at, planned, candidates) if planned.approximate else None
        if near is not None:
            return self._best_of(target, near, at, read)
        return self._exactly(target, at, candidates, read)

    def brief(self, where: Filter | None, top_k: int, *, exact: bool) -> Brief | None:
        """How a search goes that is known to take no longer than handing it to a thread and back."""
        candidates = self.alive if where is None else self.filters.known(where)
        if candidates is None or not self.kept.in_memory:
            return None
        at, planned = self._planned(candidates, 0.0, top_k, exact)
        if min(top_k, planned.fetch) > _FEW_MATCHES:
            return None
        if planned.way is Way.CODES:
            return Brief(candidates, at, planned) if planned.cost_us <= _BRIEF_US else None
        few = planned.way in (Way.EMPTY, Way.DIRECT) and planned.fetch * at.dimension <= _FEW_NUMBERS
        return Brief(candidates, at, planned) if few else None

    def found(self, brief: Brief, vector: Floats, read: Read) -> list[Found] | None:
        """What such a search finds; ``None`` where it turns out to take longer."""
        target, (candidates, at, planned) = self.measure.target(vector), brief
        if planned.way is Way.EMPTY:
            return []
        if not self.measure.is_safe(self.measure.length(target), self.longest):
            return None
        near = self._near(target, at, planned, candidates) if planned.approximate else candidates.numbers
        return None if near is None else self._best_of(target, near, at, read)

    def _evaluated(self, where: Filter) -> BitMap:
        return self.kept.postings.matching(where, self.alive.rows)

    def _planned(self, candidates: Candidates, length: float, top_k: int, exact: bool) -> Planned:
        safe = self.measure.is_safe(length, self.longest)
        asked = (len(candidates), top_k, exact, safe)
        return self.plans.get(asked, self.planner) or self.plans.keep(asked, self.planner, self._situation(*asked))

    def _situation(self, candidates: int, top_k: int, exact: bool, safe: bool) -> Situation:
        coded = self.coded
        return Situation(
            candidates=candidates,
            rows=self.count,
            dimension=self.measure.dimension,
            top_k=top_k,
            exact=exact,
            safe=safe,
            coded=len(coded) if coded else 0,
            code_bytes=coded.book.code_bytes if coded else 0,
            reach=coded.effort.reach if coded else (1, 1),
            lists=len(coded.centres) if coded else 1,
            probes=coded.effort.probes if coded else (1, 1),
        )

    def _near(self, target: Floats, at: Situation, planned: Plan, candidates: Candidates) -> RowNumbers | None:
        """Candidates among which the best are very likely to be; ``None`` when too few were found for that.

        A pass that finds fewer candidates than it was meant to is widened as long as it costs less than an exact way.
        """
        coded, every = self.coded, len(candidates) == self.count
        if coded is None:
            return None
        there = len(candidates) if at.coded >= self.count else candidates.rows.range_cardinality(0, at.coded)
        fetch, lists, wanted = planned.fetch, planned.lists, min(there, planned.wanted)
        while True:
            found = coded.nearest(target.reshape(1, -1), fetch, lists).ravel()
            near = found[found >= 0] if every else candidates.among(found)
            if len(near) >= wanted:
                break
            fetch, lists = fetch * 4, at.lists
            if fetch >= at.coded or fetch * self.planner.costs.fetched > 1000 * self.planner.exact(at).cost_us:
                return None
        if at.coded >= self.count:
            return near
        tail = candidates.from_row(at.coded)
        return np.concatenate([near, tail]) if len(tail) else near

    def _best_of(self, target: Floats, rows: RowNumbers, at: Situation, read: Read) -> list[Found]:
        """The best of some rows. Those that single precision shows not to be among them are left out first."""
        matrix = self.kept.rows.take(rows, read)
        if at.safe and len(rows) > 2 * at.top_k:
            rough = self.measure.rough(target, matrix)
            slack = self.measure.slack(self.measure.length(target), self.longest, 0.0)
            near = np.flatnonzero(rough >= np.partition(rough, -at.top_k)[-at.top_k] - 2 * slack)
            rows, matrix = rows[near], matrix[near]
        return self._best(rows, self.measure.scores(target, matrix), at.top_k)

    def _exactly(self, target: Floats, at: Situation, candidates: Candidates, read: Read) -> list[Found]:
        planned = self.planner.exact(at)
        if planned.way is Way.DIRECT:
            return self._best_of(target, candidates.numbers, at, read)
        return self._best(*self._certain(target, at.top_k, planned, candidates, read), at.top_k)

    def _certain(
        self, target: Floats, top_k: int, planned: Plan, candidates: Candidates, read: Read
    ) -> tuple[RowNumbers, Scores]:
        """Widen the first pass until no row that it left out can be among the best, ties included."""
        length = self.measure.length(target)
        fetch, slack = planned.fetch, self.measure.slack(length, self.longest, self.kept.rows.rounding)
        whole, rows = planned.way is Way.WHOLE, self.kept.rows
        while True:
            pieces = rows.run(0, self.count, read) if whole else rows.listed(candidates.numbers, read)
            near, rough = self.measure.nearest(target.reshape(1, -1), fetch, pieces)
            scores = self._scores(target, near[0], read)
            if fetch == planned.candidates or np.partition(scores, -top_k)[-top_k] > float(rough[0, -1]) + slack:
                return near[0], scores
            fetch = min(planned.candidates, fetch * _GROWTH)

    def _scores(self, target: Floats, rows: RowNumbers, read: Read) -> Scores:
        return self.measure.scores(target, self.kept.rows.take(rows, read))

    def _best(self, rows: RowNumbers, scores: Scores, top_k: int) -> list[Found]:
        if len(rows) > 4 * top_k:
            near = scores >= np.partition(scores, -top_k)[-top_k]
            rows, scores = rows[near], scores[near]
        ids = self.kept.ids
        numbers: list[int] = rows.tolist()
        found = sorted([(-score, ids[row], row) for row, score in zip(numbers, scores.tolist(), strict=True)])
        return [Found(row, id_, -score) for score, id_, row in found[:top_k]]
