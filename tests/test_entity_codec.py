"""Instances to records and back: nothing is lost, and what could not be read back is never written."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, computed_field

from storycore.entities import Entity, Index, Key, entity, part
from storycore.entities.codec import from_record, key_of, to_put
from storycore.entities.stamps import stamp_of
from storycore.errors import Corrupt, InvalidArgument, InvalidKey, SchemaMismatch
from storycore.ports.conditions import Version
from storycore.ports.entities import Put, Record
from storycore.ports.records import put_record

examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Inner(BaseModel):
    word: str
    amount: Decimal | None = None


class Everything(BaseModel):
    id: str
    title: str | None = None
    colour: Colour = Colour.RED
    size: Size = Size.SMALL
    count: int = 0
    total: Decimal = Decimal(0)
    ratio: float = 0.0
    flag: bool = False
    moment: AwareDatetime | None = None
    day: date | None = None
    span: timedelta | None = None
    uuid: UUID | None = None
    tags: set[str] = set()
    words: frozenset[str] = frozenset()
    inner: Inner | None = None
    inners: list[Inner] = []
    either: Literal["a", "b"] | int = "a"
    numbers: dict[int, Decimal] = {}
    pair: tuple[int, str] | None = None
    free: JsonValue = None
    big: int = 0

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way to stack the two
    @property
    def loud(self) -> str:
        return self.id.upper()


EVERYTHING = entity(
    Everything,
    kind="everything",
    key=Key(pk=("e", part.id), sk=("e",)),
    indexes=[Index("by_colour", slot=3, pk=(part.colour,), sk=(part.moment,))],
    promoted=("title", "colour", "size", "ratio", "flag", "moment", "tags", "words", "uuid"),
    counters=("count", "total"),
    ttl="moment",
)

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
decimals = st.decimals(-(10**12), 10**12, allow_nan=False, places=4)
moments = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001 - Hypothesis wants naive bounds
    datetime(9999, 12, 30),  # noqa: DTZ001 - as above
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
inners = st.builds(Inner, word=text, amount=st.none() | decimals)
everything = st.builds(
    Everything,
    id=text.filter(bool),
    title=st.none() | text,
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    count=st.integers(-(2**70), 2**70),
    total=decimals,
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    moment=st.none() | moments,
    day=st.none() | st.dates(),
    span=st.none() | st.timedeltas(timedelta(days=-999), timedelta(days=999)),
    uuid=st.none() | st.uuids(),
    tags=st.sets(text, max_size=3),
    words=st.frozensets(text, max_size=3),
    inner=st.none() | inners,
    inners=st.lists(inners, max_size=2),
    either=st.sampled_from(["a", "b"]) | st.integers(-5, 5),
    numbers=st.dictionaries(st.integers(0, 9), decimals, max_size=2),
    pair=st.none() | st.tuples(st.integers(), text),
    free=st.none() | st.booleans() | text | st.lists(st.integers(-9, 9), max_size=2),
    big=st.integers(-(2**80), 2**80),
)


def stored(put: Put, version: int = 1) -> Record:
    return put_record(put, Version(version))


def declared(**changes: Any) -> Entity[Inner]:  # any argument of entity()
    return entity(Inner, **{"kind": "inner", "key": Key(pk=("i", part.word), sk=("i",)), **changes})


@examples
@given(everything)
def test_a_round_trip_loses_nothing(instance: Everything) -> None:
    """Every field comes back equal and of the same type, promoted or not."""
    back = from_record(EVERYTHING, stored(to_put(EVERYTHING, instance)))
    assert back == instance
    assert {name: type(value) for name, value in back} == {name: type(value) for name, value in instance}


@examples
@given(everything)
def test_writing_what_was_read_writes_the_same(instance: Everything) -> None:
    """Loading and saving again changes no byte."""
    first = to_put(EVERYTHING, instance)
    assert to_put(EVERYTHING, from_record(EVERYTHING, stored(first))).fields == first.fields


@examples
@given(everything)
def test_promoted_values_stand_beside_the_body_and_nowhere_else(instance: Everything) -> None:
    """A value is in the fields or in the body; what no store keeps, ``None`` and empty sets, is in the body."""
    put = to_put(EVERYTHING, instance)
    inside = set(json.loads(put.body))
    assert inside & set(put.fields) == set()
    assert inside | set(put.fields) == {*Everything.model_fields, "schema"}
    assert None not in put.fields.values()
    assert frozenset() not in put.fields.values()
    assert "loud" not in inside


def test_a_record_has_the_key_the_index_keys_and_the_expiry_of_its_instance() -> None:
    """All of them follow the fields that the declaration names."""
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    put = to_put(EVERYTHING, Everything(id="a b", moment=moment, colour=Colour.BLUE))
    assert (put.key.pk, put.key.sk) == ("e#a%20b", "e")
    assert {slot: (key.pk, key.sk) for slot, key in put.index_keys.items()} == {
        3: ("blue", "2026-03-01T00:00:00.000000Z")
    }
    assert put.expires_at == moment


def test_an_instance_whose_index_part_is_none_is_left_out_of_that_index() -> None:
    """There is no half of an index key."""
    assert to_put(EVERYTHING, Everything(id="a")).index_keys == {}


def test_an_index_lists_only_what_its_condition_admits() -> None:
    """``when`` looks at the instance."""
    sparse = declared(
        indexes=[Index("rich", slot=1, pk=("rich",), sk=(part.word,), when=lambda inner: inner.amount is not None)]
    )
    assert to_put(sparse, Inner(word="a")).index_keys == {}
    assert set(to_put(sparse, Inner(word="a", amount=Decimal(1))).index_keys) == {1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_know_are_refused(value: float) -> None:
    """They would silently become null; also deep inside."""
    with pytest.raises(InvalidArgument, match="NaN"):
        to_put(EVERYTHING, Everything(id="a", ratio=value))
    with pytest.raises(InvalidArgument, match="NaN"):
        to_put(EVERYTHING, Everything(id="a", free={"deep": [value]}))


def test_half_a_surrogate_pair_is_refused() -> None:
    """It is no text, and no store could keep it."""
    with pytest.raises(InvalidArgument, match="surrogate"):
        to_put(EVERYTHING, Everything(id="a", free="\ud800"))


def test_an_instance_that_an_assignment_made_invalid_is_refused() -> None:
    """Models do not check assignments by default, so the write does; of the wrong type or against a rule."""

    class Short(BaseModel):
        id: str
        name: str = Field(default="", max_length=3)

    short = entity(Short, kind="short", key=Key(pk=(part.id,), sk=("s",)))
    wrong_type, too_long = Short(id="a"), Short(id="a")
    wrong_type.name = 5  # type: ignore[assignment]  # the unchecked assignment is the point
    too_long.name = "long"
    with pytest.raises(InvalidArgument, match="name"):
        to_put(short, wrong_type)
    with pytest.raises(InvalidArgument, match="name"):
        to_put(short, too_long)


def test_an_assigned_value_that_the_model_would_accept_is_stored_as_the_model_has_it() -> None:
    """Keys, counters and expiry agree with what will be read."""
    instance = Everything(id="a")
    instance.colour, instance.moment = "blue", "2026-03-01T00:00:00Z"  # type: ignore[assignment]  # unchecked on purpose
    put = to_put(EVERYTHING, instance)
    assert put.expires_at == datetime(2026, 3, 1, tzinfo=UTC)
    assert put.index_keys[3].pk == "blue"
    assert from_record(EVERYTHING, stored(put)).colour is Colour.BLUE


def test_an_instance_of_another_model_is_refused() -> None:
    """Also of a subclass, which could not be told apart when it is read."""

    class More(Inner):
        more: int = 0

    with pytest.raises(InvalidArgument, match="not a More"):
        to_put(declared(), More(word="a"))


def test_bytes_need_a_text_form() -> None:
    """The error names the two settings that give bytes one; with them every byte comes back."""

    class Raw(BaseModel):
        id: str
        data: bytes

    class Encoded(Raw):
        model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    key = Key(pk=(part.id,), sk=("x",))
    with pytest.raises(InvalidArgument, match="base64"):
        to_put(entity(Raw, kind="raw", key=key), Raw(id="a", data=b"\xff"))
    encoded = entity(Encoded, kind="encoded", key=key)
    instance = Encoded(id="a", data=bytes(range(256)))
    assert from_record(encoded, stored(to_put(encoded, instance))) == instance


def test_aliases_do_not_reach_the_store() -> None:
    """Fields are kept under their own names, so an alias may change."""

    class Renamed(BaseModel):
        model_config = ConfigDict(serialize_by_alias=True)
        id: str = Field(alias="ID")
        name: str = Field(validation_alias="in", serialization_alias="out")

    renamed = entity(Renamed, kind="renamed", key=Key(pk=(part.id,), sk=("x",)), promoted=("name",))
    instance = Renamed.model_validate({"ID": "a", "in": "b"})
    put = to_put(renamed, instance)
    assert (put.fields["name"], put.body) == ("b", b'{"id":"a"}')
    assert from_record(renamed, stored(put)) == instance


def test_strict_models_and_models_with_extra_fields_round_trip() -> None:
    """Loading is JSON validation, which strict models allow; extra fields are kept where they are allowed."""

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, extra="allow")
        id: str
        at: AwareDatetime
        cost: Decimal
        tags: set[str]

    strict = entity(
        Strict, kind="strict", key=Key(pk=(part.id,), sk=("x",)), promoted=("at", "tags"), counters=("cost",)
    )
    instance = Strict(id="a", at=datetime(2026, 1, 1, tzinfo=UTC), cost=Decimal("1.5"), tags={"x"}, odd=1)  # type: ignore[call-arg]  # an extra field
    back = from_record(strict, stored(to_put(strict, instance)))
    assert back == instance
    assert back.model_extra == {"odd": 1}


def test_a_naive_expiry_is_refused() -> None:
    """An instant without a time zone is no instant."""

    class Fading(BaseModel):
        id: str
        until: datetime | None = None

    fading = entity(Fading, kind="fading", key=Key(pk=(part.id,), sk=("x",)), ttl="until")
    with pytest.raises(InvalidArgument, match="time zone"):
        to_put(fading, Fading(id="a", until=datetime(2026, 1, 1)))  # noqa: DTZ001 - naive on purpose


def test_an_empty_key_part_is_refused() -> None:
    """An id that was forgotten must not become everybody's id."""
    with pytest.raises(InvalidKey, match="'word' is empty"):
        key_of(declared(), Inner(word=""))


