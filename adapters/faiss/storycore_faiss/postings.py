"""Postings: which rows of a namespace match a filter, answered from bitmaps and sorted numbers in memory."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from hashlib import blake2b
from operator import and_
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or, Scalar
from storycore.ports.vectors import Metadata

__all__ = ["NumberColumn", "Postings"]

_LONG = 64
"""Longer texts are kept as their digest, so that passages in the metadata are not held twice."""
_FIRST_UNSORTED = 64
_MOST_UNSORTED = 4096

_Column: TypeAlias = tuple[NDArray[np.float64], NDArray[np.uint32]]


class NumberColumn:
    """The numbers of one field by row: a sorted part, and a short tail that is passed over whole.

    One thread adds; others may ask at the same time, and find at least what was there when they began.
    """

    def __init__(self) -> None:
        self._held: tuple[_Column, _Column, int] = (_column(0), _column(_FIRST_UNSORTED), 0)

    def extend(self, rows: Sequence[int], values: Sequence[float]) -> None:
        """Keep the values of new rows."""
        known, (tail_values, tail_rows), count = self._held
        end = count + len(rows)
        if end > len(tail_rows):
            self._merge(rows, values)
            return
        tail_values[count:end], tail_rows[count:end] = values, rows
        self._held = (known, (tail_values, tail_rows), end)

    def where(self, op: str, bound: float) -> BitMap:
        """The rows whose value is above, below or (``"eq"``) at the bound."""
        op, number = _as_float(op, bound)
        if math.isnan(number):
            return BitMap()
        (values, rows), (new_values, new_rows), count = self._held
        low, high = _span(values, op, number)
        found = _bitmap(rows[low:high])
        if count:
            found |= _bitmap(new_rows[:count][_COMPARE[op](new_values[:count], number)])
        return found

    def _merge(self, more_rows: Sequence[int], more_values: Sequence[float]) -> None:
        (values, rows), (tail_values, tail_rows), count = self._held
        all_values = np.concatenate([values, tail_values[:count], np.array(more_values, np.float64)])
        all_rows = np.concatenate([rows, tail_rows[:count], np.array(more_rows, np.uint32)])
        order = np.argsort(all_values, kind="stable")
        room = max(min(2 * len(tail_rows), _MOST_UNSORTED), len(order) // 8)
        self._held = ((all_values[order], all_rows[order]), _column(room), 0)


class Postings:
    """Rows by what their metadata says. Rows are only added; who asks takes away the dead ones.

    One thread adds. Others may ask at the same time: each step on a bitmap or dictionary is one step of the
    interpreter, and what was added meanwhile is none of the live rows that they ask about.
    """

    def __init__(self) -> None:
        self._present: dict[str, BitMap] = {}
        self._terms: dict[str, dict[str | bytes | bool, BitMap | int]] = {}
        self._numbers: dict[str, NumberColumn] = {}

    def extend(self, first: int, rows: Iterable[Metadata]) -> None:
        """Keep new rows, whose numbers run from ``first``."""
        present: defaultdict[str, list[int]] = defaultdict(list)
        numbers: defaultdict[str, list[float]] = defaultdict(list)
        numbered: defaultdict[str, list[int]] = defaultdict(list)
        for row, metadata in enumerate(rows, first):
            for field, value in metadata.items():
                present[field].append(row)
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    numbered[field].append(row)
                    numbers[field].append(float(value))
                else:
                    self._add_terms(field, row, (value,) if isinstance(value, (str, bool)) else value)
        for field, having in present.items():
            self._present.setdefault(field, BitMap()).update(having)
        for field, values in numbers.items():
            if field not in self._numbers:
                self._numbers[field] = NumberColumn()
            self._numbers[field].extend(numbered[field], values)

    def matching(self, filter_: Filter, alive: BitMap) -> BitMap:
        """The rows of ``alive`` that match."""
        match filter_:
            case Eq(field, value):
                return self._equal(field, value) & alive
            case In(field, values):
                return BitMap.union(BitMap(), *(self._equal(field, value) for value in values)) & alive
            case Compare(field, op, bound):
                return self._numbers[field].where(op, bound) & alive if field in self._numbers else BitMap()
            case Exists(field):
                return self._present.get(field, BitMap()) & alive
            case Not(term):
                return alive - self.matching(term, alive)
            case And(terms):
                return reduce(and_, (self.matching(term, alive) for term in terms))
            case Or(terms):
                return BitMap.union(BitMap(), *(self.matching(term, alive) for term in terms))

    def _add_terms(self, field: str, row: int, values: Iterable[str | bool]) -> None:
        terms = self._terms.setdefault(field, {})
        for value in values:
            _post(terms, _term(value), row)

    def _equal(self, field: str, value: Scalar) -> BitMap:
        if isinstance(value, (str, bool)):
            found = self._terms.get(field, {}).get(_term(value), BitMap())
            return BitMap([found]) if isinstance(found, int) else found
        return self._numbers[field].where("eq", value) if field in self._numbers else BitMap()


def _post(terms: dict[str | bytes | bool, BitMap | int], term: str | bytes | bool, row: int) -> None:
    """A term of one row is kept as its number, which takes a fraction of a bitmap."""
    held = terms.get(term)
    if held is None:
        terms[term] = row
    elif isinstance(held, BitMap):
        held.add(row)
    else:
        terms[term] = BitMap([held, row])


def _column(room: int) -> _Column:
    return np.empty(room, np.float64), np.empty(room, np.uint32)


def _span(values: NDArray[np.float64], op: str, number: float) -> tuple[int, int]:
    left = int(np.searchsorted(values, number, "left"))
    right = int(np.searchsorted(values, number, "right"))
    end = len(values)
    return {"eq": (left, right), "gt": (right, end), "gte": (left, end), "lt": (0, left), "lte": (0, right)}[op]


def _term(value: str | bool) -> str | bytes | bool:
    if isinstance(value, bool) or len(value) <= _LONG:
        return value
    return blake2b(value.encode(), digest_size=16).digest()


def _as_float(op: str, bound: float) -> tuple[str, float]:
    """The comparison with a float64 that says the same; NaN when nothing can hold.

    A whole number that lies between two floats is above the one and below the other, and equal to none.
    """
    try:
        number = float(bound)
    except OverflowError:
        number = math.inf if bound > 0 else -math.inf
    if number == bound:
        return op, number
    if op == "eq":
        return op, math.nan
    upward = op in ("gt", "gte")
    if number < bound:
        return ("gt" if upward else "lte"), number
    return ("gte" if upward else "lt"), number


_COMPARE: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    "eq": lambda values, number: values == number,
    "gt": lambda values, number: values > number,
    "gte": lambda values, number: values >= number,
    "lt": lambda values, number: values < number,
    "lte": lambda values, number: values <= number,
}


def _bitmap(rows: NDArray[np.uint32]) -> BitMap:
    numbers = array("I")
    numbers.frombytes(rows.tobytes())
    return BitMap(numbers)
