"""What is made quickly is what is made in the plain way."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime

import pytest

from storycore.ports.conditions import ABSENT, Version
from storycore.ports.drafts import quick_key, quick_put, quick_record, quick_written
from storycore.ports.entities import Key, Put, Record, Written

KEY, AT = Key("p", "s"), datetime(2026, 1, 1, tzinfo=UTC)
RECORD = Record(
    key=KEY, kind="k", version=Version(3), expires_at=AT, index_keys={1: KEY}, fields={"n": 1}, body=b"body"
)
PUT = Put(key=KEY, kind="k", expires_at=AT, index_keys={1: KEY}, fields={"n": 1}, body=b"body", when=ABSENT)
WRITTEN = Written(key=KEY, version=Version(3), created=True, record=RECORD)
PAIRS = [
    (RECORD, quick_record(KEY, "k", Version(3), AT, {1: KEY}, {"n": 1}, b"body")),
    (PUT, quick_put(KEY, "k", AT, {1: KEY}, {"n": 1}, b"body", ABSENT)),
    (WRITTEN, quick_written(KEY, Version(3), created=True, record=RECORD)),
]


@pytest.mark.parametrize(("plain", "quick"), PAIRS, ids=lambda each: type(each).__name__)
def test_they_are_alike(plain: Record | Put | Written, quick: Record | Put | Written) -> None:
    """Equal, of the same class, with every field set, shown alike, frozen, and copied in the same way."""
    assert (type(plain), plain, repr(plain)) == (type(quick), quick, repr(quick))
    assert [getattr(plain, each.name) for each in fields(plain)] == [
        getattr(quick, each.name) for each in fields(quick)
    ]
    assert replace(quick, key=Key("p", "t")) == replace(plain, key=Key("p", "t"))
    with pytest.raises(FrozenInstanceError):
        quick.key = Key("p", "t")  # type: ignore[misc]  # that it is refused is the test


def test_a_key_made_quickly_is_the_key() -> None:
    """Equal, of the same class, hashed, ordered and shown alike, and frozen."""
    quick = quick_key("p", "s")
    assert (type(KEY), KEY, hash(KEY), repr(KEY)) == (type(quick), quick, hash(quick), repr(quick))
    assert Key("p", "r") < quick < Key("p", "t")
    assert {KEY: 1}[quick] == 1
    with pytest.raises(FrozenInstanceError):
        quick.pk = "q"  # type: ignore[misc]  # that it is refused is the test
