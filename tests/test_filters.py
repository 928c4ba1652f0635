"""The filter language: what ``F`` builds, what the dict form says, what is refused, and the laws of logic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, NewType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from storycore.errors import InvalidFilter
from storycore.filters import MAX_DEPTH, MAX_NODES, MAX_VALUES, F, as_filter, check_filter, parse, to_dict
from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or, evaluate

FIELDS = st.sampled_from(["x", "y", "odd name", "a.b"])
SCALARS = st.sampled_from([0, 1, 1.5, -2, 2**53 + 1, True, False, "", "a", "$a"])
NUMBERS = st.sampled_from([-2, 0, 1, 1.5, 2**53 + 1])
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    st.builds(Eq, FIELDS, SCALARS)
    | st.builds(In, FIELDS, st.lists(SCALARS, max_size=3).map(tuple))
    | st.builds(Compare, FIELDS, st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS)
    | st.builds(Exists, FIELDS),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
METADATA = st.dictionaries(FIELDS, SCALARS | st.lists(st.sampled_from(["a", "", "b"]), max_size=2), max_size=4)
lawful = settings(max_examples=40, deadline=None, derandomize=True, database=None)

BUILT: list[tuple[Filter, Filter]] = [
    (F.year == 2020, Eq("year", 2020)),
    (F["odd name"] == "x", Eq("odd name", "x")),
    (F.year != 2020, Not(Eq("year", 2020))),
    (F.year > 1, Compare("year", "gt", 1)),
    (F.year >= 1, Compare("year", "gte", 1)),
    (F.year < 1.5, Compare("year", "lt", 1.5)),
    (F.year <= 1, Compare("year", "lte", 1)),
    (F.year.in_([1, 2]), In("year", (1, 2))),
    (F.year.in_({7}), In("year", (7,))),
    (F.name.in_({"b", "c", "a", "d"}), In("name", ("a", "b", "c", "d"))),
    (F.year.not_in([1]), Not(In("year", (1,)))),
    (F.year.exists(), Exists("year")),
    (F.tags.contains("a"), Eq("tags", "a")),
    (F.exists.exists(), Exists("exists")),
    (F._private == 1, Eq("_private", 1)),
    ((F.a == 1) & (F.b == 2) & (F.c == 3), And((Eq("a", 1), Eq("b", 2), Eq("c", 3)))),
    ((F.a == 1) | (F.b == 2) | (F.c == 3), Or((Eq("a", 1), Eq("b", 2), Eq("c", 3)))),
    ((F.a == 1) & ((F.b == 2) | (F.c == 3)), And((Eq("a", 1), Or((Eq("b", 2), Eq("c", 3)))))),
    (~(F.a == 1), Not(Eq("a", 1))),
    (~~(F.a > 1), Compare("a", "gt", 1)),
]


@pytest.mark.parametrize(("built", "node"), BUILT, ids=lambda node: repr(node))
def test_the_builder_gives_the_node(built: Filter, node: Filter) -> None:
    """Each expression stands for one node, with the types of its values kept."""
    assert repr(built) == repr(node)


PARSED: list[tuple[dict[str, Any], Filter]] = [
    ({"a": 1}, Eq("a", 1)),
    ({"a": {"$eq": True}}, Eq("a", True)),
    ({"a": {"$ne": "x"}}, Not(Eq("a", "x"))),
    ({"a": {"$gt": 1, "$lte": 2.5}}, And((Compare("a", "gt", 1), Compare("a", "lte", 2.5)))),
    ({"a": 1, "b": 2}, And((Eq("a", 1), Eq("b", 2)))),
    ({"a": {"$in": [1, "x"]}}, In("a", (1, "x"))),
    ({"a": {"$in": []}}, In("a", ())),
    ({"a": {"$nin": ["x"]}}, Not(In("a", ("x",)))),
    ({"a": {"$exists": True}}, Exists("a")),
    ({"a": {"$exists": False}}, Not(Exists("a"))),
    ({"$and": [{"a": 1}]}, And((Eq("a", 1),))),
    ({"$or": [{"a": 1}, {"b": {"$lt": 0}}]}, Or((Eq("a", 1), Compare("b", "lt", 0)))),
    ({"$not": {"a": 1, "b": 2}}, Not(And((Eq("a", 1), Eq("b", 2))))),
    ({"a": 1, "$or": [{"b": 1}, {"c": 1}]}, And((Eq("a", 1), Or((Eq("b", 1), Eq("c", 1)))))),
]


@pytest.mark.parametrize(("data", "node"), PARSED, ids=lambda part: repr(part))
def test_the_dict_form_gives_the_node(data: dict[str, Any], node: Filter) -> None:
    """The dict form means an implicit "and" over fields and operators."""
    assert repr(parse(data)) == repr(node)


def _nested(levels: int) -> dict[str, Any]:
    data: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        data = {"$not": data}
    return data


MALFORMED: dict[str, tuple[Any, str]] = {
    "empty": ({}, ""),
    "no object": ([1], ""),
    "a text": ("a = 1", ""),
    "None": (None, ""),
    "null value": ({"a": None}, "a"),
    "null in an operator": ({"a": {"$eq": None}}, "a.$eq"),
    "a list as a value": ({"a": [1]}, "a"),
    "no operators": ({"a": {}}, "a"),
    "an unknown operator": ({"a": {"$near": 1}}, "a"),
    "an operator without its sign": ({"a": {"gt": 1}}, "a"),
    "an unknown combination": ({"$nor": [{"a": 1}]}, ""),
    "a bound that is a text": ({"a": {"$gt": "x"}}, "a.$gt"),
    "a bound that is a bool": ({"a": {"$gt": True}}, "a.$gt"),
    "a bound that is NaN": ({"a": {"$lt": float("nan")}}, "a.$lt"),
    "infinity": ({"a": float("inf")}, "a"),
    "in with one value": ({"a": {"$in": 1}}, "a.$in"),
    "in with a text": ({"a": {"$in": "abc"}}, "a.$in"),
    "in with null": ({"a": {"$in": [1, None]}}, "a.$in[1]"),
    "in with a list": ({"a": {"$nin": [[1]]}}, "a.$nin[0]"),
    "in with too many": ({"a": {"$in": list(range(MAX_VALUES + 1))}}, "a.$in"),
    "exists with a number": ({"a": {"$exists": 1}}, "a.$exists"),
    "and without a list": ({"$and": {"a": 1}}, "$and"),
    "and of nothing": ({"$and": []}, "$and"),
    "or of nothing": ({"b": 1, "$or": []}, "$or"),
    "and of an empty object": ({"$and": [{"a": 1}, {}]}, "$and[1]"),
    "a bad term deep inside": ({"$or": [{"a": 1}, {"$not": {"b": {"$gte": "x"}}}]}, "$or[1].$not.b.$gte"),
    "not with a list": ({"$not": [{"a": 1}]}, "$not"),
    "an empty field": ({"": 1}, ""),
    "a field that is no text": ({1: 1}, ""),
    "too deep": (_nested(MAX_DEPTH), ".".join(["$not"] * MAX_DEPTH)),
    "far too deep": (_nested(3000), ""),
    "too many nodes": ({"$or": [{"a": i} for i in range(MAX_NODES)]}, ""),
    "too many fields": ({f"f{i}": i for i in range(MAX_NODES)}, ""),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_filter_is_refused_with_its_path(name: str) -> None:
    """Every malformed input is ``InvalidFilter``, and the error says where."""
    data, path = MALFORMED[name]
    with pytest.raises(InvalidFilter) as caught:
        parse(data)
    if path:
        assert caught.value.path == path


def test_an_unknown_operator_is_told_the_nearest() -> None:
    """A slip of the pen is answered with the operator that was meant."""
    with pytest.raises(InvalidFilter, match=r"Did you mean '\$gte'"):
        parse({"a": {"$gt e": 1}})


REFUSED: dict[str, Callable[[], object]] = {
    "equal None": lambda: F.a == None,  # noqa: E711 - what is refused
    "equal a list": lambda: F.a == [1],
    "above a text": lambda: F.a > "x",  # type: ignore[operator]  # what is refused
    "above a bool": lambda: F.a >= True,
    "below NaN": lambda: F.a < float("nan"),
    "in a text": lambda: F.a.in_("abc"),
    "an empty name": lambda: F[""] == 1,
    "a name with a dollar sign": lambda: F["$and"] == 1,
    "and with a bool": lambda: (F.a == 1) & True,  # type: ignore[operator]  # what is refused
    "the word and": lambda: (F.a == 1) and (F.b == 2),
    "the word not": lambda: not F.a.exists(),
    "a chain": lambda: 1 < F.a < 2,
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_builder_refuses_what_the_language_cannot_say(name: str) -> None:
    """A mistake fails where it is made, not when the filter is used."""
    with pytest.raises(InvalidFilter):
        REFUSED[name]()


UNSOUND: dict[str, Any] = {
    "an empty and": And(()),
    "an empty or": Not(Or(())),
    "a list for a tuple": And([Eq("a", 1)]),  # type: ignore[arg-type]  # what is refused
    "a value None": Eq("a", None),  # type: ignore[arg-type]  # what is refused
    "an unknown comparison": Compare("a", "ge", 1),  # type: ignore[arg-type]  # what is refused
    "a term that is no filter": Not({"a": 1}),  # type: ignore[arg-type]  # what is refused
    "an empty field": Exists(""),
    "too many nodes": Or(tuple(Eq("a", i) for i in range(MAX_NODES))),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_nodes_built_by_hand_are_checked(name: str) -> None:
    """A node that no expression would give is refused before it is used."""
    with pytest.raises(InvalidFilter):
        check_filter(UNSOUND[name])


def test_the_largest_filters_pass() -> None:
    """Limits include their bounds: depth 16, 512 nodes, 10 000 values."""
    for largest in (
        parse(_nested(MAX_DEPTH - 1)),
        Or(tuple(Eq("a", i) for i in range(MAX_NODES - 1))),
        F.a.in_(range(MAX_VALUES)),
    ):
        assert check_filter(largest) is largest


def test_either_form_or_none_is_a_filter() -> None:
    """``as_filter`` takes nodes, dicts and ``None``; an empty dict stands for everything."""
    assert as_filter(F.a == 1) == as_filter({"a": 1}) == Eq("a", 1)
    assert (as_filter(None), as_filter({})) == (None, None)
    wrong: Any = "a"
    with pytest.raises(InvalidFilter):
        as_filter(wrong)


@lawful
@given(FILTERS)
def test_writing_and_reading_gives_the_same_filter(filter_: Filter) -> None:
    """``parse(to_dict(f))`` is f, types included, and writing it again gives the same dict."""
    again = parse(to_dict(filter_))
    assert repr(again) == repr(filter_)
    assert to_dict(again) == to_dict(filter_)


@lawful
@given(FILTERS, METADATA)
def test_not_is_the_exact_complement(filter_: Filter, metadata: dict[str, Any]) -> None:
    """Every item matches either a filter or its opposite, and twice not is the filter itself."""
    assert evaluate(Not(filter_), metadata) is not evaluate(filter_, metadata)
    assert evaluate(~~filter_, metadata) is evaluate(Not(Not(filter_)), metadata) is evaluate(filter_, metadata)


@lawful
@given(FILTERS, FILTERS, METADATA)
def test_de_morgan_holds(one: Filter, two: Filter, metadata: dict[str, Any]) -> None:
    """The opposite of "both" is "the opposite of one or of the other", and the other way round."""
    assert evaluate(~(one & two), metadata) is evaluate(~one | ~two, metadata)
    assert evaluate(~(one | two), metadata) is evaluate(~one & ~two, metadata)


@lawful
@given(FILTERS, FILTERS, FILTERS, METADATA)
def test_and_distributes_over_or(a: Filter, b: Filter, c: Filter, metadata: dict[str, Any]) -> None:
    """``a & (b | c)`` is ``(a & b) | (a & c)``."""
    assert evaluate(a & (b | c), metadata) is evaluate((a & b) | (a & c), metadata)


@lawful
@given(FIELDS, st.lists(SCALARS, max_size=3), METADATA)
def test_in_is_a_row_of_equals(field: str, values: list[Any], metadata: dict[str, Any]) -> None:
    """``$in`` is "or" over ``$eq``, never for no values; ``$nin`` is its opposite, true on a missing field."""
    equals = [evaluate(F[field] == value, metadata) for value in values]
    assert evaluate(F[field].in_(values), metadata) is any(equals)
    assert evaluate(F[field].not_in(values), metadata) is not any(equals)
    assert evaluate(F[field].not_in(values), {})


@lawful
@given(FIELDS, NUMBERS, METADATA)
def test_comparisons_never_hold_for_other_types(field: str, bound: float, metadata: dict[str, Any]) -> None:
    """Texts and bools are neither above nor below a number; a number is one of below, equal, above."""
    holds = [evaluate(f, metadata) for f in (F[field] < bound, F[field] == bound, F[field] > bound)]
    value = metadata.get(field)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    assert sum(holds) == int(is_number)
    assert evaluate(F[field] <= bound, metadata) is (holds[0] or holds[1])
    assert evaluate(F[field] >= bound, metadata) is (holds[1] or holds[2])


class Shelf(StrEnum):
    """A place for books."""

    OPEN = "open"
    LOCKED = "locked"


class Grade(Enum):
    """A mark."""

    GOOD = 1


Isbn = NewType("Isbn", str)


class Book(BaseModel):
    """A model with a field of each kind."""

    publish_year: int | None = None
    price: Annotated[float, Field(ge=0)] = 0.0
    title: str = ""
    lent: bool = False
    tags: list[str] = []
    words: Sequence[str] = ()
    shelf: Shelf = Shelf.OPEN
    grade: Grade = Grade.GOOD
    language: Literal["de", "en"] | None = None
    isbn: Isbn = Isbn("")
    bought: datetime | None = None
    code: int | str = 0
    anything: Any = None
    inner: dict[str, str] = {}


OF_A_MODEL: list[tuple[Filter, Filter]] = [
    (F[Book].publish_year >= 1851, Compare("publish_year", "gte", 1851)),
    (F[Book].price < 9.5, Compare("price", "lt", 9.5)),
    (F[Book].price == 9, Eq("price", 9)),
    (F[Book].title != "Moby Dick", Not(Eq("title", "Moby Dick"))),
    (F[Book].lent == True, Eq("lent", True)),  # noqa: E712
    (F[Book].tags.contains("sea"), Eq("tags", "sea")),
    (F[Book].words.in_(["a", "b"]), In("words", ("a", "b"))),
    (F[Book].shelf == Shelf.LOCKED, Eq("shelf", "locked")),
    (F[Book].grade > 0, Compare("grade", "gt", 0)),
    (F[Book].language.not_in(["de"]), Not(In("language", ("de",)))),
    (F[Book].isbn.exists(), Exists("isbn")),
    (F[Book].bought == "1851-10-18", Eq("bought", "1851-10-18")),
    (F[Book].code.in_([1, "1"]), In("code", (1, "1"))),
    (F[Book].anything == "x", Eq("anything", "x")),
    (F[Book]["inner"].exists(), Exists("inner")),
    ((F[Book].publish_year > 1) & ~F[Book].lent.exists(), And((Compare("publish_year", "gt", 1), Not(Exists("lent"))))),
]


@pytest.mark.parametrize(("built", "node"), OF_A_MODEL, ids=repr)
def test_a_model_s_fields_give_the_same_nodes(built: Filter, node: Filter) -> None:
    """A field of a model builds what a field of that name does."""
    assert built == node


MISTAKEN: dict[str, Callable[[], object]] = {
    "a text for a number": lambda: F[Book].publish_year == "1851",
    "a bool for a number": lambda: F[Book].publish_year == True,  # noqa: E712
    "a number for a text": lambda: F[Book].title != 1,
    "a number for a bool": lambda: F[Book].lent == 1,
    "a number in a list of texts": lambda: F[Book].tags.contains(1),
    "one of another type": lambda: F[Book].publish_year.in_([1, "2"]),
    "an order of texts": lambda: F[Book].title > 1,
    "an order of bools": lambda: F[Book].lent <= 1,
    "a bool for a number or text": lambda: F[Book].code == False,  # noqa: E712
    "a value of a mapping": lambda: F[Book].inner == "x",
    "an order of moments": lambda: F[Book].bought > 5,
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_model_s_field_refuses_a_value_of_another_type(name: str) -> None:
    """What the field can never hold is refused as the filter is built, with what it does hold."""
    with pytest.raises(InvalidFilter, match="holds"):
        MISTAKEN[name]()


def test_an_unknown_field_of_a_model_is_told_the_nearest() -> None:
    """The error names the model and the field that was probably meant."""
    with pytest.raises(InvalidFilter, match=r"Book has no field 'publish_yaer'.*'publish_year'"):
        _ = F[Book].publish_yaer
    with pytest.raises(InvalidFilter, match="Book has no field"):
        _ = F[Book]["year"]
