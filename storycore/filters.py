"""The filter language for people: build it with ``F``, read it from a dict, write it as one.

``F.year >= 2020``, ``F["odd name"] == "x"``, ``F.tags.contains("river")`` give nodes that combine with ``& | ~``;
``F[Article].year >= 2020`` is the same, once it is known that the pydantic model ``Article`` has such a field.
The dict form is Pinecone's: an implicit "and" over fields and operators, ``$and $or $not`` over lists and filters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

from storycore.errors import InvalidFilter
from storycore.ports.field_types import FieldType, type_of
from storycore.ports.filters import And, Combinable, Compare, Eq, Exists, Filter, In, Not, Or, Scalar
from storycore.ports.model_fields import held_types
from storycore.suggestions import did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "MAX_VALUES",
    "F",
    "Field",
    "Fields",
    "ModelField",
    "ModelFields",
    "as_filter",
    "check_filter",
    "parse",
    "to_dict",
]

MAX_DEPTH = 16
"""How deep nodes may nest."""
MAX_NODES = 512
"""How many nodes a filter may have."""
MAX_VALUES = 10_000
"""How many values one ``$in`` or ``$nin`` may list."""


class Field:
    """A field in a filter under construction; a comparison gives a filter.

    Every method raises ``InvalidFilter`` for a value that the language cannot compare: ``None``, a nested value, a
    number that is not finite, a text or bool as a bound.
    """

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]  # an == that builds filters has no hash to agree with

    def __init__(self, name: str) -> None:
        self._name = _field(name, "")

    def __eq__(self, value: object) -> Eq:  # type: ignore[override]  # builds a filter, as the language intends
        return Eq(self._name, self._value(value, f"{self._name}.$eq"))

    def __ne__(self, value: object) -> Not:  # type: ignore[override]  # builds a filter, as the language intends
        return Not(Eq(self._name, self._value(value, f"{self._name}.$ne")))

    def __gt__(self, bound: float) -> Compare:
        return self._compare("gt", bound)

    def __ge__(self, bound: float) -> Compare:
        return self._compare("gte", bound)

    def __lt__(self, bound: float) -> Compare:
        return self._compare("lt", bound)

    def __le__(self, bound: float) -> Compare:
        return self._compare("lte", bound)

    def in_(self, values: Iterable[Scalar]) -> In:
        """The field has one of ``values``; none of no values."""
        return In(self._name, self._values(values, f"{self._name}.$in"))

    def not_in(self, values: Iterable[Scalar]) -> Not:
        """The field has none of ``values``; true where the field is missing."""
        return Not(In(self._name, self._values(values, f"{self._name}.$nin")))

    def exists(self) -> Exists:
        """The field has a value."""
        return Exists(self._name)

    def contains(self, value: Scalar) -> Eq:
        """The list holds ``value``; the same as ``==``, which reads less well for lists."""
        return self == value

    def _compare(self, op: Literal["gt", "gte", "lt", "lte"], bound: object) -> Compare:
        path = f"{self._name}.${op}"
        self._value(_bound(bound, path), path)
        return Compare(self._name, op, _bound(bound, path))

    def _values(self, values: object, path: str) -> tuple[Scalar, ...]:
        return tuple(self._value(value, f"{path}[{i}]") for i, value in enumerate(_scalars(values, path)))

    def _value(self, value: object, path: str) -> Scalar:
        return _scalar(value, path)


class ModelField(Field):
    """A field of a pydantic model, which refuses a value of another type than it holds."""

    __slots__ = ("_types",)
    __hash__ = None

    def __init__(self, name: str, types: frozenset[FieldType]) -> None:
        super().__init__(name)
        self._types = types

    def _value(self, value: object, path: str) -> Scalar:
        wanted = _scalar(value, path)
        held = " or ".join(sorted(self._types)) or "nothing that a filter compares"
        _require(type_of(wanted) in self._types, f"The field {self._name!r} holds {held}, not {wanted!r}", path)
        return wanted


class ModelFields:
    """The fields of a pydantic model, by attribute or item: ``F[Article].year``.

    A name that the model does not have and a value of another type raise ``InvalidFilter`` as the filter is built. A
    type checker sees that the parts fit together; names it does not know, for no annotation gives each field of a
    model another type without a plugin of the checker.
    """

    __slots__ = ("_model", "_types")

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model.__name__
        self._types = held_types(model)

    def __getattr__(self, name: str) -> ModelField:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> ModelField:
        if name not in self._types:
            raise InvalidFilter(f"{self._model} has no field {name!r}. {did_you_mean(name, self._types)}", path=name)
        return ModelField(name, self._types[name])


class Fields:
    """Fields by attribute or item: ``F.year``, ``F["odd name"]``, ``F[Article].year``. Use the constant ``F``."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Field(name)

    @overload
    def __getitem__(self, name: str) -> Field: ...

    @overload
    def __getitem__(self, name: type[BaseModel]) -> ModelFields: ...

    def __getitem__(self, name: str | type[BaseModel]) -> Field | ModelFields:
        return ModelFields(name) if isinstance(name, type) else Field(name)


