"""Postings: which rows of a namespace match a filter, answered from bitmaps and sorted numbers in memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from functools import reduce
from hashlib import blake2b
from operator import and_

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or, Scalar
from storycore.ports.vectors import Metadata

__all__ = ["NumberColumn", "Postings"]

_LONG = 64
"""Longer texts are kept as their digest, so that passages in the metadata are not held twice."""
_MOST_UNSORTED = 4096


class NumberColumn:
    """The numbers of one field by row: a sorted part, and a short tail that is passed over whole."""

    def __init__(self) -> None:
        self._values: NDArray[np.float64] = np.empty(0, np.float64)
        self._rows: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._new_values = array("d")
        self._new_rows = array("I")

    def add(self, row: int, value: float) -> None:
        """Keep the value of a new row."""
        self._new_values.append(value)
        self._new_rows.append(row)
        if len(self._new_rows) >= max(_MOST_UNSORTED, len(self._rows) // 8):
            self._merge()

    def where(self, op: str, bound: float) -> BitMap:
        """The rows whose value is above, below or (``"eq"``) at the bound."""
        op, number = _as_float(op, bound)
        if math.isnan(number):
            return BitMap()
        low, high = self._span(op, number)
        found = _bitmap(self._rows[low:high])
        if len(self._new_rows):
            tail = _COMPARE[op](np.frombuffer(self._new_values, np.float64), number)
            found |= _bitmap(np.frombuffer(self._new_rows, np.uint32)[tail])
        return found

    def _span(self, op: str, number: float) -> tuple[int, int]:
        left = int(np.searchsorted(self._values, number, "left"))
        right = int(np.searchsorted(self._values, number, "right"))
        end = len(self._values)
        return {"eq": (left, right), "gt": (right, end), "gte": (left, end), "lt": (0, left), "lte": (0, right)}[op]

    def _merge(self) -> None:
        values = np.concatenate([self._values, np.frombuffer(self._new_values, np.float64)])
        rows = np.concatenate([self._rows, np.frombuffer(self._new_rows, np.uint32)])
        order = np.argsort(values, kind="stable")
        self._values, self._rows = values[order], rows[order]
        self._new_values, self._new_rows = array("d"), array("I")


class Postings:
    """Rows by what their metadata says. Rows are only added; who asks takes away the dead ones."""

    def __init__(self) -> None:
        self._present: dict[str, BitMap] = {}
        self._terms: dict[str, dict[str | bytes | bool, BitMap | int]] = {}
        self._numbers: dict[str, NumberColumn] = {}

    def add(self, row: int, metadata: Metadata) -> None:
        """Keep a new row; rows come in ascending order."""
        for field, value in metadata.items():
            self._present.setdefault(field, BitMap()).add(row)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._numbers.setdefault(field, NumberColumn()).add(row, float(value))
            else:
                terms = self._terms.setdefault(field, {})
                for element in (value,) if isinstance(value, (str, bool)) else value:
                    _post(terms, _term(element), row)

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
