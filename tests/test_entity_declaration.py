"""Declarations: a mistake shows when it is made, and says how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, Literal, NewType
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, EmailStr, Field, SecretStr

from storycore.entities import Entity, Index, Key, Unique, entity, part
from storycore.entities.key_types import KeyType, key_type_of
from storycore.errors import ConfigError

NoteId = NewType("NoteId", str)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Mixed(Enum):
    A = 1
    B = "b"


class Note(BaseModel):
    note_id: str
    owner: str = "ada"
    colour: Colour = Colour.RED
    maybe: str | None = None
    weight: float = 1.0
    price: Decimal = Decimal(0)
    stars: int = 0
    is_open: bool = True
    tags: set[str] = set()
    lines: list[str] = []
    limit: str = "a name that is an argument"
    at: AwareDatetime = Field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    until: datetime | None = None


KEY = Key(pk=("note", part.note_id), sk=("note",))
OWNER = Index("by_owner", slot=1, pk=("owner", part.owner), sk=(part.at,))


def declare(**changes: Any) -> Entity[Note]:  # any argument of entity()
    return entity(Note, **{"kind": "note", "key": KEY, **changes})


def test_a_sound_declaration_is_accepted_and_tells_what_it_is() -> None:
    """All parts of a declaration can be read from it."""
    note = declare(
        indexes=[OWNER, Index("by_colour", slot=2, pk=(part.colour,), sk=(part.stars, part.note_id))],
        promoted=("owner", "tags"),
        counters=("stars", "price"),
        ttl="until",
        schema=2,
        upgrades={1: dict},
    )
    assert (note.kind, note.schema, note.ttl) == ("note", 2, "until")
    assert note.table.fields == ("note_id",)
    assert {name: pattern.fields for name, pattern in note.indexes.items()} == {
        "by_owner": ("owner", "at"),
        "by_colour": ("colour", "stars", "note_id"),
    }
    assert note.columns == {"owner", "tags", "stars", "price"}
    assert note.indexed == {"note_id", "owner", "at", "colour", "stars"}


def test_the_layout_changes_with_the_schema_and_with_what_is_promoted() -> None:
    """Records of another layout can be told apart."""
    layouts = {
        declare().layout,
        declare(promoted=("owner",)).layout,
        declare(counters=("stars",)).layout,
        declare(schema=2, upgrades={1: dict}).layout,
    }
    assert len(layouts) == 4


def upgrade(data: dict[str, Any]) -> dict[str, Any]:  # JSON values
    return data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "Note"}, "kind 'Note'"),
        ({"kind": ""}, "kind ''"),
        ({"key": Key(pk=("note", part.note_ld), sk=("note",))}, "Did you mean 'note_id'"),
        ({"key": Key(pk=("note",), sk=("note",))}, "no part"),
        ({"key": Key(pk=(), sk=("note",))}, "non-empty tuples"),
        ({"key": Key(pk=(part.maybe,), sk=("note",))}, "may be None"),
        ({"key": Key(pk=(part.weight,), sk=("note",))}, "cannot be a key part"),
        ({"key": Key(pk=(part.price,), sk=("note",))}, "cannot be a key part"),
        ({"key": Key(pk=(part.limit,), sk=("note",))}, "name of an argument"),
        ({"key": Key(pk=(3,), sk=("note",))}, "neither text nor part.field"),  # type: ignore[arg-type]  # the point
        ({"indexes": [OWNER, OWNER]}, "occurs twice"),
        ({"indexes": [OWNER, Index("other", slot=1, pk=(part.owner,), sk=("x",))]}, "shares slot 1"),
        ({"indexes": [Index("by_owner", slot=9, pk=(part.owner,), sk=("x",))]}, "slot from 1 to 8"),
        ({"indexes": [Index("put", slot=1, pk=(part.owner,), sk=("x",))]}, "reserved"),
        ({"indexes": [Index("_x", slot=1, pk=(part.owner,), sk=("x",))]}, "reserved"),
        ({"indexes": [Index("a b", slot=1, pk=(part.owner,), sk=("x",))]}, "reserved"),
        ({"promoted": ("ownr",)}, "Did you mean 'owner'"),
        ({"promoted": ("lines",)}, "scalar or a set of text"),
        ({"counters": ("weight",)}, "int or a Decimal"),
        ({"counters": ("is_open",)}, "int or a Decimal"),
        ({"counters": ("owner",)}, "int or a Decimal"),
        ({"ttl": "owner"}, "must be a datetime"),
        ({"ttl": "untill"}, "Did you mean 'until'"),
        ({"timestamps": ("at", "owner")}, "must be a datetime"),
        ({"schema": 0}, "whole number"),
        ({"schema": 3, "upgrades": {1: upgrade}}, "look at 2"),
        ({"upgrades": {1: upgrade}}, "look at 1"),
    ],
)
def test_a_mistaken_declaration_is_refused(changes: Mapping[str, Any], message: str) -> None:
    """Each mistake has a message that names it."""
    with pytest.raises(ConfigError, match=message):
        declare(**changes)


def test_a_misspelt_field_is_suggested_for_programs_too() -> None:
    """The error carries where it is and the nearest name."""
    with pytest.raises(ConfigError) as caught:
        declare(promoted=("colur",))
    assert (caught.value.path, caught.value.suggestion) == ("note.colur", "colour")


def test_models_that_could_not_be_loaded_are_refused() -> None:
    """A required field that dumps leave out, a secret whose dump is stars, and frozen models with timestamps."""

    class Hidden(BaseModel):
        id: str
        gone: str = Field(exclude=True)

    class Secret(BaseModel):
        id: str
        password: SecretStr | None = None

    class Frozen(BaseModel):
        model_config = ConfigDict(frozen=True)
        id: str
        at: AwareDatetime

    key = Key(pk=(part.id,), sk=("x",))
    with pytest.raises(ConfigError, match="excluded"):
        entity(Hidden, kind="hidden", key=key)
    with pytest.raises(ConfigError, match="secret"):
        entity(Secret, kind="secret", key=key)
    with pytest.raises(ConfigError, match="frozen"):
        entity(Frozen, kind="frozen", key=key, timestamps=("at", "at"))
    with pytest.raises(ConfigError, match="BaseModel"):
        entity(dict, kind="plain", key=key)  # type: ignore[type-var]  # the wrong type is the point


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, KeyType(str)),
        (str | None, KeyType(str)),
        (NoteId, KeyType(str)),
        (EmailStr, KeyType(str)),
        (Literal["a", "b", None], KeyType(str)),
        (Literal[1, 2], KeyType(int)),
        (AwareDatetime, KeyType(datetime)),
        (Colour, KeyType(str, Colour)),
        (UUID, KeyType(UUID)),
        (bool, KeyType(bool)),
        (Mixed, None),
        (str | int, None),
        (float, None),
        (Any, None),
        (list[str], None),
        (bytes, None),
    ],
)
def test_the_key_type_of_an_annotation(annotation: Any, expected: KeyType | None) -> None:
    """Wrappers around a type are seen through; mixtures and what has no order are not key types."""
    assert key_type_of(annotation) == expected


def test_a_part_is_made_by_attribute_only() -> None:
    """Python's own look-ups do not make parts."""
    assert part.user_id.field == "user_id"
    with pytest.raises(AttributeError):
        part.__wrapped__  # noqa: B018 - reading it is the test


