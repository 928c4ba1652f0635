"""The service's form of a filter means what storycore's means, whichever way the service treats a missing field."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_pinecone.filters import EVERYTHING, Compiled, Constant, compiled, in_doubt

from storycore.filters import F
from storycore.ports.field_types import FieldType
from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or, evaluate, values_of

_TYPES: Final[Mapping[str, FieldType]] = {"n": "number", "s": "string", "b": "bool"}
_NUMBERS = st.sampled_from([0, 1, 1.5, 2, -1, 2**53, 2.0**60, 2**60 + 1, -(2**60) - 1, 10**400])
_STORED_NUMBERS = st.sampled_from([0, 1, 1.5, 2, -1, 2**53, 2.0**60, -(2.0**60), 1.7e308])
_TEXTS = st.sampled_from(["", "a", "b", "1", "true"])
_SCALARS = _NUMBERS | _TEXTS | st.booleans()
_FIELDS = st.sampled_from(["n", "s", "b", "none"])
_METADATA = st.fixed_dictionaries(
    {},
    optional={
        "n": _STORED_NUMBERS,
        "s": _TEXTS | st.lists(_TEXTS, min_size=1, max_size=3),
        "b": st.booleans(),
    },
)
_FILTERS: st.SearchStrategy[Filter] = st.recursive(
    st.builds(Eq, _FIELDS, _SCALARS)
    | st.builds(In, _FIELDS, st.lists(_SCALARS, max_size=4).map(tuple))
    | st.builds(Compare, _FIELDS, st.sampled_from(["gt", "gte", "lt", "lte"]), _NUMBERS)
    | st.builds(Exists, _FIELDS),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
_COMPARES: Final = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def _service(form: Mapping[str, Any], metadata: Mapping[str, object], *, missing_differs: bool) -> bool:
    """What a service answers for an item, of which ``$ne`` and ``$nin`` do or do not hold for a missing field."""
    [(name, condition)] = form.items()
    if name == "$and":
        return all(_service(part, metadata, missing_differs=missing_differs) for part in condition)
    if name == "$or":
        return any(_service(part, metadata, missing_differs=missing_differs) for part in condition)
    [(op, operand)] = condition.items()
    held = values_of(metadata, name)
    if op == "$exists":
        return bool(held) is operand
    if op in _COMPARES:
        return any(_is_number(value) and _COMPARES[op](float(value), float(operand)) for value in held)  # type: ignore[arg-type]  # a number
    wanted = operand if op in ("$in", "$nin") else [operand]
    assert wanted, "an empty list is not sent"
    assert op in ("$eq", "$ne") or len({isinstance(value, str) for value in wanted}) == 1, "a list is of one type"
    assert op in ("$eq", "$ne") or not any(isinstance(value, bool) for value in wanted), "bools are not listed"
    found = any(_equal(value, other) for value in held for other in wanted)
    if op in ("$eq", "$in"):
        return found
    return not found and (bool(held) or missing_differs)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(one: object, other: object) -> bool:
    return (
        isinstance(one, bool) == isinstance(other, bool)
        and isinstance(one, str) == isinstance(other, str)
        and one == other
    )


def _answer(form: Compiled, metadata: Mapping[str, object], *, missing_differs: bool) -> bool:
    if isinstance(form, Constant):
        return form.value
    return _service(form, metadata, missing_differs=missing_differs)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(_FILTERS, _METADATA)
def test_the_answer_is_exact_however_the_service_treats_a_missing_field(
    filter_: Filter, metadata: Mapping[str, object]
) -> None:
    """Compiled and evaluated as either kind of service would, a filter matches what the reference says."""
    form = compiled(filter_, _TYPES)
    expected = evaluate(filter_, metadata)
    assert expected == _answer(form, metadata, missing_differs=False)
    assert expected == _answer(form, metadata, missing_differs=True)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_FILTERS, _METADATA)
def test_only_doubtful_types_matter(filter_: Filter, metadata: Mapping[str, object]) -> None:
    """With no other types known than those of negated comparisons the answer is the same."""
    known = {field: _TYPES[field] for field in in_doubt(filter_) if field in _TYPES}
    assert evaluate(filter_, metadata) == _answer(compiled(filter_, known), metadata, missing_differs=True)


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (F.x == 1, {"x": {"$eq": 1}}),
        (F.x != 1, {"$or": [{"x": {"$exists": False}}, {"x": {"$ne": 1}}]}),
        (F.x.in_(["a"]), {"x": {"$eq": "a"}}),
        (
            F.x.in_(["a", 2, 3, True]),
            {"$or": [{"x": {"$eq": True}}, {"x": {"$in": [2, 3]}}, {"x": {"$eq": "a"}}]},
        ),
        (F.x.in_([]), Constant.NEVER),
        (F.x.not_in([]), Constant.ALWAYS),
        ((F.x == 1) & F.y.in_([]), Constant.NEVER),
        ((F.x == 1) | F.y.in_([]), {"x": {"$eq": 1}}),
        (~(F.x >= 3), {"$or": [{"x": {"$exists": False}}, {"x": {"$lt": 3}}]}),
        (~F.x.exists(), {"x": {"$exists": False}}),
        (
            ~((F.x == 1) & F.y.exists()),
            {"$or": [{"$or": [{"x": {"$exists": False}}, {"x": {"$ne": 1}}]}, {"y": {"$exists": False}}]},
        ),
        (F.x > 2**60 + 1, {"x": {"$gt": 2.0**60}}),
        (F.x == 2**60 + 1, Constant.NEVER),
    ],
    ids=str,
)
def test_each_form_is_the_simplest(filter_: Filter, expected: Compiled) -> None:
    """One way to write each filter; what needs no asking is not sent."""
    assert expected == compiled(filter_, {})


def test_a_comparison_of_texts_is_known_without_asking() -> None:
    """A field that holds texts has no order: the comparison never holds, and its complement always does."""
    assert compiled(F.x > 1, {"x": "string"}) is Constant.NEVER
    assert compiled(~(F.x > 1), {"x": "bool"}) is Constant.ALWAYS


@given(_METADATA)
def test_everything_matches_every_item(metadata: Mapping[str, object]) -> None:
    """The filter that stands for no filter holds for all items."""
    assert _service(EVERYTHING, metadata, missing_differs=False)