def test_a_loaded_instance_is_stamped_with_its_version() -> None:
    """It knows what a later write must find."""
    inner = declared()
    back = from_record(inner, stored(to_put(inner, Inner(word="a")), version=7))
    assert stamp_of(back, key_of(inner, back)) == 7


def test_an_older_schema_is_upgraded_step_by_step_when_it_is_read() -> None:
    """Each function sees the JSON values that the one before it left, promoted fields among them."""

    class Old(BaseModel):
        id: str
        name: str = "x"

    class New(BaseModel):
        id: str
        title: str
        length: int

    key = Key(pk=("d", part.id), sk=("d",))
    old = entity(Old, kind="doc", key=key, promoted=("name",))
    new = entity(
        New,
        kind="doc",
        key=key,
        schema=3,
        upgrades={
            1: lambda data: {"id": data["id"], "title": data["name"]},
            2: lambda data: {**data, "length": len(data["title"])},
        },
    )
    record = stored(to_put(old, Old(id="a", name="river")))
    assert from_record(new, record) == New(id="a", title="river", length=5)


def test_a_newer_schema_and_another_kind_are_mismatches() -> None:
    """An old program does not read what it does not know."""
    newer = declared(schema=2, upgrades={1: dict})
    with pytest.raises(SchemaMismatch, match="written by schema 2"):
        from_record(declared(), stored(to_put(newer, Inner(word="a"))))
    with pytest.raises(SchemaMismatch, match="lies a 'other'"):
        from_record(declared(), stored(to_put(declared(kind="other"), Inner(word="a"))))


