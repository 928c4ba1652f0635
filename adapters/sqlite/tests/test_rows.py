"""Records survive the way into columns and back, whatever they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_sqlite._rows import pack_fields, pack_index_keys, unpack_fields, unpack_index_keys

from storycore.ports.entities import Key
from storycore.ports.instants import micros, moment

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = (
    TEXT
    | st.integers(-(10**38) + 1, 10**38 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.frozensets(TEXT, min_size=1, max_size=4)
)
MODEST = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@MODEST
@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_fields_survive(fields: dict[str, str | int | float | bool | Decimal | frozenset[str]]) -> None:
    """Values come back equal and of their types; equal fields give equal text, in whatever order they were."""
    text = pack_fields(fields)
    found = {} if text is None else unpack_fields(text)
    assert {name: (type(value), value) for name, value in fields.items()} == {
        name: (type(value), value) for name, value in found.items()
    }
    assert text == pack_fields(dict(reversed(fields.items())))


@MODEST
@given(st.dictionaries(st.integers(1, 8), st.builds(Key, TEXT, TEXT)))
def test_index_keys_survive(index_keys: dict[int, Key]) -> None:
    """Slots and keys come back as they were."""
    text = pack_index_keys(index_keys)
    assert index_keys == ({} if text is None else unpack_index_keys(text))


@MODEST
@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_instants_survive_in_order(one: datetime, other: datetime) -> None:
    """Microseconds are exact, before 1970 too, and ordered as the instants are."""
    assert one == moment(micros(one))
    assert (one < other) == (micros(one) < micros(other))
