"""Upserts and members of sets: what one call does, however many make it at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, StringConstraints, field_validator

from storycore.entities import Index, Key, Repository, Unique, entity, part
from storycore.entities.patching import Changes
from storycore.errors import InvalidArgument, NotFound, NotUnique
from storycore.ports.entities import EntityStore, Patch
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.servers import served


class Visit(BaseModel):
    page: str
    count: int = 0
    paid: Decimal = Decimal(0)
    tags: set[str] = Field(default_factory=lambda: {"default"})
    frozen: frozenset[str] = frozenset()
    loose: set[str] = Field(default_factory=set)
    perhaps: set[str] | None = None
    short: set[Annotated[str, StringConstraints(max_length=3)]] = Field(default_factory=set)
    few: set[str] = Field(default_factory=set, max_length=2)
    checked: set[str] = Field(default_factory=set)
    name: str | None = None
    made_at: datetime | None = None
    changed_at: datetime | None = None

    @field_validator("checked")
    @classmethod
    def _no_x(cls, value: set[str]) -> set[str]:
        if "x" in value:
            raise ValueError("no x")
        return value


SETS = ("tags", "frozen", "perhaps", "short", "few", "checked")
VISIT = entity(
    Visit,
    kind="visit",
    key=Key(pk=("visit", part.page), sk=("visit",)),
    counters=("count", "paid"),
    promoted=(*SETS, "changed_at"),
    unique=[Unique("name")],
    timestamps=("made_at", "changed_at"),
)


@pytest.fixture(params=os.environ.get("STORYCORE_TEST_ENTITIES", "memory sqlite").split())
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """One more adapter, as dynamodb, takes two minutes: name it in STORYCORE_TEST_ENTITIES."""
    served_by = served(request.param, request.config)
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path, served=served_by)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[EntityStore]:
    opened = await harness.started()
    yield opened
    await opened.close()


@pytest.fixture
def visits(harness: Harness, store: EntityStore) -> Repository[Visit]:
    return Repository(VISIT, store, harness.env, cursor_key=b"k" * 16)


async def test_an_upsert_creates_once_and_changes_from_then_on(visits: Repository[Visit]) -> None:
    """And tells which it did; the created instance is stamped, the stored one is what the changes make of it."""
    first = Visit(page="p", count=1, name="n")
    created = await visits.upsert(first, add={"count": 1})
    assert created == (first, True)
    assert created.instance is first
    changed = await visits.upsert(
        Visit(page="p", count=1), add={"count": 1}, set={"name": "m"}, include={"tags": ["a"]}
    )
    assert (changed.created, changed.instance.count, changed.instance.name) == (False, 2, "m")
    assert changed.instance.tags == {"default", "a"}
    await visits.put(changed.instance)


async def test_an_upsert_without_changes_gives_what_is_stored(visits: Repository[Visit]) -> None:
    """Get or create."""
    assert (await visits.upsert(Visit(page="p", count=5))).created is True
    assert await visits.upsert(Visit(page="p", count=7)) == (await visits.get("p"), False)
    assert (await visits.get("p")).count == 5


async def test_upserts_of_many_lose_nothing(visits: Repository[Visit]) -> None:
    """Exactly one creates, all others count, also while the instance is deleted in between."""
    done = await asyncio.gather(*(visits.upsert(Visit(page="p", count=1), add={"count": 1}) for _ in range(20)))
    assert sum(one.created for one in done) == 1
    assert (await visits.get("p")).count == 20

    async def remove() -> None:
        for _ in range(5):
            await visits.delete("p")
            await asyncio.sleep(0.001)

    done, _ = await asyncio.gather(
        asyncio.gather(*(visits.upsert(Visit(page="p", count=1), add={"count": 1}) for _ in range(20))), remove()
    )
    assert len(done) == 20


async def test_an_upsert_that_cannot_be_is_refused(visits: Repository[Visit]) -> None:
    """By another's unique value, by an unknown field, by an invalid result."""
    await visits.create(Visit(page="other", name="taken"))
    with pytest.raises(NotUnique):
        await visits.upsert(Visit(page="p", name="taken"))
    with pytest.raises(InvalidArgument, match="no field"):
        await visits.upsert(Visit(page="p"), set={"missing": 1})
    await visits.create(Visit(page="p"))
    with pytest.raises(NotUnique):
        await visits.upsert(Visit(page="p"), set={"name": "taken"})
    with pytest.raises(InvalidArgument, match="few"):
        await visits.upsert(Visit(page="p"), include={"few": {"a", "b", "c"}})


@pytest.mark.parametrize("field", [*SETS, "loose"])
async def test_members_join_and_leave(visits: Repository[Visit], field: str) -> None:
    """Whatever kind of set it is, from empty and to empty, and no default comes back."""
    visit = await visits.create(Visit(page="p", tags=set()))
    before: set[str] = set(getattr(visit, field) or ())
    assert before == set()
    for include, exclude, expected in (
        ({"a", "b"}, set(), {"a", "b"}),
        (set(), {"a", "c"}, {"b"}),
        (set(), {"b"}, set()),
        (set(), {"b"}, set()),
        ({"d"}, set(), {"d"}),
    ):
        if include:
            changed = await visits.patch("p", include={field: include})
        else:
            changed = await visits.patch("p", exclude={field: exclude})
        assert getattr(changed, field) == expected
        assert getattr(await visits.get("p"), field) == expected
        await visits.put(changed)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["include", "exclude", "put"]),
            st.sampled_from(["tags", "loose", "perhaps"]),
            st.sets(st.sampled_from("abc")),
        ),
        max_size=8,
    )
)
def test_members_agree_with_pythons_sets(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, set[str]]]
) -> None:
    """Any sequence of changes leaves what the same changes of a set leave."""

    async def walk() -> None:
        harness = Harness(PortName.ENTITIES, "memory", {}, tmp_path_factory.mktemp("sets"))
        async with await harness.started() as opened:
            visits = Repository(VISIT, opened, harness.env, cursor_key=b"k" * 16)
            await visits.create(Visit(page="p"))
            model: dict[str, set[str]] = {"tags": {"default"}, "loose": set(), "perhaps": set()}
            for verb, field, members in steps:
                if verb == "put":
                    found = await visits.get("p")
                    setattr(found, field, members)
                    model[field] = set(members)
                    await visits.put(found)
                else:
                    model[field] = model[field] | members if verb == "include" else model[field] - members
                    await visits.patch("p", **{verb: {field: members}})  # type: ignore[arg-type]  # one of two
                found = await visits.get("p")
                assert {name: getattr(found, name) or set() for name in model} == model

    asyncio.run(walk())


