"""Items are records and nothing else: round trips, names that collide, sizes, and what is not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_dynamodb._wire import attribute_name, index_sk_of, item_of, number, record_of

from storycore.errors import Corrupt
from storycore.ports.conditions import Version
from storycore.ports.entities import Key, Record
from storycore.ports.index_order import index_place
from storycore.ports.instants import micros, moment
from storycore.ports.item_size import item_size

KEEN = settings(max_examples=40, deadline=None, derandomize=True)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NUMBERS = (
    st.integers(-(10**38) + 1, 10**38 - 1)
    | st.integers(0, 125).map(lambda n: 10**n)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=1e-120, max_value=1e120)
    | st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**20), max_value=10**20)
    | st.sampled_from([0, 0.0, Decimal("0.00"), Decimal("1E+125"), Decimal("1E-130"), Decimal("1.50")])
)
VALUES = TEXT | st.booleans() | NUMBERS | st.frozensets(TEXT, min_size=1, max_size=3)
NAMES = TEXT.filter(lambda name: not name.startswith("_")) | st.sampled_from(
    ["pk", "sk", "ttl", "d", "g1pk", "g8sk", "~"]
)
KEYS = st.builds(Key, TEXT, TEXT)
RECORDS = st.builds(
    Record,
    key=KEYS,
    kind=TEXT,
    version=st.integers(1, 2**63 - 1).map(Version),
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    index_keys=st.dictionaries(st.integers(1, 8), KEYS, max_size=8),
    fields=st.dictionaries(NAMES, VALUES, max_size=4),
    body=st.binary(max_size=20) | TEXT.map(str.encode),
)


def size_of(item: Any) -> int:
    """The size of an item as DynamoDB counts it, with the mark that a sweep adds."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items()) + len("_gone") + 1


def value_size(value: Any) -> int:
    """The size of an attribute value (DynamoDB: item sizes and formats)."""
    ((kind, held),) = value.items()
    if kind == "N":
        sign, digits, exponent = Decimal(held).as_tuple()
        assert isinstance(exponent, int)
        significant = "".join(map(str, digits)).strip("0")
        return (len(significant) + 3) // 2 + 1 + sign if exponent % 2 else (len(significant) + 2) // 2 + 1 + sign
    if kind == "SS":
        return sum(len(member.encode()) for member in held)
    return 1 if kind == "BOOL" else len(held) if kind == "B" else len(held.encode())


@KEEN
@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    """Every value with its type, every key, and the expiry to the microsecond."""
    back = record_of(item_of(record, write_id="w", written_at=1))
    assert back == record
    assert {name: type(value) for name, value in back.fields.items()} == {
        name: type(value) for name, value in record.fields.items()
    }


@KEEN
@given(RECORDS)
def test_a_field_never_takes_the_place_of_a_part(record: Record) -> None:
    """Different fields have different attributes, none of which is one of the adapter's."""
    bare = item_of(Record(key=record.key, kind="k", version=Version(1)), write_id="w", written_at=1)
    names = {attribute_name(name) for name in record.fields}
    assert len(names) == len(record.fields)
    assert names.isdisjoint(bare)
    assert names.isdisjoint({"ttl", "d", "_x", "_f", "_d", "g1pk", "g1sk", "g8pk", "g8sk"})


@KEEN
@given(KEYS, KEYS)
def test_the_sort_key_of_an_index_is_read_from_its_place(index_key: Key, key: Key) -> None:
    """The text that orders an index begins with the index's sort key, whatever that holds."""
    assert index_sk_of(index_place(index_key, key)) == index_key.sk


@KEEN
@given(RECORDS)
def test_an_item_is_not_larger_than_its_record_counts(record: Record) -> None:
    """The size that the port allows is enough for the whole item, with the longest ids and the sweep's mark."""
    record = Record(**{name: getattr(record, name) for name in Record.__slots__} | {"version": Version(2**63 - 1)})
    item = item_of(record, write_id="w" * 64, written_at=micros(datetime(9999, 1, 1, tzinfo=UTC)))
    assert size_of(item) <= item_size(record) + 3 * len(record.fields)


@KEEN
@given(RECORDS)
def test_an_item_says_at_least_its_size(record: Record) -> None:
    """What the item tells of its size is no less than the port counts, and more by the room of its numbers alone."""
    item = item_of(record, write_id="w", written_at=1)
    assert item_size(record) <= int(item["_s"]["N"]) <= item_size(record) + 21 * len(record.fields)


@pytest.mark.parametrize(
    ("body", "kind"), [(b'{"title": "\xc3\xa9"}', "S"), (b"\xff\x00", "B"), (b"\0", "S"), (b"\xed\xa0\x80", "B")]
)
def test_a_body_is_text_where_it_can_be(body: bytes, kind: str) -> None:
    """JSON can be read in any tool; what is no UTF-8 is kept as bytes."""
    record = Record(key=Key("p", "s"), kind="k", version=Version(1), body=body)
    item = item_of(record, write_id="w", written_at=1)
    assert list(item["d"]) == [kind]
    assert record_of(item).body == body


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        (10**125, "1E+125"),
        (-7, "-7"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (Decimal("1.10"), "1.1"),
        (Decimal(10**40), "1E+40"),
    ],
)
def test_a_number_is_written_exactly(value: Any, digits: str) -> None:
    """Never through a float that is not one, never with more digits than the service takes."""
    assert number(value) == {"N": digits}


@pytest.mark.parametrize("seconds", [0, 0.000001, 1.5, -0.5])
def test_the_service_removes_nothing_early(seconds: float) -> None:
    """``ttl`` is in whole seconds, never before the expiry."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    record = Record(key=Key("p", "s"), kind="k", version=Version(1), expires_at=at)
    removed = moment(int(item_of(record, write_id="w", written_at=1)["ttl"]["N"]) * 1_000_000)
    assert timedelta(0) <= removed - at < timedelta(seconds=1)


GOOD = item_of(Record(key=Key("p", "s"), kind="k", version=Version(1)), write_id="w", written_at=1)


@pytest.mark.parametrize(
    "damage",
    [
        {"_v": {"N": "many"}},
        {"_v": {"S": "1"}},
        {"f": {"M": {}}},
        {"_x": {"N": "1E+99"}},
        {"d": {"N": "1"}},
        {"g1pk": {"S": "i"}, "g1sk": {"S": "a place without its end"}},
    ],
)
def test_a_foreign_item_is_corrupt(damage: dict[str, Any]) -> None:
    """What another program wrote is named, and not taken for a record."""
    with pytest.raises(Corrupt, match="'p', 's'"):
        record_of({**GOOD, **damage})
