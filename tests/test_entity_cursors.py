"""Cursors: they lead back to their place in their own query, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.entities.cursors import Bookmark, CursorSeal, QueryIdentity
from storycore.errors import ConfigError, InvalidCursor
from storycore.ports.entities import Key, Position
from storycore.ports.filters import Compare, Eq, In
from storycore.ports.pages import Cursor

SEAL = CursorSeal(b"k" * 32)
QUERY = QueryIdentity(
    kind="story", index="by_user", partition="user#u1", low="a", high="b", reverse=False, where=Eq("stars", 1)
)
PLACE = Position(Key("story#s1", "story"), Key("user#u1", "2026"))

text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
keys = st.builds(Key, text, text)
places = st.builds(Position, keys, st.none() | st.builds(Key, st.just(QUERY.partition), text))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.builds(Bookmark, st.none() | places, st.booleans()))
def test_a_cursor_leads_back_to_its_place(mark: Bookmark) -> None:
    """Whatever the keys hold, on and back; and a cursor is safe in a URL."""
    cursor = SEAL.seal(QUERY, mark)
    assert SEAL.open(QUERY, cursor) == mark
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "user"},
        {"index": "by_status"},
        {"index": ""},
        {"partition": "user#u2"},
        {"low": None},
        {"low": "b", "high": "a"},
        {"high": "c"},
        {"reverse": True},
        {"where": None},
        {"where": Eq("stars", True)},
        {"where": Eq("stars", "1")},
        {"where": In("stars", (1,))},
        {"where": Compare("stars", "gt", 1)},
        {"order": "by title"},
    ],
)
def test_a_cursor_of_another_query_is_refused(change: dict[str, Any]) -> None:
    """Each part of the query is bound."""
    with pytest.raises(InvalidCursor):
        SEAL.open(replace(QUERY, **change), SEAL.seal(QUERY, Bookmark(PLACE)))


def test_no_changed_character_goes_unnoticed() -> None:
    """At every place of the text, also in the bits that only pad it."""
    cursor = SEAL.seal(QUERY, Bookmark(PLACE))
    for place, character in enumerate(cursor):
        for other in ("A", "B", "_"):
            if other != character:
                with pytest.raises(InvalidCursor):
                    SEAL.open(QUERY, Cursor(cursor[:place] + other + cursor[place + 1 :]))


@pytest.mark.parametrize("text", ["", "A", "====", "no cursor", "ä", "A" * 400, 5, b"x"])
def test_what_is_no_cursor_is_refused(text: Any) -> None:
    """Anything a client may send."""
    with pytest.raises(InvalidCursor):
        SEAL.open(QUERY, text)


def test_a_shortened_or_lengthened_cursor_is_refused() -> None:
    """Its length is part of it."""
    cursor = SEAL.seal(QUERY, Bookmark(PLACE))
    for changed in (cursor[:-1], cursor[:-4], cursor + "A", cursor + "AAAA", "A" + cursor, cursor + "="):
        with pytest.raises(InvalidCursor):
            SEAL.open(QUERY, Cursor(changed))


def test_another_key_does_not_open_it_and_the_same_key_does() -> None:
    """Processes that share the key share cursors."""
    cursor = SEAL.seal(QUERY, Bookmark(PLACE))
    assert CursorSeal(b"k" * 32).open(QUERY, cursor) == Bookmark(PLACE)
    with pytest.raises(InvalidCursor):
        CursorSeal(b"j" * 32).open(QUERY, cursor)


def test_a_short_key_is_refused() -> None:
    """A guessable signature would be none."""
    with pytest.raises(ConfigError, match="16 bytes"):
        CursorSeal(b"short")
