"""Listings: pages of exact length, ranges that mean what they say, cursors that are good on any adapter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from storycore.entities import Entity, Index, Key, Repository, entity, part
from storycore.errors import InvalidArgument, InvalidCursor, InvalidFilter
from storycore.filters import F
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports import entities as records
from storycore.ports.entities import EntityStore, QueryPlan, Record, RecordPage
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.pages import Cursor
from storycore.testing.harness import Harness

SECRET = b"k" * 16


class Book(BaseModel):
    book_id: str
    shelf: str = "s"
    year: int = 2000
    title: str = "t"
    bought: date = date(2026, 1, 1)
    stars: int = 0
    subtitle: str | None = None
    tags: set[str] = set()
    text: str = "long"


class Spine(BaseModel):
    book_id: str
    title: str
    subtitle: str | None
    tags: set[str]
    stars: int


class Label(BaseModel):
    label_id: str
    shelf: str = "s"
    year: int = 2000


KEY = Key(pk=("book", part.book_id), sk=("book",))
BY_TITLE = Index("by_title", slot=2, pk=("titles",), sk=(part.title, part.bought))
BOOK = entity(
    Book,
    kind="book",
    key=KEY,
    indexes=[
        Index("by_shelf", slot=1, pk=("shelf", part.shelf), sk=("x", part.year, part.title)),
        BY_TITLE,
        Index("by_day", slot=3, pk=("days",), sk=(part.bought,)),
    ],
    promoted=("book_id", "title", "subtitle", "tags"),
    counters=("stars",),
)
LABEL = entity(
    Label,
    kind="label",
    key=Key(pk=("label", part.label_id), sk=("label",)),
    indexes=[Index("by_shelf", slot=1, pk=("shelf", part.shelf), sk=("x", part.year))],
)


class Choppy(Forward[EntityStore]):
    """A store whose pages are shorter than asked for, sometimes empty, as production's are."""

    def __init__(self, inner: EntityStore, seed: int = 1) -> None:
        super().__init__(inner)
        self.random = random.Random(seed)
        self.plans: list[QueryPlan] = []
        self.gets = 0

    async def get(self, keys: Sequence[records.Key], *, consistent: bool = True) -> list[Record | None]:
        self.gets += 1
        return await self.inner.get(keys, consistent=consistent)

    async def query(self, plan: QueryPlan) -> RecordPage:
        self.plans.append(plan)
        found = await self.inner.query(plan)
        keep = self.random.randint(0, len(found.records))
        if keep == len(found.records):
            return found
        if keep == 0:
            return RecordPage((), plan.after) if plan.after is not None else found
        last = found.records[keep - 1]
        after = records.Position(last.key, None if plan.slot is None else last.index_keys[plan.slot])
        return RecordPage(found.records[:keep], after)


def over(store: EntityStore, declared: Entity[Any] = BOOK) -> Repository[Any]:
    return Repository(declared, store, Environment(), cursor_key=SECRET)


