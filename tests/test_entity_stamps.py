"""Stamps: an instance remembers its version, and nothing else about it changes."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from storycore.entities.stamps import stamp, stamp_of
from storycore.ports.conditions import Version
from storycore.ports.entities import Key

KEY = Key("a", "b")


class Plain(BaseModel):
    kind: Literal["plain"] = "plain"
    x: int = 1
    y: int = 2


class Frozen(Plain):
    model_config = ConfigDict(frozen=True)


class Forbidding(Plain):
    model_config = ConfigDict(extra="forbid")


class Allowing(Plain):
    model_config = ConfigDict(extra="allow")


class Assigned(Plain):
    model_config = ConfigDict(extra="allow", validate_assignment=True)


class Revalidated(Plain):
    model_config = ConfigDict(extra="forbid", revalidate_instances="always", validate_assignment=True)


class Slotted(Plain):
    __slots__ = ("note",)


class Other(BaseModel):
    kind: Literal["other"] = "other"


MODELS = [Plain, Frozen, Forbidding, Allowing, Assigned, Revalidated, Slotted]


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def pair(request: pytest.FixtureRequest) -> tuple[Plain, Plain]:
    """Two equal instances, of which the first is stamped."""
    stamped, bare = request.param(x=3), request.param(x=3)
    stamp(stamped, KEY, Version(5))
    return stamped, bare


def test_every_kind_of_copy_keeps_the_stamp(pair: tuple[Plain, Plain]) -> None:
    """model_copy, copy, deepcopy and pickling."""
    stamped, bare = pair
    copies = [
        stamped.model_copy(),
        stamped.model_copy(deep=True),
        stamped.model_copy(update={"y": 9}),
        copy.copy(stamped),
        copy.deepcopy(stamped),
        pickle.loads(pickle.dumps(stamped)),
    ]
    assert [stamp_of(each, KEY) for each in copies] == [5] * len(copies)
    assert stamp_of(bare, KEY) is None


def test_a_copy_has_a_stamp_of_its_own(pair: tuple[Plain, Plain]) -> None:
    """Stamping a copy anew leaves the original as it was."""
    stamped, _ = pair
    other = stamped.model_copy()
    stamp(other, KEY, Version(6))
    assert (stamp_of(stamped, KEY), stamp_of(other, KEY)) == (5, 6)


def test_equality_repr_and_iteration_do_not_see_it(pair: tuple[Plain, Plain]) -> None:
    """A stamped instance is the same value."""
    stamped, bare = pair
    assert stamped == bare
    assert repr(stamped) == repr(bare)
    assert list(stamped) == list(bare)
    assert stamped.model_fields_set == {"x"} == bare.model_fields_set


def test_dumps_do_not_see_it(pair: tuple[Plain, Plain]) -> None:
    """As values, as JSON, and without the unset."""
    stamped, bare = pair
    assert stamped.model_dump() == bare.model_dump()
    assert stamped.model_dump_json() == bare.model_dump_json()
    assert stamped.model_dump(exclude_unset=True) == {"x": 3}
    assert json.loads(stamped.model_dump_json(exclude_unset=True)) == {"x": 3}


def test_other_models_can_hold_it(pair: tuple[Plain, Plain]) -> None:
    """In unions, lists and untyped fields, validated and dumped like any other."""
    stamped, bare = pair
    model: Any = type(stamped)  # a class made by the fixture

    class Holder(BaseModel):
        union: model | Other
        items: list[model | None]
        free: Any

    holding = Holder(union=stamped, items=[stamped], free=stamped)
    assert holding.model_dump() == Holder(union=bare, items=[bare], free=bare).model_dump()
    assert holding.model_dump_json() == Holder(union=bare, items=[bare], free=bare).model_dump_json()
    assert TypeAdapter(model | Other).dump_json(stamped) == bare.model_dump_json().encode()
    assert type(stamped).model_validate(stamped) == bare


def test_assignment_keeps_it(pair: tuple[Plain, Plain]) -> None:
    """A changed instance still knows what it was loaded as."""
    stamped, _ = pair
    if isinstance(stamped, Frozen):
        assert hash(stamped) == hash(Frozen(x=3))
        return
    stamped.y = 8
    assert (stamped.y, stamp_of(stamped, KEY), stamped.model_fields_set) == (8, 5, {"x", "y"})
    assert stamped.model_extra in (None, {})


def test_a_stamp_belongs_to_its_key() -> None:
    """A copy under another id is a new thing."""
    plain = Plain()
    stamp(plain, KEY, Version(5))
    assert stamp_of(plain, Key("a", "c")) is None