def test_a_failing_upgrade_is_a_mismatch_that_names_its_cause() -> None:
    """Whatever an application's function raises."""
    broken = declared(schema=2, upgrades={1: lambda data: data["missing"]})
    with pytest.raises(SchemaMismatch, match="KeyError"):
        from_record(broken, stored(to_put(declared(), Inner(word="a"))))


def test_promoting_a_field_later_needs_no_new_schema() -> None:
    """Records of the other layout are read by their own; a counter goes on from where the body left it."""

    class Counted(BaseModel):
        id: str
        views: int = 0
        name: str = ""

    key = Key(pk=("c", part.id), sk=("c",))
    before = entity(Counted, kind="counted", key=key)
    after = entity(Counted, kind="counted", key=key, promoted=("name",), counters=("views",))
    record = stored(to_put(before, Counted(id="a", views=5, name="x")))
    assert from_record(after, record) == Counted(id="a", views=5, name="x")
    counted_since = replace(record, fields={**record.fields, "views": 2})
    assert from_record(after, counted_since).views == 7
    assert from_record(before, stored(to_put(after, Counted(id="a", views=3)))).views == 3


def test_a_program_that_does_not_count_reads_what_another_has_counted() -> None:
    """Where two versions of a program run side by side, or the newer one is taken back, no count is lost."""

    class Counted(BaseModel):
        id: str
        views: int = 0
        cost: Decimal = Decimal(0)
        tags: set[str] = Field(default_factory=set)

    before = entity(Counted, kind="counted", key=Key(pk=("c", part.id), sk=("c",)))
    record = stored(to_put(before, Counted(id="a", views=5, cost=Decimal("1.5"), tags={"x"})))
    counts = {"views": 2, "cost": Decimal("0.5"), "tags": frozenset({"y"})}
    since = from_record(before, replace(record, fields={**record.fields, **counts}))
    assert since == Counted(id="a", views=7, cost=Decimal(2), tags={"x", "y"})
    with pytest.raises(Corrupt, match="'tags' is counted and holds no number"):
        from_record(before, replace(record, fields={**record.fields, "tags": 1}))


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b""},
        {"body": b"not json"},
        {"body": b"{]}"},
        {"body": b'{"amount":"x"}'},
        {"fields": {}},
        {"fields": {"schema": "x.y"}},
        {"fields": {"schema": 5}},
        {"body": b"[1]", "fields": {"schema": "1.other"}},
        {"body": b"}", "fields": {"schema": "1.other"}},
    ],
)
def test_damaged_records_are_corrupt(changes: Mapping[str, Any]) -> None:
    """Whatever is damaged, the error names the record and never shows its body."""
    record = replace(stored(to_put(declared(), Inner(word="secret-word"))), **changes)
    with pytest.raises((Corrupt, SchemaMismatch), match="inner") as caught:
        from_record(declared(), record)
    assert "not json" not in caught.value.message
