"""The planner: how a query is answered, decided from counts and from what a machine takes for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Costs", "Plan", "PlanCache", "Planned", "Planner", "Search", "Situation", "Way"]

Search: TypeAlias = Literal["auto", "exact", "codes", "graph"]

_DIRECT = 256
"""So few rows are scored at once in double precision; a first pass in single precision would not pay."""
_SPARE = 24
"""Rows that the first pass finds beyond what is asked for, so that one round nearly always is enough."""
_FEWEST = 10
"""An approximate search looks for so many rows even when fewer are asked for: one alone is easily missed."""
_NEAR = 20
"""The rank among all rows up to which the reach for the nearest ten holds."""
_GATHERED = 3
"""A row that is copied from anywhere and scored costs so many times as much as one that is passed over in its place."""
_MOST_PLANS = 64
_GRAPH_LEAST_SHARE = 0.1
"""Below this share of matching rows a walk through a graph meets too few of them."""


class Way(StrEnum):
    """The ways to an answer."""

    EMPTY = "empty"
    """No row matches."""
    DIRECT = "direct"
    """Score all candidates in double precision. Exact."""
    LISTED = "listed"
    """FAISS over the listed candidate rows, then score its best in double precision. Exact."""
    WHOLE = "whole"
    """FAISS over all rows, then score its best in double precision. Exact."""
    CODES = "codes"
    """Compare the codes of all rows, keep the candidates among the nearest, and score those. Approximate."""
    GRAPH = "graph"
    """Walk a graph of neighbours, keep the candidates among what is met, and score those. Approximate."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a machine takes, in nanoseconds; ``calibration`` measures it.

    Args:
        listed: a number of a listed row.
        whole: a number of a row when all are passed over.
        code: a byte of a code.
        fetched: a row that the pass over the codes keeps.
        step: a number of a row that a walk through the graph meets.
    """

    listed: float = 0.2
    whole: float = 0.14
    code: float = 0.05
    fetched: float = 200.0
    step: float = 0.5


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan depends on.

    Args:
        candidates: live rows that match the filter.
        rows: rows in the namespace, dead ones included.
        dimension: length of every vector.
        top_k: how many matches are asked for.
        exact: refuse approximation.
        safe: whether scores fit into single precision; else only double precision will do.
        coded: how many of the rows, from the first, have codes.
        code_bytes: length of a code.
        reach: how many times as many rows the codes have to find as are asked for, near and far.
        linked: how many of the rows, from the first, are in the graph.
    """

    candidates: int
    rows: int
    dimension: int
    top_k: int
    exact: bool = False
    safe: bool = True
    coded: int = 0
    code_bytes: int = 0
    reach: tuple[int, int] = (1, 1)
    linked: int = 0

    @property
    def wanted(self) -> int:
        """How many candidates an approximate pass has to find before the best of them are chosen.

        The nearest of few candidates lie deep among all rows, where codes are more alike.
        """
        count = max(self.top_k, _FEWEST)
        near, far = self.reach
        return min(self.candidates, (near if count <= _NEAR * self.share else far) * count)

    @property
    def share(self) -> float:
        """The share of the rows that are candidates."""
        return self.candidates / self.rows


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query is answered.

    Args:
        way: the way.
        candidates: live rows that match the filter.
        rows: rows in the namespace, dead ones included.
        fetch: how many rows the first pass finds.
        cost_us: what it may take, in microseconds.
    """

    way: Way
    candidates: int
    rows: int
    fetch: int
    cost_us: float = 0.0

    @property
    def approximate(self) -> bool:
        """Whether the answer may miss a row that belongs to it."""
        return self.way in (Way.CODES, Way.GRAPH)


class Planner:
    """Chooses the cheapest way.

    Args:
        costs: what this machine takes.
        search: ``"auto"``, or the one kind of way that is allowed; what a way needs may be missing, then it is exact.
    """

    def __init__(self, costs: Costs, search: Search = "auto") -> None:
        self.costs = costs
        self._search = search

    def plan(self, at: Situation) -> Plan:
        """The cheapest way that is allowed."""
        exact = self.exact(at)
        if at.exact or not at.safe or self._search == "exact" or exact.way is Way.EMPTY:
            return exact
        if self._search != "auto":
            forced = self._codes(at) if self._search == "codes" else self._graph(at)
            return forced or exact
        return min(filter(None, (exact, self._codes(at), self._graph(at))), key=lambda plan: plan.cost_us)

    def exact(self, at: Situation) -> Plan:
        """The cheapest exact way."""
        if not at.candidates:
            return Plan(Way.EMPTY, 0, at.rows, 0)
        fetch = min(at.candidates, at.top_k + _SPARE)
        listed = at.candidates * at.dimension * self.costs.listed / 1000
        if at.candidates <= _DIRECT or fetch == at.candidates or not at.safe:
            return Plan(Way.DIRECT, at.candidates, at.rows, at.candidates, listed)
        if at.candidates < at.rows:
            return Plan(Way.LISTED, at.candidates, at.rows, fetch, listed)
        return Plan(Way.WHOLE, at.candidates, at.rows, fetch, at.rows * at.dimension * self.costs.whole / 1000)

    def _codes(self, at: Situation) -> Plan | None:
        fetch = min(at.coded, round(at.wanted / at.share * 1.1))
        if not at.coded:
            return None
        scored = _GATHERED * at.wanted + (at.rows - at.coded) * at.share
        cost = at.coded * at.code_bytes * self.costs.code + fetch * self.costs.fetched
        return self._approximate(Way.CODES, at, fetch, cost + scored * at.dimension * self.costs.listed)

    def _graph(self, at: Situation) -> Plan | None:
        if not at.linked or (at.share < _GRAPH_LEAST_SHARE and self._search == "auto"):
            return None
        fetch = min(at.linked, round(max(64, 4 * at.top_k) / at.share))
        met = 24 * fetch + (at.rows - at.linked) * at.share
        return self._approximate(Way.GRAPH, at, fetch, met * at.dimension * self.costs.step)

    def _approximate(self, way: Way, at: Situation, fetch: int, nanoseconds: float) -> Plan:
        return Plan(way, at.candidates, at.rows, fetch, nanoseconds / 1000)


class Planned(NamedTuple):
    """A situation, and how a query is answered in it."""

    at: Situation
    plan: Plan


Asked: TypeAlias = tuple[int, int, bool, bool]
"""What differs from query to query on one state: candidates, ``top_k``, ``exact``, and whether scores are safe."""


class PlanCache:
    """The last plans for one state. A state that changes gets a new cache."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Asked, Costs], Planned] = {}

    def get(self, asked: Asked, planner: Planner) -> Planned | None:
        """The plan that was made for the same, at the same costs."""
        return self._kept.get((asked, planner.costs))

    def keep(self, asked: Asked, planner: Planner, at: Situation) -> Planned:
        """Plan, and keep it for the next query that asks the same."""
        planned = Planned(at, planner.plan(at))
        if len(self._kept) >= _MOST_PLANS:
            self._kept.clear()
        self._kept[asked, planner.costs] = planned
        return planned
