"""Queries: refined step by step, read in either direction, and never more than was asked for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import storycore
from storycore.entities import Index, Key, Query, Repository, entity, part
from storycore.errors import InvalidArgument, InvalidCursor, InvalidFilter, NotFound
from storycore.filters import F
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.entities import EntityStore, QueryPlan, Record, RecordPage, Write, Written
from storycore.ports.entities import Key as RecordKey
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.pages import Page
from storycore.testing.harness import Harness

SECRET = b"k" * 16


class Book(BaseModel):
    book_id: str
    shelf: str = "s"
    year: int = 2000
    stars: int = 0
    text: str = "long"


class Spine(BaseModel):
    book_id: str
    year: int


BOOK = entity(
    Book,
    kind="book",
    key=Key(pk=("book", part.book_id), sk=("book",)),
    indexes=[Index("by_shelf", slot=1, pk=("shelf", part.shelf), sk=(part.year,))],
    promoted=("book_id", "year"),
)


class Noting(Forward[EntityStore]):
    """A store that notes what is asked of it."""

    def __init__(self, inner: EntityStore) -> None:
        super().__init__(inner)
        self.plans: list[QueryPlan] = []
        self.given = 0

    async def get(self, keys: Sequence[RecordKey], *, consistent: bool = True) -> list[Record | None]:
        return await self.inner.get(keys, consistent=consistent)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        return await self.inner.write(writes, atomic=atomic, token=token)

    async def query(self, plan: QueryPlan) -> RecordPage:
        self.plans.append(plan)
        found = await self.inner.query(plan)
        self.given += len(found.records)
        return found


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Noting]:
    opened = await Harness(PortName.ENTITIES, request.param, {}, tmp_path).started()
    yield Noting(opened)
    await opened.close()


def over(store: EntityStore) -> Repository[Book]:
    return Repository(BOOK, store, Environment(), cursor_key=SECRET)


async def filled(store: EntityStore, count: int = 10) -> Query[Book]:
    books = over(store)
    await books.save_batch([Book(book_id=f"b{n:03}", year=n, stars=n % 3) for n in range(count)])
    return books.query("by_shelf", shelf="s")


def years(found: Sequence[Book]) -> list[int]:
    return [book.year for book in found]


async def test_a_query_is_refined_step_by_step(store: Noting) -> None:
    """Each step gives a new query; the old one stays as it was."""
    query = await filled(store)
    starred = query.where(F.stars == 2)
    assert years(await starred.to_list()) == [2, 5, 8]
    assert years(await starred.where({"year": {"$gt": 2}}).to_list()) == [5, 8]
    assert years(await starred.where({}).to_list()) == [2, 5, 8]
    assert years(await starred.reverse().to_list()) == [8, 5, 2]
    assert years(await starred.reverse().reverse().limit(2).to_list()) == [2, 5]
    assert years(await query.to_list()) == list(range(10))
    assert years([book async for book in over(store).query("by_shelf", shelf="s", low=4, high=6)]) == [4, 5]


async def test_nothing_is_read_before_a_result_is_wanted(store: Noting) -> None:
    """Building a query costs no request; wrong steps are refused at once."""
    query = await filled(store, 3)
    query.where(F.year > 0).reverse().limit(3).project(Spine)
    assert store.plans == []
    for wrong, error in (
        (lambda: query.limit(0), InvalidArgument),
        (lambda: query.limit(True), InvalidArgument),
        (lambda: query.where(F.star == 1), InvalidFilter),
        (lambda: query.where(F.stars == 1).project(Spine), InvalidFilter),
        (lambda: query.where(F.stars == 1).records(), InvalidFilter),
        (lambda: query.project(Book), InvalidArgument),
    ):
        with pytest.raises(error):
            wrong()


async def test_a_limit_ends_the_listing_and_is_the_length_of_a_page(store: Noting) -> None:
    """Whether one iterates, takes pages or a list; a page above 1000 is refused."""
    query = await filled(store, 130)
    for count in (1, 99, 100, 101, 129, 130, 500):
        assert years(await query.limit(count).to_list()) == list(range(min(count, 130)))
    assert [len(page) async for page in query.limit(30).pages()] == [30]
    assert [len(page) async for page in query.pages()] == [100, 30]
    assert len(await query.page()) == 20
    with pytest.raises(InvalidArgument, match="1 to 1000"):
        await query.limit(1001).page()
    cursor = (await query.limit(5).page()).cursor
    assert [years(page.items) async for page in query.limit(3).pages(after=cursor)] == [[5, 6, 7]]


async def test_the_first_and_the_only_one(store: Noting) -> None:
    """``first`` reads two records at most, ``one`` three; several are no one, none is not found."""
    query = await filled(store)
    first, last = await query.first(), await query.reverse().first()
    assert (first, last) == (Book(book_id="b000", year=0), Book(book_id="b009", year=9, stars=0))
    assert await over(store).query("by_shelf", shelf="x").first() is None
    assert (await over(store).query("by_shelf", shelf="s", year=4).one()).book_id == "b004"
    assert (await query.limit(1).one()).year == 0
    assert [plan.limit for plan in store.plans] == [2, 2, 2, 3, 2]
    with pytest.raises(InvalidArgument, match="More than one"):
        await query.one()
    with pytest.raises(NotFound, match="by_shelf"):
        await query.where(F.stars == 9).one()


async def test_counting(store: Noting) -> None:
    """All, those that match, or up to a limit; without bodies, and so in few calls, where no filter looks at them."""
    query = await filled(store, 130)
    assert await query.count() == 130
    assert [plan.bodies for plan in store.plans] == [False]
    assert await query.limit(40).count() == 40
    assert await query.where(F.stars == 0).count() == 44
    assert await over(store).query("by_shelf", shelf="x").count() == 0


async def test_records_come_as_they_are(store: Noting) -> None:
    """Not validated, with or without their bodies, in the same order and with cursors of the same query."""
    query = await filled(store, 4)
    records = await query.reverse().records().to_list()
    assert [(record.kind, record.fields["year"], bool(record.body)) for record in records] == [
        ("book", year, True) for year in (3, 2, 1, 0)
    ]
    assert [record.body for record in await query.records(bodies=False).to_list()] == [b""] * 4
    cursor = (await query.limit(2).records().page()).cursor
    assert years((await query.page(cursor)).items) == [2, 3]


async def test_summaries_of_a_query(store: Noting) -> None:
    """The steps before it still hold."""
    query = await filled(store)
    spines = query.reverse().limit(2).project(Spine)
    assert await spines.to_list() == [Spine(book_id="b009", year=9), Spine(book_id="b008", year=8)]
    assert {plan.bodies for plan in store.plans} == {False}


# Back.


async def test_a_page_leads_back(store: Noting) -> None:
    """``previous`` gives the page before, in the order of the listing; the first page has none."""
    query = (await filled(store)).limit(4)
    first = await query.page()
    second = await query.page(first.cursor)
    third = await query.page(second.cursor)
    assert [years(page.items) for page in (first, second, third)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (first.previous, third.cursor) == (None, None)
    assert await query.page(third.previous) == second
    back = await query.page((await query.page(third.previous)).previous)
    assert (back.items, back.cursor, back.previous) == (first.items, first.cursor, None)


async def test_back_from_behind_the_end_is_the_last_page(store: Noting) -> None:
    """When all that was left has gone meanwhile, the page is empty and leads back to what there is."""
    query = (await filled(store, 6)).limit(4)
    first = await query.page()
    await over(store).delete_batch(["b004", "b005"])
    second = await query.page(first.cursor)
    assert (second.items, second.cursor) == ([], None)
    last = await query.page(second.previous)
    assert (years(last.items), last.cursor) == ([0, 1, 2, 3], None)


async def test_back_to_where_nothing_is_left_is_the_first_page(store: Noting) -> None:
    """The page before the first is the first."""
    query = (await filled(store, 6)).limit(2)
    second = await query.page((await query.page()).cursor)
    await over(store).delete_batch(["b000", "b001"])
    page = await query.page(second.previous)
    assert (years(page.items), page.previous) == ([2, 3], None)


async def test_a_cursor_back_is_bound_like_any_other(store: Noting) -> None:
    """Another direction, filter or partition is another query."""
    query = (await filled(store)).limit(2)
    back = (await query.page((await query.page()).cursor)).previous
    for other in (query.reverse(), query.where(F.stars == 0), over(store).query("by_shelf", shelf="x")):
        with pytest.raises(InvalidCursor):
            await other.page(back)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=20),
    st.integers(1, 5),
    st.booleans(),
    st.none() | st.integers(0, 2),
    st.none() | st.integers(1, 9),
)
def test_a_walk_there_and_back_sees_the_same(
    found: list[tuple[int, int]], limit: int, reverse: bool, stars: int | None, max_read: int | None
) -> None:
    """All that is asked for, each once, in both directions; also when pages end early."""

    async def check() -> None:
        async with checked(PortName.ENTITIES, open_entities(MemoryConfig(), Environment())) as opened:
            store = Noting(opened)
            books = over(store)
            await books.save_batch([Book(book_id=f"b{n}", year=y, stars=s) for n, (y, s) in enumerate(found)])
            query = books.query("by_shelf", shelf="s", reverse=reverse).limit(limit)
            query = query if stars is None else query.where(F.stars == stars)
            expected = await query.limit(1000).to_list()
            pages = await walked(query, None, "cursor", max_read)
            assert [book for page in pages for book in page.items] == expected
            assert all(page.partial or len(page) == limit for page in pages[:-1])
            back = await walked(query, pages[-1].previous, "previous", max_read) if pages[-1].previous else []
            assert [book for page in reversed(back) for book in page.items] == [
                book for page in pages[:-1] for book in page.items
            ]

    asyncio.run(check())


async def walked(query: Query[Book], cursor: Any, along: str, max_read: int | None) -> list[Page[Book]]:
    """All pages from a cursor on, one after the other by ``cursor`` or by ``previous``."""
    pages: list[Page[Book]] = []
    while not pages or cursor is not None:
        pages.append(await query.page(cursor, max_read=max_read))
        cursor = getattr(pages[-1], along)
    return pages


# Guards.


async def test_a_rare_match_can_be_given_up(store: Noting) -> None:
    """``max_read`` bounds what a page reads: it says so, and its cursor goes on behind what was read."""
    query = (await filled(store, 300)).where(F.year == 299)
    page = await query.page(max_read=120)
    assert (page.items, page.partial, store.given) == ([], True, 120)
    rest = await query.page(page.cursor, max_read=1000)
    assert (years(rest.items), rest.partial, rest.cursor) == ([299], False, None)
    assert store.given == 300
    books = over(store)
    assert (await books.by_shelf.page(shelf="s", where=F.year == 299, max_read=120)).cursor == page.cursor


async def test_a_page_within_its_bound_is_whole(store: Noting) -> None:
    """Reading exactly all there is, is not partial; a bound below 1 is refused."""
    query = await filled(store, 10)
    whole = await query.page(max_read=10)
    assert (len(whole), whole.partial, whole.cursor) == (10, False, None)
    for bad in (0, -1, True, 1.5):
        with pytest.raises(InvalidArgument, match="max_read"):
            await query.page(max_read=bad)  # type: ignore[arg-type]  # what is refused


async def test_pages_never_lead_back_where_there_is_no_order(store: Noting) -> None:
    """A scan of the whole store has a way on only."""
    await filled(store, 150)
    pages = [page async for page in over(store.inner).scan().pages()]
    assert [(len(page), page.previous) for page in pages] == [(100, None), (50, None)]


def test_queries_without_await() -> None:
    """The sync store refines and reads them just the same."""
    with storycore.open_sync("memory") as store:
        books = store.repository(BOOK)
        books.save_batch([Book(book_id=f"b{n}", year=n, stars=n % 3) for n in range(9)])
        query = books.query("by_shelf", shelf="s").where(F.stars == 2).reverse()
        assert [book.year for book in query] == [8, 5, 2]
        assert query.limit(2).page().items == query.to_list()[:2]
        assert (query.count(), query.first().year) == (3, 8)


async def test_any_number_of_keys_repeated_and_in_order(store: Noting) -> None:
    """``get_many`` answers each key where it stands."""
    await filled(store, 30)
    chance = random.Random(3)
    keys = [f"b{chance.randrange(60):03}" for _ in range(250)]
    found = await over(store).get_many(keys)
    assert [None if int(key[1:]) >= 30 else key for key in keys] == [book and book.book_id for book in found]
