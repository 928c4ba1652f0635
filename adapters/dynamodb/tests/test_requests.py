"""The request of a query: one condition on sort keys, a start within the range, and nothing where nothing can lie."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_dynamodb._reads import query_request

from storycore.ports.entities import Key, Position, QueryPlan
from storycore.ports.index_order import index_place

NOW = 1_000_000
TEXT = st.text(st.sampled_from("ab\0\1é\U0010ffff"), min_size=1, max_size=4)
LONG = TEXT | st.builds(lambda text, n: text * n, TEXT, st.sampled_from([200, 256]))
IN_LIMIT = LONG.filter(lambda text: len(text.encode()) <= 1024)


def bounds(request: dict[str, object]) -> list[str]:
    """The values that bound the sort key, in the order of the expression."""
    values = request["ExpressionAttributeValues"]
    assert isinstance(values, dict)
    condition = str(request["KeyConditionExpression"]).partition(" AND ")[2]
    return [values[name]["S"] for name in condition.split() if name.startswith(":")]


@pytest.mark.parametrize(
    ("plan", "expression", "values"),
    [
        (QueryPlan(pk="p"), "#n0 = :v0", []),
        (QueryPlan(pk="p", low="a"), "#n0 = :v0 AND #n1 >= :v1", ["a"]),
        (QueryPlan(pk="p", high="b"), "#n0 = :v0 AND #n1 <= :v1", ["b"]),
        (QueryPlan(pk="p", low="a", high="b"), "#n0 = :v0 AND #n1 BETWEEN :v1 AND :v2", ["a", "b"]),
        (QueryPlan(pk="p", slot=8, low="\0"), "#n0 = :v0 AND #n1 >= :v1", ["\1\1"]),
    ],
)
def test_a_range_is_one_condition(plan: QueryPlan, expression: str, values: list[str]) -> None:
    """The service takes one condition on the sort key; an index's is in the index's own order."""
    request = query_request(plan, now=NOW)
    assert request is not None
    assert (request["KeyConditionExpression"], bounds(request)) == (expression, values)


@pytest.mark.parametrize(
    ("plan", "start"),
    [
        (QueryPlan(pk="p", low="b", after=Position(Key("p", "a"))), None),
        (QueryPlan(pk="p", low="b", after=Position(Key("p", "c"))), "c"),
        (QueryPlan(pk="p", high="b", reverse=True, after=Position(Key("p", "c"))), None),
        (QueryPlan(pk="p", high="b", reverse=True, after=Position(Key("p", "b"))), "b"),
    ],
)
def test_a_start_lies_within_the_range(plan: QueryPlan, start: str | None) -> None:
    """The service refuses another; a walk that begins before its range begins at its end."""
    request = query_request(plan, now=NOW)
    assert request is not None
    expected = None if start is None else {"pk": {"S": "p"}, "sk": {"S": start}}
    assert request.get("ExclusiveStartKey") == expected


@pytest.mark.parametrize(
    "plan",
    [
        QueryPlan(pk="p", low="b", high="b"),
        QueryPlan(pk="p", high="b", after=Position(Key("p", "b"))),
        QueryPlan(pk="p", low="b", reverse=True, after=Position(Key("p", "a"))),
    ],
)
def test_where_nothing_can_lie_nothing_is_asked(plan: QueryPlan) -> None:
    """A request that can only be empty is not sent."""
    assert query_request(plan, now=NOW) is None


@settings(max_examples=40, deadline=None, derandomize=True)
@given(IN_LIMIT, TEXT, TEXT, st.booleans())
def test_the_bounds_of_an_index_leave_nothing_out(bound: str, sk: str, own: str, is_low: bool) -> None:
    """Also where the bound's escaped form is too long to be sent, everything in the range lies within what is."""
    plan = QueryPlan(pk="x", slot=1, low=bound) if is_low else QueryPlan(pk="x", slot=1, high=bound)
    request = query_request(plan, now=NOW)
    assert request is not None
    (sent,) = bounds(request)
    assert len(sent.encode()) <= 1024
    for index_sk in (sk, bound[: len(sk)] + sk, bound[:200]):
        place = index_place(Key("x", index_sk), Key("p", own))
        is_in_range = index_sk >= bound if is_low else index_sk < bound
        assert not is_in_range or (place >= sent if is_low else place <= sent)


def test_only_the_table_is_read_consistently() -> None:
    """Always, or where it is asked for; an index cannot be."""
    asked = [
        query_request(QueryPlan(pk="p", slot=slot, consistent=consistent), now=NOW, eventual=eventual)
        for slot, consistent, eventual in [
            (None, False, False),
            (None, False, True),
            (None, True, True),
            (1, False, False),
        ]
    ]
    assert [request and request["ConsistentRead"] for request in asked] == [True, False, True, False]
