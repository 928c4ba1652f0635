"""Filters over stored instances: other types never match, nothing is an error, and ``None`` is as good as missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from storycore.entities import Key, Repository, entity, part
from storycore.entities.filtering import matches
from storycore.filters import F
from storycore.ports.filters import Filter
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

Value = str | int | float | bool | frozenset[str] | None

KINDS: dict[str, Value] = {
    "text": "1",
    "empty text": "",
    "whole": 1,
    "nought": 0,
    "real": 1.5,
    "true": True,
    "false": False,
    "set": frozenset({"1", "x"}),
    "empty set": frozenset(),
    "none": None,
}


class Thing(BaseModel):
    thing_id: str
    value: Value = None
    tags: frozenset[str] = frozenset()


THING = entity(Thing, kind="thing", key=Key(pk=("things",), sk=(part.thing_id,)), promoted=("tags",))

MATCHES: list[tuple[Filter, set[str]]] = [
    (F.value == 1, {"whole"}),
    (F.value == "1", {"text", "set"}),
    (F.value == True, {"true"}),  # noqa: E712 - the filter language
    (F.value > 0, {"whole", "real"}),
    (F.value >= 0, {"whole", "nought", "real"}),
    (F.value < 1, {"nought"}),
    (F.value.in_([1, "x", False]), {"whole", "set", "false"}),
    (F.value.exists(), set(KINDS) - {"empty set", "none"}),
    (F.value != 1, set(KINDS) - {"whole"}),
    (~(F.value > 0), set(KINDS) - {"whole", "real"}),
]
"""A filter and the names of what it matches."""


@pytest.fixture
async def things(tmp_path: Path) -> AsyncIterator[Repository[Thing]]:
    harness = Harness(PortName.ENTITIES, "memory", {}, tmp_path)
    async with harness.make() as store:
        yield Repository(THING, store, harness.env, cursor_key=b"k" * 16)


@pytest.mark.parametrize("case", MATCHES, ids=lambda case: str(case[0]))
async def test_a_filter_matches_its_own_type_only(things: Repository[Thing], case: tuple[Filter, set[str]]) -> None:
    """Comparing with another type is false, never an error; a field without a value is only unequal."""
    where, expected = case
    for name, value in KINDS.items():
        await things.create(Thing(thing_id=name, value=value))
    assert {thing.thing_id for thing in await things.scan(where=where).to_list()} == expected


async def test_none_is_as_good_as_missing(things: Repository[Thing]) -> None:
    """A field that was set to ``None`` comes back as ``None``, and matches what a missing field matches."""
    await things.create(Thing(thing_id="a", value=1))
    await things.patch("a", set={"value": None})
    await things.create(Thing(thing_id="b"))
    assert [(await things.get(name)).value for name in ("a", "b")] == [None, None]
    for where, both in ((F.value.exists(), False), (F.value == 1, False), (F.value != 1, True), (F.value < 1, False)):
        assert len(await things.scan(where=where).to_list()) == (2 if both else 0)


async def test_a_set_without_members_is_the_default(things: Repository[Thing]) -> None:
    """A set that is empty, or has lost its last member, is not stored and reads as empty."""
    await things.create(Thing(thing_id="a", tags=frozenset({"x"})))
    assert (await things.patch("a", exclude={"tags": {"x"}})).tags == frozenset()
    assert (await things.get("a")).tags == frozenset()
    assert await things.scan(where=F.tags.exists()).to_list() == []


_SCALARS = st.text(max_size=3) | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
_NUMBERS = st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False, width=16)
_FILTERS = (
    st.builds(lambda value: F.value == value, _SCALARS)
    | st.builds(lambda values: F.value.in_(values), st.lists(_SCALARS, max_size=3))
    | st.builds(lambda bound: F.value > bound, _NUMBERS)
    | st.builds(lambda bound: F.value <= bound, _NUMBERS)
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(value=_SCALARS | st.none(), where=_FILTERS)
def test_a_filter_and_its_opposite_divide_everything(value: Value, where: Filter) -> None:
    """Whatever is stored and whatever is asked: exactly one of a filter and its negation matches."""
    thing = Thing(thing_id="a", value=value)
    assert matches(where, thing) is not matches(~where, thing)


class Aliased(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    thing_id: str
    name: str = Field(alias="theName")


def test_a_filter_names_fields_also_where_the_model_dumps_aliases() -> None:
    """Aliases are for others; a filter speaks of the model's own fields."""
    thing = Aliased(thing_id="1", name="ada")
    assert matches(F.name == "ada", thing)
    assert not matches(F.name != "ada", thing)