@pytest.fixture(params=["memory", "sqlite"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[EntityStore]:
    opened = await harness.started()
    yield opened
    await opened.close()


async def walked(read: Callable[..., Any], limit: int, **arguments: Any) -> list[list[str]]:  # any arguments of page()
    """The ids of all pages, read one after the other with their cursors."""
    pages: list[list[str]] = []
    cursor: Cursor | None = None
    while True:
        page = await read(limit=limit, cursor=cursor, **arguments)
        pages.append([item.book_id for item in page.items])
        cursor = page.cursor
        if cursor is None:
            return pages


books = st.lists(
    st.builds(
        Book,
        shelf=st.sampled_from(["s", "s#", "t"]),
        year=st.integers(-3, 12),
        title=st.sampled_from(["", "a", "a b", "ab", "b#", "ü"]),
        stars=st.integers(0, 3),
        book_id=st.just("?"),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    books,
    st.integers(1, 6),
    st.booleans(),
    st.none() | st.integers(-3, 12),
    st.none() | st.integers(-3, 12),
    st.none() | st.integers(0, 3),
    st.integers(0, 99),
)
def test_pages_are_exact_whatever_the_store_cuts(
    found: list[Book], limit: int, reverse: bool, low: int | None, high: int | None, stars: int | None, seed: int
) -> None:
    """All pages together are the brute-force answer; all but the last have exactly ``limit``, and none too many."""
    if low is not None and high is not None and low > high:
        low, high = high, low
    for number, book in enumerate(found):
        book.book_id = f"b{number:02}"
    expected = sorted(
        (
            (b.year, b.title, b.book_id)
            for b in found
            if b.shelf == "s"
            and (low is None or b.year >= low)
            and (high is None or b.year < high)
            and (stars is None or b.stars == stars)
        ),
        reverse=reverse,
    )
    where = None if stars is None else F.stars == stars

    async def check() -> list[list[str]]:
        inner = checked(PortName.ENTITIES, open_entities(MemoryConfig(), Environment()))
        async with inner:
            await over(inner).save_batch(found)
            await over(inner, LABEL).save_batch([Label(label_id=f"l{n}", year=n) for n in range(5)])
            read = over(Choppy(inner, seed)).by_shelf.page
            return await walked(read, limit, shelf="s", reverse=reverse, low=low, high=high, where=where)

    pages = asyncio.run(check())
    assert [book_id for page in pages for book_id in page] == [book_id for _, _, book_id in expected]
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len(pages) == max(1, -(-len(expected) // limit))


async def filled(store: EntityStore, titles: Sequence[str] = ("b", "a", "a b", "ab", "c")) -> Repository[Book]:
    books: Repository[Book] = over(store)
    start = date(2026, 1, 1)
    await books.save_batch(
        [
            Book(book_id=f"b{n}", title=title, year=n, bought=start + timedelta(days=20 * n))
            for n, title in enumerate(titles)
        ]
    )
    return books


async def test_a_listing_is_in_the_order_of_its_sort_key(store: EntityStore) -> None:
    """Text by code point, a shorter text before its continuations; reverse is the mirror."""
    books = await filled(store)
    titles = [book.title async for book in books.by_title.iterate()]
    assert titles == ["a", "a b", "ab", "b", "c"]
    assert [book.title async for book in books.by_title.iterate(reverse=True)] == titles[::-1]


async def test_bounds_limit_the_first_part_that_is_not_given(store: EntityStore) -> None:
    """``low`` is inclusive, ``high`` exclusive, equal ones give nothing."""
    books = await filled(store)

    async def years(**arguments: Any) -> list[int]:  # any arguments of iterate()
        return [book.year async for book in books.by_shelf.iterate(shelf="s", **arguments)]

    assert await years(low=1, high=3) == [1, 2]
    assert await years(low=3) == [3, 4]
    assert await years(high=1) == [0]
    assert await years(low=2, high=2) == []
    assert await years(year=2) == [2]
    assert await years(year=2, title="a b") == [2]
    assert await years(year=2, low="b") == []
    assert await years(year=2, prefix="a") == [2]


async def test_empty_text_is_the_least(store: EntityStore) -> None:
    """Nothing lies below it, and an index whose only sort-key part is empty does not list the instance."""
    plain = entity(Book, kind="book", key=KEY, indexes=[Index("by_title", slot=2, pk=("titles",), sk=(part.title,))])
    books: Repository[Book] = over(store, plain)
    await books.save_batch([Book(book_id="a", title=""), Book(book_id="b", title="x"), Book(book_id="c", title="\x00")])
    assert [book.book_id async for book in books.by_title.iterate(low="")] == ["c", "b"]
    assert (await books.by_title.page(high="")).items == []
    assert (await books.by_title.page(title="")).items == []


async def test_a_prefix_is_text_of_the_part_not_of_the_key(store: EntityStore) -> None:
    """Separators inside text do not matter; dates have text too; an empty prefix is none."""
    books = await filled(store, ("a", "a#b", "a b", "ab", "b"))
    assert [book.title async for book in books.by_title.iterate(prefix="a")] == ["a", "a b", "a#b", "ab"]
    assert [book.title async for book in books.by_title.iterate(prefix="a#")] == ["a#b"]
    assert len(await books.by_title.iterate(prefix="").to_list()) == 5
    assert [book.bought.day async for book in books.by_day.iterate(prefix="2026-01")] == [1, 21]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs shelf"),
        ({"shelf": "s", "yer": 1}, "Did you mean 'year'"),
        ({"shelf": "s", "title": "a"}, "orders by 'year' before 'title'"),
        ({"shelf": "s", "year": "1"}, "must be int"),
        ({"shelf": "s", "low": "1"}, "must be int"),
        ({"shelf": "s", "prefix": "1"}, "not text"),
        ({"shelf": "s", "low": 3, "high": 1}, "low lies above high"),
        ({"shelf": "s", "year": 1, "prefix": "a", "low": "b"}, "either prefix"),
        ({"shelf": "s", "year": 1, "title": "a", "low": 3}, "All sort-key parts"),
        ({"shelf": "s", "limit": 0}, "1 to 1000"),
        ({"shelf": "s", "limit": 1001}, "1 to 1000"),
        ({"shelf": "s", "limit": True}, "1 to 1000"),
        ({"shelf": "s", "consistent": True}, "index"),
        ({"shelf": "s", "where": F.star == 1}, "Did you mean 'stars'"),
        ({"shelf": "s", "cursor": "x"}, "cursor"),
    ],
)
async def test_arguments_that_do_not_fit_are_explained(
    store: EntityStore, arguments: dict[str, Any], message: str
) -> None:
    """Parts, bounds, limits, filters and cursors."""
    with pytest.raises(InvalidArgument, match=message):
        await over(store).by_shelf.page(**arguments)


async def test_cursors_are_interchangeable_between_adapters(tmp_path: Path) -> None:
    """The same data, the same cursor: a walk begun on one goes on on the other."""
    cursors: list[Cursor | None] = []
    rests: list[list[str]] = []
    for name in ("memory", "sqlite"):
        place = tmp_path / name
        place.mkdir()
        async with await Harness(PortName.ENTITIES, name, {}, place).started() as store:
            books = await filled(store)
            cursors.append((await books.by_title.page(limit=2)).cursor)
            rests.append([book.title for book in (await books.by_title.page(cursor=cursors[0])).items])
    assert cursors[0] == cursors[1]
    assert rests == [["ab", "b", "c"]] * 2


async def test_a_cursor_of_another_listing_is_refused(store: EntityStore) -> None:
    """Another index, partition, bound, direction or filter; another length is fine."""
    books = await filled(store)
    cursor = (await books.by_shelf.page(shelf="s", limit=2)).cursor
    assert len((await books.by_shelf.page(shelf="s", limit=50, cursor=cursor)).items) == 3
    for read, arguments in (
        (books.by_title.page, {}),
        (books.by_shelf.page, {"shelf": "t"}),
        (books.by_shelf.page, {"shelf": "s", "low": 1}),
        (books.by_shelf.page, {"shelf": "s", "reverse": True}),
        (books.by_shelf.page, {"shelf": "s", "where": F.stars == 0}),
        (over(store, LABEL).by_shelf.page, {"shelf": "s"}),
    ):
        with pytest.raises(InvalidCursor):
            await read(cursor=cursor, **arguments)


async def test_a_cursor_outlives_the_instance_that_it_names(store: EntityStore) -> None:
    """The walk goes on behind the place, whether or not anything is still there."""
    books = await filled(store)
    page = await books.by_shelf.page(shelf="s", limit=2)
    await books.delete(page.items[-1])
    rest = await books.by_shelf.page(shelf="s", cursor=page.cursor)
    assert [book.year for book in rest.items] == [2, 3, 4]


async def test_pages_of_a_listing_can_be_taken_up_behind_a_cursor(store: EntityStore) -> None:
    """``iterate`` and ``page`` share their cursors."""
    books = await filled(store)
    cursor = (await books.by_shelf.page(shelf="s", limit=2)).cursor
    pages = [page async for page in books.by_shelf.iterate(shelf="s").pages(after=cursor)]
    assert [book.year for page in pages for book in page.items] == [2, 3, 4]


async def test_summaries_are_read_without_bodies(store: EntityStore) -> None:
    """From promoted fields alone: also what is ``None`` or an empty set."""
    books = await filled(store, ("a", "b"))
    await books.patch("b1", set={"subtitle": "sub", "tags": {"x", "y"}}, add={"stars": 2})
    choppy = Choppy(store)
    spines = await over(choppy).by_title.project(Spine).iterate().to_list()
    assert spines == [
        Spine(book_id="b0", title="a", subtitle=None, tags=set(), stars=0),
        Spine(book_id="b1", title="b", subtitle="sub", tags={"x", "y"}, stars=2),
    ]
    assert {plan.bodies for plan in choppy.plans} == {False}
    assert choppy.gets == 0


async def test_summaries_can_be_filtered_by_their_own_fields(store: EntityStore) -> None:
    """A field that a summary lacks cannot decide."""
    books = await filled(store)
    listing = books.by_title.project(Spine)
    assert [spine.book_id async for spine in listing.iterate(where=F.title == "a")] == ["b1"]
    with pytest.raises(InvalidFilter, match="Spine has no field 'year'"):
        await listing.page(where=F.year == 1)


async def test_a_summary_needs_promoted_fields(store: EntityStore) -> None:
    """What would need the body is named."""

    class Wide(BaseModel):
        title: str
        text: str

    with pytest.raises(InvalidArgument, match="text of the book"):
        over(store).by_title.project(Wide)


async def test_summaries_of_an_older_layout_are_read_whole(store: EntityStore) -> None:
    """What the fields of an old record lack is taken from its body."""
    before: Repository[Book] = over(store, entity(Book, kind="book", key=KEY, indexes=[BY_TITLE]))
    await before.create(Book(book_id="old", title="a", subtitle="kept", stars=3))
    choppy = Choppy(store)
    assert [spine async for spine in over(choppy).by_title.project(Spine).iterate()] == [
        Spine(book_id="old", title="a", subtitle="kept", tags=set(), stars=3)
    ]
    assert choppy.gets == 1


async def test_a_filter_compares_dates_and_enumerations_as_json(store: EntityStore) -> None:
    """And lists and sets by their elements."""
    books = await filled(store)
    await books.patch("b3", set={"tags": {"x"}})
    assert [book.book_id async for book in books.scan(where=F.tags.contains("x"))] == ["b3"]
    assert [book.book_id async for book in books.scan(where=F.bought == "2026-01-21")] == ["b1"]
    assert len(await books.scan(where=~F.subtitle.exists()).to_list()) == 5


async def test_times_order_across_zones(store: EntityStore) -> None:
    """An instant is one place in a listing, whatever its zone."""

    class Event(BaseModel):
        event_id: str
        at: datetime

    event = entity(
        Event,
        kind="event",
        key=Key(pk=("event", part.event_id), sk=("event",)),
        indexes=[Index("by_time", slot=1, pk=("events",), sk=(part.at,))],
    )
    events: Repository[Event] = over(store, event)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for name, hours in (("late", 2), ("early", -2), ("noon", 0)):
        await events.create(Event(event_id=name, at=noon + timedelta(hours=hours)))
    found = [e.event_id async for e in events.by_time.iterate(low=noon - timedelta(hours=1))]
    assert found == ["noon", "late"]
