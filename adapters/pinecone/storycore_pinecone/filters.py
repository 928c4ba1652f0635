"""From storycore's filters to the service's: the same answer whatever the service makes of a missing field.

Pure functions. The service has no ``$not`` that can be relied on, and whether its ``$ne`` and ``$nin`` match an item
without the field has changed before; so a negation moves down to the leaves and says there itself what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

from storycore.ports.field_types import FieldType
from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or, Scalar

__all__ = ["EVERYTHING", "Compiled", "Constant", "compiled", "in_doubt"]


class Constant(Enum):
    """A filter whose answer is known without asking."""

    ALWAYS = True
    NEVER = False


Compiled: TypeAlias = Constant | dict[str, object]

EVERYTHING: Final[dict[str, object]] = {"$or": [{"id": {"$exists": True}}, {"id": {"$exists": False}}]}
"""A filter that all items match, for requests that must have one."""

_INVERSE: Final = {"gt": "$lte", "gte": "$lt", "lt": "$gte", "lte": "$gt"}


def compiled(filter_: Filter, types: Mapping[str, FieldType], *, wanted: bool = True) -> Compiled:
    """The service's form of a filter, or of its complement where it is not ``wanted``.

    Args:
        filter_: checked.
        types: of the fields that ``in_doubt`` names, where they have one; others are passed over.
    """
    match filter_:
        case Not(term):
            return compiled(term, types, wanted=not wanted)
        case And(terms) | Or(terms):
            parts = [compiled(term, types, wanted=wanted) for term in terms]
            return _joined(parts, "$and" if isinstance(filter_, And) is wanted else "$or")
        case Exists(field):
            return {field: {"$exists": wanted}}
        case Eq(field, value):
            return _listed(field, [value], wanted)
        case In(field, values):
            return _listed(field, values, wanted)
        case Compare(field, op, bound):
            return _compared(field, op, bound, types.get(field, "number"), wanted)


def in_doubt(filter_: Filter) -> frozenset[str]:
    """The fields of which the type must be known for an exact answer: those whose comparison is negated."""
    return frozenset(_negated(filter_, wanted=True))


def _negated(filter_: Filter, *, wanted: bool) -> Iterator[str]:
    match filter_:
        case Not(term):
            yield from _negated(term, wanted=not wanted)
        case And(terms) | Or(terms):
            for term in terms:
                yield from _negated(term, wanted=wanted)
        case Compare(field) if not wanted:
            yield field
        case _:
            return


def _listed(field: str, values: Sequence[Scalar], wanted: bool) -> Compiled:
    """One of the values is there, or none. A list of the service has texts alone or numbers alone, and no bools."""
    kept = [value for value in values if isinstance(value, (bool, str)) or _storable(value)]
    parts: list[Compiled] = [{field: {"$eq" if wanted else "$ne": value}} for value in _bools(kept)]
    for alike in (_numbers(kept), _texts(kept)):
        if len(alike) == 1:
            parts.append({field: {"$eq" if wanted else "$ne": alike[0]}})
        elif alike:
            parts.append({field: {"$in" if wanted else "$nin": alike}})
    if wanted or not parts:
        return _joined(parts, "$or" if wanted else "$and")
    return _or_missing(field, _joined(parts, "$and"))


def _compared(field: str, op: str, bound: float, type_: FieldType, wanted: bool) -> Compiled:
    if type_ != "number":
        return Constant.NEVER if wanted else Constant.ALWAYS
    operator, limit = _rounded(op, bound)
    if wanted:
        return {field: {f"${operator}": limit}}
    return _or_missing(field, {field: {_INVERSE[operator]: limit}})


def _rounded(op: str, bound: float) -> tuple[str, float]:
    """The same comparison for a bound as the service keeps numbers: as a float64."""
    try:
        limit = float(bound)
    except OverflowError:
        limit = sys.float_info.max if bound > 0 else -sys.float_info.max
    if limit == bound:
        return op, bound
    above = op in ("gt", "gte")
    if limit > bound:
        return ("gte" if above else "lt"), limit
    return ("gt" if above else "lte"), limit


def _storable(value: Scalar) -> bool:
    """Whether an item can hold the value at all: numbers are kept as float64."""
    if not isinstance(value, int):
        return True
    try:
        return float(value) == value
    except OverflowError:
        return False


def _or_missing(field: str, condition: Compiled) -> Compiled:
    return {"$or": [{field: {"$exists": False}}, condition]}


def _joined(parts: Sequence[Compiled], operator: str) -> Compiled:
    """All of the parts or one of them, without those whose answer is known."""
    neutral, decisive = (Constant.ALWAYS, Constant.NEVER) if operator == "$and" else (Constant.NEVER, Constant.ALWAYS)
    if decisive in parts:
        return decisive
    asked = [part for part in parts if part is not neutral]
    if not asked:
        return neutral
    return asked[0] if len(asked) == 1 else {operator: asked}


def _bools(values: Iterable[Scalar]) -> list[Scalar]:
    return list(dict.fromkeys(value for value in values if isinstance(value, bool)))


def _numbers(values: Iterable[Scalar]) -> list[Scalar]:
    return list(dict.fromkeys(value for value in values if not isinstance(value, (bool, str))))


def _texts(values: Iterable[Scalar]) -> list[Scalar]:
    return list(dict.fromkeys(value for value in values if isinstance(value, str)))
