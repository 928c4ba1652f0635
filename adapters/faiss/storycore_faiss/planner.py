"""The planner: how a query is answered, decided from counts alone. Every plan is exact."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Path", "Plan", "plan"]

_DIRECT = 256
"""So few rows are scored at once in double precision; a first pass in single precision would not pay."""
_SPARE = 24
"""Rows that the first pass finds beyond what is asked for, so that one round nearly always is enough."""


class Path(StrEnum):
    """The ways to an answer."""

    EMPTY = "empty"
    """No row matches."""
    DIRECT = "direct"
    """Score all candidates in double precision."""
    LISTED = "listed"
    """FAISS over the listed candidate rows, then score its best in double precision."""
    WHOLE = "whole"
    """FAISS over all rows, then score its best in double precision."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query is answered.

    Args:
        path: the way.
        candidates: live rows that match the filter.
        rows: rows in the namespace, dead ones included.
        fetch: how many rows the first pass finds.
    """

    path: Path
    candidates: int
    rows: int
    fetch: int

    def __str__(self) -> str:
        return f"{self.path}: {self.candidates} of {self.rows} rows, first pass finds {self.fetch}"


def plan(*, candidates: int, rows: int, top_k: int, safe: bool = True) -> Plan:
    """Choose the cheapest exact way.

    Args:
        candidates: live rows that match the filter.
        rows: rows in the namespace, dead ones included.
        top_k: how many matches are asked for.
        safe: whether scores fit into single precision; else only double precision will do.
    """
    if not candidates:
        return Plan(Path.EMPTY, 0, rows, 0)
    fetch = min(candidates, top_k + _SPARE)
    if candidates <= _DIRECT or fetch == candidates or not safe:
        return Plan(Path.DIRECT, candidates, rows, candidates)
    return Plan(Path.WHOLE if candidates == rows else Path.LISTED, candidates, rows, fetch)
