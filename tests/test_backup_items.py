"""Items come back as they were, and equal ones have equal bytes; sets of them have one digest."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storycore.backup.entries import Entry, pack, pack_item
from storycore.backup.index import item_mark
from storycore.backup.items import (
    event_item,
    put_of,
    read_event,
    read_vector,
    record_head,
    record_item,
    record_key,
    vector_item,
)
from storycore.backup.sources import Step
from storycore.errors import Corrupt
from storycore.ports.conditions import Version
from storycore.ports.entities import FieldValue, Key, Put, Record
from storycore.ports.events import Event
from storycore.ports.vectors import VectorItem

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_KEYS = st.builds(Key, _TEXT.filter(bool), _TEXT)
_DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20)
_FIELDS: st.SearchStrategy[FieldValue] = (
    _TEXT
    | st.integers(-(10**38) + 1, 10**38 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | _DECIMALS
    | st.frozensets(_TEXT, min_size=1, max_size=3)
)
_TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
_RECORDS = st.builds(
    Record,
    key=_KEYS,
    kind=_TEXT,
    version=st.just(Version("7")),
    expires_at=st.none() | _TIMES,
    index_keys=st.dictionaries(st.integers(1, 8), _KEYS, max_size=3),
    fields=st.dictionaries(_TEXT, _FIELDS, max_size=4),
    body=st.binary(max_size=40),
)
_VECTORS = st.builds(
    VectorItem,
    id=st.text("abc", min_size=1),
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5).map(
        lambda numbers: array("f", numbers)
    ),
    metadata=st.dictionaries(_TEXT, _TEXT | st.booleans() | st.integers(-(2**53), 2**53) | st.lists(_TEXT), max_size=3),
)


@given(_RECORDS)
def test_a_record_comes_back_with_its_types(record: Record) -> None:
    """Everything but the version, which the new store issues; a Decimal stays one, a float too."""
    put = put_of(record_item(record))
    same = [each.name for each in fields(Put) if each.name != "when"]
    assert {name: getattr(record, name) for name in same} == {name: getattr(put, name) for name in same}
    assert _types(record.fields) == _types(put.fields)


@given(_RECORDS)
def test_the_line_of_a_record_is_what_json_makes_of_it(record: Record) -> None:
    """Also where it is put together from the key and what records of a kind have in common."""
    line, _, body = record_item(record).partition(b"\n")
    names = orjson.loads(line)
    assert (orjson.dumps(names, option=orjson.OPT_SORT_KEYS), record.body) == (line, body)
    assert [record.key.pk, record.key.sk, record.kind] == names[:3]
    assert line.startswith(record_key(record.key)[:-1])


@given(_RECORDS, st.binary(max_size=4), st.booleans())
def test_a_step_in_parts_is_the_entry_in_one(record: Record, more: bytes, is_gone: bool) -> None:
    """Its bytes and its mark are the same, however the item is cut in two; and a step comes back from its entry."""
    key = record_key(record.key)
    step = Step(key, None, b"", None, more) if is_gone else Step(key, record_head(record, key), record.body, None, more)
    assert Step.of(step.entry).entry == step.entry == Entry(key, None if is_gone else record_item(record), more=more)
    assert step.entry.mark == step.mark
    if step.head is not None:
        assert item_mark(key, record_item(record)) == item_mark(key, step.head, step.body)
        assert pack(Entry(key, record_item(record))) == pack_item(key, step.head, step.body)


@given(_VECTORS, _TEXT)
def test_a_vector_comes_back_bit_for_bit(item: VectorItem, namespace: str) -> None:
    """The same floats, metadata and namespace."""
    assert read_vector(vector_item(item, namespace=namespace)) == (namespace, item)


@given(_TEXT, _TIMES, st.dictionaries(_TEXT, st.none() | st.integers(0, 9) | st.lists(_TEXT), max_size=3))
def test_an_event_comes_back(text: str, at: datetime, data: dict[str, object]) -> None:
    """With its id, type, subject, moment and details."""
    event = Event(id="e1", type="story.read", at=at, subject=text, data=data)  # type: ignore[arg-type]  # JSON
    assert event == read_event(event_item(event))


def test_equal_records_have_equal_bytes() -> None:
    """Neither the order of fields, nor how a Decimal or a nought is written, nor the version makes a difference."""
    key = Key("a", "b")
    one = Record(key=key, kind="k", version=Version("1"), fields={"x": Decimal("1.10"), "y": -0.0, "z": Decimal("-0")})
    two = Record(key=key, kind="k", version=Version("2"), fields={"z": Decimal(0), "y": 0.0, "x": Decimal("1.1")})
    assert record_item(one) == record_item(two)
    assert record_item(Record(key=key, kind="k", version=Version("1"), fields={"x": 1})) != record_item(
        Record(key=key, kind="k", version=Version("1"), fields={"x": Decimal(1)})
    )


@pytest.mark.parametrize(
    "item", [b"", b"[]\n", b"{}\n", b"not json\n", b'["a","b"]\nrest', b'["a","b","k",null,{},{}]']
)
def test_bytes_that_are_no_record_are_corrupt(item: bytes) -> None:
    """Never another error, and never a record."""
    with pytest.raises(Corrupt):
        put_of(item)


def _types(values: Mapping[str, FieldValue]) -> dict[str, type]:
    return {name: type(value) for name, value in values.items()}
