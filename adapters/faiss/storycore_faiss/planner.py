"""The planner: how a query is answered, decided from counts and from what a machine takes for each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Costs", "Plan", "PlanCache", "Planned", "Planner", "Search", "Situation", "Way"]

Search: TypeAlias = Literal["auto", "exact", "codes"]

_DIRECT = 256
"""So few rows are scored at once in double precision; a first pass in single precision would not pay."""
_SPARE = 24
"""Rows that the first pass finds beyond what is asked for, so that one round nearly always is enough."""
_FEWEST = 10
"""An approximate search looks for so many rows even when fewer are asked for: one alone is easily missed."""
_NEAR = 20
"""The rank among all rows up to which the reach for the nearest ten holds."""
_MORE = 1.1
"""So many times what is wanted is found by the first pass, where some of it may not match."""
_GATHERED = 3
"""A row that is copied from anywhere and scored costs so many times as much as one that is passed over in its place."""
_FAR = 100
"""The same for the nearest hundred; behind it every list is searched."""
_LUCK = 2.5
"""How many standard deviations deeper than on average the best candidates may lie among all rows."""
_MOST_PLANS = 64


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
    """Compare the codes of the nearest lists, keep the candidates among the nearest, and score those. Approximate."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a machine takes, in nanoseconds; ``calibration`` measures it.

    Args:
        listed: a number of a listed row.
        whole: a number of a row when all are passed over.
        code: a byte of a code.
        fetched: a row that the pass over the codes keeps.
        entered: a list whose codes are compared.
    """

    listed: float = 0.2
    whole: float = 0.14
    code: float = 0.05
    fetched: float = 200.0
    entered: float = 250.0


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
        lists: how many lists the codes are in.
        probes: how many of the nearest lists have to be searched, near and far.
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
    lists: int = 1
    probes: tuple[int, int] = (1, 1)

    @property
    def wanted(self) -> int:
        """How many candidates an approximate pass has to find before the best of them are chosen.

        The nearest of few candidates lie deep among all rows, where codes are more alike.
        """
        near, far = self.reach
        return min(self.candidates, math.ceil((near if self._is_within(_NEAR) else far) * self._count))

    @property
    def lists_searched(self) -> int:
        """In how many lists an approximate pass looks for them."""
        if self._is_within(_NEAR):
            return self.probes[0]
        return self.probes[1] if self._is_within(_FAR) else self.lists

    @property
    def share(self) -> float:
        """The share of the rows that are candidates."""
        return self.candidates / self.rows

    @property
    def _count(self) -> float:
        """How many candidates there may be up to the rank at which the last of the best is."""
        count = max(self.top_k, _FEWEST)
        return count + _LUCK * math.sqrt(count * (1 - self.share))

    def _is_within(self, rank: int) -> bool:
        """Whether the best candidates are among so many nearest rows."""
        return self._count <= rank * self.share


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query is answered.

    Args:
        way: the way.
        candidates: live rows that match the filter.
        rows: rows in the namespace, dead ones included.
        fetch: how many rows the first pass finds.
        lists: in how many lists it looks for them; 0 where it looks at vectors.
        wanted: how many candidates have to be among them.
        cost_us: what it may take, in microseconds.
    """

    way: Way
    candidates: int
    rows: int
    fetch: int
    cost_us: float = 0.0
    lists: int = 0
    wanted: int = 0

    @property
    def approximate(self) -> bool:
        """Whether the answer may miss a row that belongs to it."""
        return self.way is Way.CODES


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
        codes = self._codes(at)
        if at.exact or not at.safe or self._search == "exact" or exact.way is Way.EMPTY or codes is None:
            return exact
        return codes if self._search == "codes" or codes.cost_us < exact.cost_us else exact

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

    def compared(self, at: Situation) -> float:
        """Nanoseconds for choosing the lists of a search, and comparing their codes."""
        costs, part = self.costs, at.lists_searched / at.lists
        chosen = 0.0 if at.lists == 1 else at.lists * at.dimension * costs.whole + at.lists_searched * costs.entered
        return chosen + part * at.coded * at.code_bytes * costs.code

    def _codes(self, at: Situation) -> Plan | None:
        if not at.coded or not at.candidates:
            return None
        wanted = at.wanted
        fetch = min(at.coded, round(wanted / at.share * (1.0 if at.candidates == at.rows else _MORE)))
        scored = _GATHERED * wanted + (at.rows - at.coded) * at.share
        cost = self.compared(at) + fetch * self.costs.fetched + scored * at.dimension * self.costs.listed
        return Plan(Way.CODES, at.candidates, at.rows, fetch, cost / 1000, at.lists_searched, wanted)


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
