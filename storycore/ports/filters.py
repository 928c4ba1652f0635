"""One filter language for vectors and entities: frozen nodes, and the reference evaluator that defines their meaning.

Let V be the set of values of a field: a scalar is one element, a list its elements, a missing or empty field none.
Logic is two-valued: ``Not`` is the exact complement, so ``ne`` and ``nin`` are true on a missing field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias, cast

from storycore.errors import InvalidFilter

__all__ = [
    "And",
    "Combinable",
    "Compare",
    "Eq",
    "Exists",
    "Filter",
    "In",
    "MetadataValue",
    "Not",
    "Or",
    "Scalar",
    "evaluate",
    "values_of",
]

Scalar: TypeAlias = str | int | float | bool
MetadataValue: TypeAlias = Scalar | Sequence[str]


class Combinable:
    """What all nodes share: ``a & b``, ``a | b`` and ``~a`` build larger filters."""

    __slots__ = ()

    def __and__(self, other: Filter) -> And:
        return And((*_flat(self, And), *_flat(other, And)))

    def __or__(self, other: Filter) -> Or:
        return Or((*_flat(self, Or), *_flat(other, Or)))

    def __invert__(self) -> Filter:
        return self.term if isinstance(self, Not) else Not(cast("Filter", self))

    def __bool__(self) -> NoReturn:
        raise InvalidFilter("A filter is neither true nor false: combine filters with & | ~ instead of and, or, not.")


@dataclass(frozen=True, slots=True)
class Eq(Combinable):
    """The value is in V. ``True`` is not ``1``; ``1`` is ``1.0``."""

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In(Combinable):
    """V and the values have an element in common; no values: never."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Compare(Combinable):
    """A number in V is above or below the bound; a field of another type: never."""

    field: str
    op: Literal["gt", "gte", "lt", "lte"]
    bound: int | float


@dataclass(frozen=True, slots=True)
class Exists(Combinable):
    """V is not empty."""

    field: str


@dataclass(frozen=True, slots=True)
class And(Combinable):
    """All hold."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or(Combinable):
    """At least one holds."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not(Combinable):
    """Exactly what the term does not match."""

    term: Filter


Filter: TypeAlias = Eq | In | Compare | Exists | And | Or | Not


def _flat(node: Combinable, kind: type[And] | type[Or]) -> tuple[Filter, ...]:
    if not isinstance(node, Combinable):
        raise InvalidFilter(
            f"Only a filter combines with a filter, not a {type(node).__name__}; write F.field == value."
        )
    return node.terms if isinstance(node, kind) else (cast("Filter", node),)


def values_of(metadata: Mapping[str, object], field: str) -> tuple[object, ...]:
    """V of ``field``: its value as a tuple, a list's elements, or nothing."""
    value = metadata.get(field)
    if value is None:
        return ()
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(value)
    return (value,)


def _same(a: object, b: object) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _compares(value: object, op: str, bound: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if op == "gt":
        return value > bound
    if op == "gte":
        return value >= bound
    return value < bound if op == "lt" else value <= bound


def evaluate(filter_: Filter, metadata: Mapping[str, object]) -> bool:
    """Whether ``metadata`` matches: the meaning of the language, against which every adapter is checked."""
    match filter_:
        case Eq(field, value):
            return any(_same(v, value) for v in values_of(metadata, field))
        case In(field, values):
            return any(_same(v, wanted) for v in values_of(metadata, field) for wanted in values)
        case Compare(field, op, bound):
            return any(_compares(v, op, bound) for v in values_of(metadata, field))
        case Exists(field):
            return bool(values_of(metadata, field))
        case And(terms):
            return all(evaluate(term, metadata) for term in terms)
        case Or(terms):
            return any(evaluate(term, metadata) for term in terms)
        case Not(term):
            return not evaluate(term, metadata)