async def test_members_change_without_conflict(visits: Repository[Visit], store: EntityStore) -> None:
    """Tasks that add to one set at once lose nothing, and the change is timed."""
    created = await visits.create(Visit(page="p", tags=set()))
    await asyncio.gather(*(visits.patch("p", include={"tags": {str(number)}}) for number in range(20)))
    found = await visits.get("p")
    assert found.tags == {str(number) for number in range(20)}
    assert created.changed_at is not None


async def test_a_put_of_what_was_never_loaded_is_timed_as_new(visits: Repository[Visit], harness: Harness) -> None:
    """Unique values make no difference: whoever replaces blindly knows no time of creation."""
    await visits.create(Visit(page="p", name="n"))
    harness.clock.advance(5)
    put = await visits.put(Visit(page="p", name="m"))
    assert (put.made_at, put.changed_at) == (harness.clock.now(), harness.clock.now())


async def test_a_change_of_members_is_a_change_and_counting_is_none(
    visits: Repository[Visit], harness: Harness
) -> None:
    """The timestamp says so."""
    created = (await visits.create(Visit(page="p"))).changed_at
    harness.clock.advance(5)
    assert (await visits.patch("p", add={"count": 1})).changed_at == created
    assert (await visits.patch("p", include={"tags": {"a"}})).changed_at == harness.clock.now()


@pytest.mark.parametrize(
    ("changes", "is_one"),
    [
        (Changes(include={"tags": {"a"}}), True),
        (Changes(exclude={"frozen": ["a"]}, add={"count": 1}), True),
        (Changes(include={"loose": {"a"}}), False),
        (Changes(include={"perhaps": {"a"}}), False),
        (Changes(include={"short": {"a"}}), False),
        (Changes(include={"few": {"a"}}), False),
        (Changes(include={"checked": {"a"}}), False),
        (Changes(include={"tags": {"a"}}, set={"name": "x"}), False),
    ],
)
def test_only_what_nothing_depends_on_is_one_step(changes: Changes, is_one: bool) -> None:
    """Validators, limits and optional sets need the whole instance."""
    assert changes.is_one_step(VISIT) is is_one


def test_a_timestamp_that_is_not_promoted_or_is_indexed_needs_a_rewrite() -> None:
    """For the store cannot set it by itself."""
    key = Key(pk=("visit", part.page), sk=("visit",))
    times = ("made_at", "changed_at")
    plain = entity(Visit, kind="visit", key=key, promoted=("tags",), timestamps=times)
    listed = entity(
        Visit,
        kind="visit",
        key=key,
        promoted=("tags", "changed_at"),
        timestamps=times,
        indexes=[Index("recent", slot=1, pk=("all",), sk=(part.changed_at,))],
    )
    changes = Changes(include={"tags": {"a"}})
    assert [changes.is_one_step(declared) for declared in (plain, listed)] == [False, False]


@pytest.mark.parametrize(
    ("include", "told"),
    [
        ({"count": {"a"}}, "no set"),
        ({"tags": "abc"}, "set of text"),
        ({"tags": {1}}, "text"),
        ({"missing": {"a"}}, "no field"),
        ({"page": {"a"}}, "part of the key"),
        ({"few": {"a", "b", "c"}}, "few"),
        ({"short": {"long"}}, "short"),
    ],
)
async def test_members_that_cannot_be_are_refused(
    visits: Repository[Visit], include: dict[str, set[str]], told: str
) -> None:
    """And nothing is changed."""
    created = await visits.create(Visit(page="p"))
    with pytest.raises(InvalidArgument, match=told):
        await visits.patch("p", include=include)
    assert await visits.get("p") == created
    with pytest.raises(NotFound):
        await visits.patch("missing", include={"tags": {"a"}})


async def test_members_of_a_set_that_an_older_layout_kept_in_the_body(harness: Harness, store: EntityStore) -> None:
    """Both what was there and what changes is kept, also where members leave."""
    key = Key(pk=("visit", part.page), sk=("visit",))
    before = Repository(entity(Visit, kind="visit", key=key), store, harness.env, cursor_key=b"k" * 16)
    after = Repository(
        entity(Visit, kind="visit", key=key, promoted=("tags",)), store, harness.env, cursor_key=b"k" * 16
    )
    await before.create(Visit(page="a", tags={"x", "y"}))
    await before.create(Visit(page="b", tags={"x", "y"}))
    assert (await after.patch("a", include={"tags": {"z"}})).tags == {"x", "y", "z"}
    assert (await after.patch("b", exclude={"tags": {"x"}})).tags == {"y"}
    assert [found.tags if found else None for found in await after.get_many(["a", "b"])] == [{"x", "y", "z"}, {"y"}]
    [record] = await store.get([after.address("a")])
    assert record is not None
    await store.write([Patch(key=record.key, exclude={"tags": frozenset("xyz")})])
    assert (await after.get("a")).tags == set()