@pytest.mark.parametrize(
    ("unique", "told"),
    [
        ([Unique("missing")], "no field"),
        ([Unique()], "at least one field"),
        ([Unique("owner"), Unique("owner", within=("colour",))], "occurs twice"),
        ([Unique("owner", within=("owner",))], "twice"),
        ([Unique("stars", fold="casefold")], "no text"),
        ([Unique("owner", fold="upper")], "casefold"),  # type: ignore[arg-type]  # what a caller may get wrong
        ([Unique("owner", name="#")], "name"),
        ([Unique("weight")], "cannot be a key part"),
        (["owner"], "list of Unique"),
    ],
)
def test_unique_values_that_cannot_be_kept_are_refused(unique: list[Unique], told: str) -> None:
    """Their fields must exist, be able to stand in a key, and have one name together."""
    with pytest.raises(ConfigError, match=told):
        declare(unique=unique)


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ("owner:{owner}", "is a sequence of texts"),
        (("",), "is a sequence of texts"),
        (("owner:{ownr}",), "no field 'ownr'"),
        (("owner:{}",), "no field ''"),
        (("colour:{colour}",), "must be promoted"),
        (("stars:{stars}",), "must be promoted"),
        (("weight:{weight}",), "must be text"),
        (("is:{is_open}",), "must be text"),
        (("owner:{owner",), "lone brace"),
        (("{owner}{note_id}",), "apart"),
    ],
)
def test_a_cache_tag_names_promoted_fields_with_one_text(tags: Any, problem: str) -> None:
    """So that every record tells its tags, and whoever invalidates by hand writes the same."""
    with pytest.raises(ConfigError, match=problem):
        entity(
            Note,
            kind="note",
            key=Key(pk=("note", part.note_id), sk=("note",)),
            promoted=("note_id", "owner", "weight", "is_open", "stars"),
            counters=("stars",),
            cache_tags=tags,
        )


def test_cache_tags_are_made_of_values() -> None:
    """Enumerations stand for their values, and where something is missing there is no tag."""
    note = entity(
        Note,
        kind="note",
        key=Key(pk=("note", part.note_id), sk=("note",)),
        promoted=("colour", "maybe"),
        cache_tags=("notes", "{colour}:{maybe}!"),
    )
    assert [tag.of({"colour": Colour.RED, "maybe": "x"}) for tag in note.cache_tags] == ["notes", "red:x!"]
    assert [tag.of({"colour": "red", "maybe": None}) for tag in note.cache_tags] == ["notes", None]