F = Fields()
"""Where a filter begins: ``(F.year >= 2020) & ~F.tags.contains("draft")``."""


def as_filter(given: Filter | Mapping[str, object] | None) -> Filter | None:
    """The filter in either form, checked; ``None`` and ``{}`` stand for "everything" and give ``None``.

    Raises:
        InvalidFilter: it cannot be read, or is deeper or larger than the language allows.
    """
    if given is None or isinstance(given, Combinable):
        return None if given is None else check_filter(given)
    if isinstance(given, Mapping) and not given:
        return None
    return parse(given)


def parse(data: Mapping[str, object]) -> Filter:
    """Read the dict form.

    Raises:
        InvalidFilter: with the path of the offending part, for example ``$and[1].year.$gte``.
    """
    return check_filter(_document(data, "", 1))


def check_filter(filter_: Filter) -> Filter:
    """The same filter, once it is known to be sound: also one that was built from nodes by hand.

    Raises:
        InvalidFilter: a value cannot be compared, a combination is empty, or a limit of the language is passed.
    """
    pending: list[tuple[Filter, str, int]] = [(filter_, "", 1)]
    seen = 0
    while pending:
        node, path, depth = pending.pop()
        seen += 1
        _require(depth <= MAX_DEPTH, f"A filter nests at most {MAX_DEPTH} deep", path)
        _require(seen <= MAX_NODES, f"A filter has at most {MAX_NODES} nodes", path)
        pending.extend((term, where, depth + 1) for term, where in _inside(node, path))
    return filter_


def to_dict(filter_: Filter) -> dict[str, object]:
    """Write the dict form: one way for each filter, and ``parse`` gives back an equal filter."""
    match filter_:
        case Eq(field, value):
            return {field: {"$eq": value}}
        case In(field, values):
            return {field: {"$in": list(values)}}
        case Compare(field, op, bound):
            return {field: {f"${op}": bound}}
        case Exists(field):
            return {field: {"$exists": True}}
        case Not(term):
            return _negated(term)
        case And(terms):
            return {"$and": [to_dict(term) for term in terms]}
        case Or(terms):
            return {"$or": [to_dict(term) for term in terms]}


def _negated(term: Filter) -> dict[str, object]:
    match term:
        case Eq(field, value):
            return {field: {"$ne": value}}
        case In(field, values):
            return {field: {"$nin": list(values)}}
        case Exists(field):
            return {field: {"$exists": False}}
        case _:
            return {"$not": to_dict(term)}


def _inside(node: Filter, path: str) -> list[tuple[Filter, str]]:
    """Check what the node itself says, and give the nodes within it with their paths."""
    match node:
        case Eq(field, value):
            _scalar(value, _join(path, _field(field, path)))
        case In(field, values):
            _scalars(values, _join(path, _field(field, path)))
        case Compare(field, op, bound):
            _require(op in _BOUNDS, f"A comparison is one of {', '.join(_BOUNDS)}, not {op!r}", path)
            _bound(bound, _join(path, f"{_field(field, path)}.${op}"))
        case Exists(field):
            _field(field, path)
        case Not(term):
            return [(term, _join(path, "$not"))]
        case And(terms) | Or(terms):
            name = "$and" if isinstance(node, And) else "$or"
            _require(isinstance(terms, tuple) and bool(terms), f"{name} needs at least one filter", _join(path, name))
            return [(term, _join(path, f"{name}[{i}]")) for i, term in enumerate(terms)]
        case _:
            raise InvalidFilter(f"Expected a filter, not a {type(node).__name__}", path=path)
    return []


