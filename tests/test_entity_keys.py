"""Key text: its order is the order of the values, no two tuples share it, and prefixes become ranges."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.entities.keys import KeyPart, encode, encode_part, escape, starting_with, successor, under
from storycore.errors import InvalidKey

examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)

text = st.text(
    st.characters(exclude_categories=("Cs",)) | st.sampled_from("#%$&!\x00 \ud7ff\ue000\U0010ffff"), max_size=6
)
offsets = st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(
    datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis wants naive bounds
    datetime(9998, 12, 31),  # noqa: DTZ001 - as above
    timezones=offsets | st.just(UTC),
)
columns: list[st.SearchStrategy[KeyPart]] = [
    text,
    st.integers(),
    st.booleans(),
    moments,
    st.dates(),
    st.uuids(),
]
tuples = st.lists(st.sampled_from(columns), min_size=1, max_size=3).flatmap(
    lambda kinds: st.lists(st.tuples(*kinds), min_size=2, max_size=5)
)


def by_bytes(key: str) -> bytes:
    return key.encode()


@examples
@given(tuples)
def test_tuple_order_is_byte_order(rows: list[tuple[KeyPart, ...]]) -> None:
    """Sorting the keys sorts the tuples."""
    ordered = sorted(rows)
    assert [encode(row) for row in ordered] == sorted((encode(row) for row in rows), key=by_bytes)


@examples
@given(st.lists(text, min_size=1, max_size=3), st.lists(text, min_size=1, max_size=3))
def test_different_tuples_of_text_have_different_keys(a: list[str], b: list[str]) -> None:
    """Also tuples of unequal length never meet."""
    assert (a == b) == (encode(a) == encode(b))
    assert (a < b) == (encode(a) < encode(b))


@examples
@given(tuples)
def test_equal_keys_mean_equal_tuples(rows: list[tuple[KeyPart, ...]]) -> None:
    """No two values of a column share their text."""
    first, second, *_ = rows
    assert (first == second) == (encode(first) == encode(second))


@examples
@given(st.lists(text, min_size=1, max_size=3), st.lists(text, min_size=1, max_size=2))
def test_the_range_under_whole_parts_holds_exactly_their_continuations(parts: list[str], other: list[str]) -> None:
    """A longer key lies in the range when it begins with the parts, any other key does not."""
    low, high = under(parts)
    assert low is not None
    assert high is not None
    assert low <= encode([*parts, *other]) < high
    stranger = encode([*other, *parts])
    is_inside = len(other) + len(parts) > len(parts) and [*other, *parts][: len(parts)] == parts
    assert (low <= stranger < high) == is_inside


@examples
@given(text, text)
def test_a_text_prefix_becomes_a_range(prefix: str, other: str) -> None:
    """Escaped text begins with an escaped prefix exactly when it lies in the prefix's range."""
    low, high = starting_with(escape(prefix))
    for candidate in (other, prefix + other):
        key = escape(candidate)
        is_inside = (low is None or by_bytes(key) >= by_bytes(low)) and (high is None or by_bytes(key) < by_bytes(high))
        assert candidate.startswith(prefix) == is_inside


def test_without_parts_or_prefix_there_is_no_bound() -> None:
    """Nothing given means everything."""
    assert under([]) == (None, None)
    assert starting_with("") == (None, None)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("a", "b"), ("\ud7ff", "\ue000"), ("a\U0010ffff", "b"), ("\U0010ffff", None), ("", None)],
)
def test_the_successor_steps_over_surrogates_and_the_last_character(prefix: str, expected: str | None) -> None:
    """The least text above everything with a prefix is valid Unicode, where there is one."""
    assert successor(prefix) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a#b c", "a%23b%20c"),
        ("Zürich", "Zürich"),
        (0, "p0010"),
        (42, "p00242"),
        (-42, "n99757"),
        (True, "1"),
        (date(2026, 3, 1), "2026-03-01"),
        (datetime(7, 1, 1, tzinfo=UTC), "0007-01-01T00:00:00.000000Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "2026-01-01T00:00:00.000000Z"),
        (UUID(int=255), "000000000000000000000000000000ff"),
    ],
)
def test_the_text_of_a_value_never_changes(value: KeyPart, expected: str) -> None:
    """Stored keys outlive this program, so their text is fixed."""
    assert encode_part(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        None,
        b"x",
        "\ud800",
        datetime(2026, 1, 1),  # noqa: DTZ001 - naive on purpose
        10**999,
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
    ],
)
def test_what_has_no_order_or_no_text_is_refused(value: object) -> None:
    """Floats, naive datetimes, lone surrogates and giants are no key parts."""
    with pytest.raises(InvalidKey):
        encode_part(value)  # type: ignore[arg-type]  # the wrong types are the point
