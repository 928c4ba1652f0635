"""Filters over metadata, as the page "Filter by metadata" has them.

A field of several strings is equal to what any of them is equal to. Numbers, strings and booleans are never equal to
each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from .limits import MAX_FILTER_VALUES
from .refusals import Refusal

__all__ = ["Metadata", "Test", "compiled"]

Metadata = Mapping[str, object]
"""Of a record: a string, a float, a boolean, or a list of strings to a name."""
Test = Callable[[Metadata], bool]

_MAX_DEPTH: Final = 100
"""Of nested conditions. The documentation has no number; beyond it this interpreter would fail."""
_LOGIC: Final = {"$and": all, "$or": any}


def compiled(condition: object, *, missing: str) -> Test:
    """A filter as a function of metadata.

    Args:
        condition: as it came over the wire.
        missing: ``include``: ``$ne`` and ``$nin`` hold where the field is not; ``exclude``: they do not.

    Raises:
        Refusal: the service does not understand it.
    """
    return _nested(condition, missing, 1)


def _nested(condition: object, missing: str, depth: int) -> Test:
    if not isinstance(condition, dict):
        raise Refusal(400, f"The filter must be an object, got {_shown(condition)}")
    if depth > _MAX_DEPTH:
        raise Refusal(400, f"The filter is nested more than {_MAX_DEPTH} levels deep")
    tests = [_clause(name, value, missing, depth) for name, value in condition.items()]
    return lambda metadata: all(test(metadata) for test in tests)


def _clause(name: str, value: object, missing: str, depth: int) -> Test:
    if name in _LOGIC:
        return _combined(name, value, missing, depth)
    if name.startswith("$"):
        raise Refusal(400, f"Only $and and $or are allowed at the top level of a filter, got {name}")
    operators = value if isinstance(value, dict) else {"$eq": value}
    if not operators:
        raise Refusal(400, f"illegal condition for field {name}, got {{}}")
    tests = [_operator(operator, operand, missing) for operator, operand in operators.items()]
    return lambda metadata: all(test(metadata.get(name)) for test in tests)


def _combined(name: str, value: object, missing: str, depth: int) -> Test:
    if not isinstance(value, list) or not value or not all(value):
        raise Refusal(400, f"the {name} operator must be followed by a list of conditions, got {_shown(value)} instead")
    tests, verdict = [_nested(item, missing, depth + 1) for item in value], _LOGIC[name]
    return lambda metadata: verdict(test(metadata) for test in tests)


def _operator(operator: str, operand: object, missing: str) -> Callable[[object], bool]:
    """The test of one field's value; ``None`` stands for no value."""
    absent = missing == "include"
    match operator:
        case "$eq":
            wanted = {_scalar(operator, operand)}
            return lambda found: _has(found, wanted)
        case "$ne":
            unwanted = {_scalar(operator, operand)}
            return lambda found: absent if found is None else not _has(found, unwanted)
        case "$in":
            several = _several(operator, operand)
            return lambda found: _has(found, several)
        case "$nin":
            none_of = _several(operator, operand)
            return lambda found: absent if found is None else not _has(found, none_of)
        case "$exists":
            if not isinstance(operand, bool):
                raise Refusal(400, f"the $exists operator must be followed by a boolean, got {_shown(operand)} instead")
            return lambda found: (found is not None) is operand
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _range(operator, operand)
    raise Refusal(400, f"{operator} is not a valid operator")


def _range(operator: str, operand: object) -> Callable[[object], bool]:
    if isinstance(operand, bool) or not isinstance(operand, int | float):
        raise Refusal(400, f"the {operator} operator must be followed by a number, got {_shown(operand)} instead")
    bound = float(operand)
    holds: Mapping[str, Callable[[float], bool]] = {
        "$gt": lambda number: number > bound,
        "$gte": lambda number: number >= bound,
        "$lt": lambda number: number < bound,
        "$lte": lambda number: number <= bound,
    }
    test = holds[operator]
    return lambda found: isinstance(found, float) and test(found)


def _scalar(operator: str, operand: object) -> tuple[str, object]:
    if isinstance(operand, bool | int | float | str):
        return _typed(operand)
    raise Refusal(
        400, f"the {operator} operator must be followed by a string, boolean or a number, got {_shown(operand)} instead"
    )


def _several(operator: str, operand: object) -> set[tuple[str, object]]:
    """The values of ``$in``: strings or numbers, which the page's table of operators names, and no booleans."""
    values = operand if isinstance(operand, list) else []
    kinds = {_typed(item)[0] for item in values}
    if kinds not in ({"string"}, {"number"}):
        raise Refusal(
            400,
            f"the {operator} operator must be followed by a list of strings or a list of numbers, "
            f"got {_shown(operand)} instead",
        )
    if len(values) > MAX_FILTER_VALUES:
        raise Refusal(400, f"the {operator} operator accepts at most {MAX_FILTER_VALUES} values, got {len(values)}")
    return {_typed(item) for item in values}


def _has(found: object, wanted: set[tuple[str, object]]) -> bool:
    if isinstance(found, list):
        return any(_typed(item) in wanted for item in found)
    return found is not None and _typed(found) in wanted


def _typed(value: object) -> tuple[str, object]:
    """A value with its kind, for Python takes ``True`` for 1."""
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int | float):
        return "number", float(value)
    return ("string", value) if isinstance(value, str) else ("other", repr(value))


def _shown(value: object) -> str:
    return "null" if value is None else repr(value)[:80]