def _document(data: object, path: str, depth: int) -> Filter:
    if not isinstance(data, Mapping):
        raise InvalidFilter(f"Expected an object of fields and operators, not a {type(data).__name__}", path=path)
    _require(bool(data), "A filter names at least one field; leave the filter out to match everything", path)
    _require(depth <= MAX_DEPTH, f"A filter nests at most {MAX_DEPTH} deep", path)
    _require(len(data) <= MAX_NODES, f"A filter has at most {MAX_NODES} nodes", path)
    return _all([_entry(key, value, path, depth) for key, value in data.items()])


def _entry(key: object, value: object, path: str, depth: int) -> Filter:
    if not isinstance(key, str):
        raise InvalidFilter(f"A field's name is a text, not a {type(key).__name__}", path=path)
    if not key.startswith("$"):
        return _condition(_field(key, path), value, _join(path, key))
    where = _join(path, key)
    if key == "$not":
        return Not(_document(value, where, depth + 1))
    if key not in ("$and", "$or"):
        raise InvalidFilter(
            f"Unknown operator {key!r}. {did_you_mean(key, ['$and', '$or', '$not', *_OPERATORS])}", path=path
        )
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidFilter(f"{key} takes a list of at least one filter", path=where)
    _require(len(value) <= MAX_NODES, f"A filter has at most {MAX_NODES} nodes", where)
    terms = tuple(_document(term, f"{where}[{i}]", depth + 1) for i, term in enumerate(value))
    return And(terms) if key == "$and" else Or(terms)


def _condition(field: str, value: object, path: str) -> Filter:
    if not isinstance(value, Mapping):
        return Eq(field, _scalar(value, path))
    _require(bool(value), "A condition names at least one operator, for example {'$eq': ...}", path)
    return _all([_leaf(field, op, operand, path) for op, operand in value.items()])


def _leaf(field: str, op: object, operand: object, path: str) -> Filter:
    if not isinstance(op, str) or op not in _OPERATORS:
        raise InvalidFilter(f"Unknown operator {op!r}. {did_you_mean(str(op), _OPERATORS)}", path=path)
    return _OPERATORS[op](field, operand, f"{path}.{op}")


def _exists(field: str, operand: object, path: str) -> Filter:
    if not isinstance(operand, bool):
        raise InvalidFilter("$exists takes true or false", path=path)
    return Exists(field) if operand else Not(Exists(field))


_OPERATORS: dict[str, Callable[[str, object, str], Filter]] = {
    "$eq": lambda field, operand, path: Eq(field, _scalar(operand, path)),
    "$ne": lambda field, operand, path: Not(Eq(field, _scalar(operand, path))),
    "$gt": lambda field, operand, path: Compare(field, "gt", _bound(operand, path)),
    "$gte": lambda field, operand, path: Compare(field, "gte", _bound(operand, path)),
    "$lt": lambda field, operand, path: Compare(field, "lt", _bound(operand, path)),
    "$lte": lambda field, operand, path: Compare(field, "lte", _bound(operand, path)),
    "$in": lambda field, operand, path: In(field, _scalars(operand, path)),
    "$nin": lambda field, operand, path: Not(In(field, _scalars(operand, path))),
    "$exists": _exists,
}
_BOUNDS = ("gt", "gte", "lt", "lte")


def _all(terms: Sequence[Filter]) -> Filter:
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _field(name: object, path: str) -> str:
    if not isinstance(name, str) or not name or name.startswith("$"):
        raise InvalidFilter(f"A field's name is a non-empty text that does not begin with '$', not {name!r}", path=path)
    return name


def _scalar(value: object, path: str) -> Scalar:
    if isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InvalidFilter(f"Expected a text, a bool or a finite number, not {_described(value)}", path=path)


def _scalars(values: object, path: str) -> tuple[Scalar, ...]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise InvalidFilter("Expected a list of values", path=path)
    listed = sorted(values, key=repr) if isinstance(values, set | frozenset) else list(values)
    _require(len(listed) <= MAX_VALUES, f"At most {MAX_VALUES} values are listed, not {len(listed)}", path)
    return tuple(_scalar(value, f"{path}[{i}]") for i, value in enumerate(listed))


def _bound(value: object, path: str) -> int | float:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidFilter(f"Only finite numbers have an order, not {_described(value)}", path=path)


def _described(value: object) -> str:
    if value is None:
        return "null (use $exists to ask for a missing field)"
    if isinstance(value, float):
        return repr(value)
    return f"a {type(value).__name__}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _require(holds: bool, message: str, path: str) -> None:
    if not holds:
        raise InvalidFilter(message, path=path)
