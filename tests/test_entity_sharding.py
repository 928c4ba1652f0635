"""Sharded indexes: many partitions that read as one, in one order, with one cursor."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from storycore.entities import Entity, Index, Key, Repository, Sharded, entity, part
from storycore.entities.patterns import shard_of
from storycore.entities.shards import chunk_length, reader
from storycore.errors import ConfigError, InvalidArgument, InvalidCursor, Unavailable
from storycore.filters import F
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.entities import EntityStore, Position, QueryPlan, Record, RecordPage, Write, Written
from storycore.ports.entities import Key as RecordKey
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

SECRET = b"k" * 16


class Task(BaseModel):
    task_id: str
    home: str = "a"
    status: str = "open"
    rank: int = 0
    stars: int = 0
    note: str | None = None


class Line(BaseModel):
    task_id: str
    rank: int


def declared(*pk: Any, sk: Any = (part.rank,), **more: Any) -> Entity[Task]:  # parts of a template
    return entity(
        Task,
        kind="task",
        key=Key(pk=("task", part.home), sk=(part.task_id,)),
        indexes=[Index("by_status", slot=1, pk=pk, sk=sk)],
        promoted=("task_id", "rank"),
        **more,
    )


PLAIN = declared("status", part.status)


def sharded(count: int) -> Entity[Task]:
    return declared("status", part.status, Sharded(count, by=part.task_id))


class Recorder(Forward[EntityStore]):
    """A store whose pages end at random places, and which notes what is asked of it."""

    def __init__(self, inner: EntityStore, seed: int | None = None) -> None:
        super().__init__(inner)
        self.random = None if seed is None else random.Random(seed)
        self.plans: list[QueryPlan] = []
        self.given = 0
        self.under_way = self.most_under_way = 0
        self.failing_partition = ""

    async def get(self, keys: Sequence[RecordKey], *, consistent: bool = True) -> list[Record | None]:
        return await self.inner.get(keys, consistent=consistent)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        return await self.inner.write(writes, atomic=atomic, token=token)

    async def query(self, plan: QueryPlan) -> RecordPage:
        self.plans.append(plan)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            if plan.pk == self.failing_partition:
                raise Unavailable("This shard does not answer; try again.")
            found = self._cut(plan, await self.inner.query(plan))
        finally:
            self.under_way -= 1
        self.given += len(found.records)
        return found

    def _cut(self, plan: QueryPlan, found: RecordPage) -> RecordPage:
        if self.random is None or not found.records:
            return found
        keep = self.random.randint(0, len(found.records))
        if keep == len(found.records):
            return found
        if keep == 0:
            return RecordPage((), plan.after) if plan.after is not None else found
        last = found.records[keep - 1]
        return RecordPage(found.records[:keep], Position(last.key, last.index_keys[1]))


def opened() -> Any:  # a store that is both a port and a context manager
    return checked(PortName.ENTITIES, open_entities(MemoryConfig(), Environment()))


def over(store: EntityStore, declaration: Entity[Task]) -> Repository[Task]:
    return Repository(declaration, store, Environment(), cursor_key=SECRET)


moves = st.lists(st.sampled_from(["next", "next", "previous", "delete", "add"]), min_size=1, max_size=10)


def some_tasks(chance: random.Random, count: int) -> list[Task]:
    """Tasks of which most lie in one partition, in few places of its order."""
    return [
        Task(
            home=chance.choice("ab"),
            task_id=f"t{number:02}",
            status=chance.choice(["open", "open", "open", "open#", "done"]),
            rank=chance.randint(-2, 4),
            stars=chance.randint(0, 2),
        )
        for number in range(count)
    ]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    count=st.integers(0, 70),
    moves=moves,
    shards=st.sampled_from([2, 3, 8, 50]),
    limit=st.integers(1, 9),
    max_read=st.none() | st.integers(1, 12),
    reverse=st.booleans(),
    low=st.none() | st.integers(-2, 2),
    stars=st.none() | st.integers(0, 2),
    summaries=st.booleans(),
    seed=st.none() | st.integers(0, 99),
)
def test_a_sharded_index_reads_like_one_that_is_not(
    count: int,
    moves: list[str],
    shards: int,
    limit: int,
    max_read: int | None,
    reverse: bool,
    low: int | None,
    stars: int | None,
    summaries: bool,
    seed: int | None,
) -> None:
    """The same pages and the same cursors, on and back, while instances come and go between pages."""

    async def walked(declaration: Entity[Task]) -> list[Any]:  # pages, as plain values
        told: list[Any] = []
        chance = random.Random(count)
        found = some_tasks(chance, count)
        async with opened() as store:
            repository = over(Recorder(store, seed), declaration)
            await repository.save_batch(found)
            query = repository.by_status.iterate(status="open", low=low, reverse=reverse).limit(limit)
            if stars is not None and not summaries:
                query = query.where(F.stars == stars)
            asked: Any = query.project(Line) if summaries else query  # pages of either model
            page = await asked.page(max_read=max_read)
            for move in moves:
                told.append(([item.task_id for item in page.items], page.cursor, page.previous, page.partial))
                if move == "delete" and found:
                    gone = chance.choice(found)
                    await repository.delete(home=gone.home, task_id=gone.task_id)
                elif move == "add":
                    name, rank = f"new{chance.randrange(5)}", chance.randint(-2, 4)
                    await repository.put(Task(home="a", task_id=name, rank=rank))
                elif move == "next":
                    page = await asked.page(page.cursor, max_read=max_read)
                else:
                    page = await asked.page(page.previous, max_read=max_read)
        return told

    assert asyncio.run(walked(PLAIN)) == asyncio.run(walked(sharded(shards)))


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_partition_of_any_length_is_read_in_order(reverse: bool) -> None:
    """Also where one shard has almost everything, and others end early."""
    chance = random.Random(5)
    async with opened() as store:
        repository = over(Recorder(store, seed=5), sharded(3))
        heavy = [f"x{n}" for n in range(3000) if shard_of(f"x{n}", 3) == 1][:400]
        for task_id in [*heavy, *(f"y{n}" for n in range(60))]:
            await repository.put(Task(home=chance.choice("ab"), task_id=task_id, rank=chance.randint(0, 50)))
        found = await repository.by_status.iterate(status="open", reverse=reverse).to_list()
        places = [(task.rank, task.home, task.task_id) for task in found]
        assert (len(places), places) == (460, sorted(places, reverse=reverse))


async def test_a_reader_goes_on_wherever_it_is_told() -> None:
    """What it read ahead is used only for the place that it stopped at."""
    async with opened() as store:
        await over(store, sharded(4)).save_batch([Task(task_id=f"t{n:02}", rank=n) for n in range(40)])
        plans = [QueryPlan(pk=f"status#open#{shard}", slot=1) for shard in range(4)]
        read = reader(store, plans)(False)
        first = await read(None, 10)
        assert first.next is not None
        for after, start in ((first.next, 10), (first.next, 10), (None, 0)):
            page = await read(after, 10)
            assert [record.fields["rank"] for record in page.records] == list(range(start, start + 10))


async def test_a_page_reads_only_what_it_needs() -> None:
    """All shards are asked at the same time, each for its share and a little more; a page of few reads few."""
    async with opened() as store:
        recorder = Recorder(store)
        repository = over(recorder, sharded(8))
        await repository.save_batch([Task(task_id=f"t{n:04}", rank=n) for n in range(1000)])
        for limit, most_plans, most_records in ((3, 8, 24), (50, 12, 110), (200, 14, 330)):
            recorder.plans, recorder.given, recorder.most_under_way = [], 0, 0
            page = await repository.by_status.page(status="open", limit=limit)
            assert [task.rank for task in page.items] == list(range(limit))
            assert len(recorder.plans) <= most_plans
            assert recorder.given <= most_records
            assert recorder.most_under_way == 8


async def test_what_was_read_ahead_serves_the_rest_of_a_page() -> None:
    """A filter that needs several reads does not read any record twice."""
    async with opened() as store:
        recorder = Recorder(store)
        repository = over(recorder, sharded(4))
        await repository.save_batch([Task(task_id=f"t{n:04}", rank=n, stars=n % 97) for n in range(500)])
        found = repository.by_status.iterate(status="open", where=F.stars == 96)
        assert [task.rank for task in (await found.page()).items] == [96, 193, 290, 387, 484]
        assert recorder.given == 500


async def test_the_error_of_a_shard_is_the_error_of_the_page() -> None:
    """The other shards' reads are cancelled, none goes on by itself."""
    async with opened() as store:
        recorder = Recorder(store)
        repository = over(recorder, sharded(8))
        await repository.create(Task(task_id="a"))
        recorder.failing_partition = "status#open#5"
        with pytest.raises(Unavailable):
            await repository.by_status.page(status="open")
        assert recorder.under_way == 0


async def test_the_number_of_shards_may_grow() -> None:
    """What was stored with fewer shards is listed as before, and a cursor goes on."""
    async with opened() as store:
        before, after = over(store, sharded(3)), over(store, sharded(12))
        await before.save_batch([Task(task_id=f"t{n:02}", rank=n) for n in range(30)])
        cursor = (await before.by_status.page(status="open", limit=10)).cursor
        await after.put(await after.get(home="a", task_id="t20"))
        rest = await after.by_status.page(status="open", limit=50, cursor=cursor)
        assert [task.rank for task in rest.items] == list(range(10, 30))


async def test_a_cursor_does_not_outlive_the_order_it_was_made_in() -> None:
    """Where the sort key of an index has changed, its place would be anywhere; that is told, and nothing skipped."""
    async with opened() as store:
        before = over(store, PLAIN)
        after = over(store, declared("status", part.status, sk=(part.task_id,)))
        await before.save_batch([Task(task_id=f"t{n:02}", rank=n) for n in range(30)])
        cursor = (await before.by_status.page(status="open", limit=10)).cursor
        with pytest.raises(InvalidCursor, match="begin again"):
            await after.by_status.page(status="open", cursor=cursor)


async def test_a_record_of_another_layout_is_read_and_recognised() -> None:
    """The layout tells where a record is listed; what it is read by is the form, so no upgrade is needed."""
    one, other = sharded(3), sharded(12)
    assert one.layout != other.layout
    assert len({PLAIN.layout, one.layout, declared("status", part.status, sk=(part.task_id,)).layout}) == 3
    assert PLAIN.form == one.form == other.form
    assert one.layout == sharded(3).layout
    assert other.has_present_form(one.layout)
    assert not declared("status", part.status, schema=2, upgrades={1: dict}).has_present_form(PLAIN.layout)
    assert not other.has_present_form(None)


def test_shards_are_the_same_everywhere() -> None:
    """Fixed values: a hash that changed would lose what is stored."""
    values = ["", "a", "story-1", "ü", "a#b", 7, True]
    assert [shard_of(value, 1000) for value in values] == [876, 343, 263, 335, 389, 231, 910]


def test_shards_are_even() -> None:
    """Numbered ids spread like chance does."""
    counts = Counter(shard_of(f"story-{n:06}", 16) for n in range(16_000))
    assert len(counts) == 16
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1150


def test_the_shard_is_no_argument() -> None:
    """Callers name the partition; in which shard an instance is they need not know."""
    repository = over(opened(), sharded(4))
    with pytest.raises(InvalidArgument, match="has no part 'task_id'"):
        repository.by_status.iterate(status="open", task_id="t1")


@pytest.mark.parametrize(
    ("pk", "sk", "message"),
    [
        (("s", Sharded(1, by=part.task_id)), (part.rank,), "number of shards is 2 to 1000"),
        (("s", Sharded(1001, by=part.task_id)), (part.rank,), "number of shards is 2 to 1000"),
        (("s", Sharded(True, by=part.task_id)), (part.rank,), "number of shards is 2 to 1000"),
        (("s", Sharded(2, by=part.task)), (part.rank,), "Did you mean 'task_id'"),
        (("s", Sharded(2, by="task_id")), (part.rank,), "neither text nor part.field"),  # type: ignore[arg-type]  # refused
        (("s", Sharded(2, by=part.rank), Sharded(2, by=part.task_id)), (part.rank,), "pk has 2 Sharded"),
        (("s",), (Sharded(2, by=part.rank),), "belongs in pk"),
        (("s", part.status, Sharded(2, by=part.status)), (part.rank,), "cannot spread it"),
    ],
)
def test_a_declaration_that_cannot_be_sharded_so_is_refused(pk: Any, sk: Any, message: str) -> None:
    """When it is declared, with what to do."""
    with pytest.raises(ConfigError, match=message):
        declared(*pk, sk=sk)


def test_the_primary_key_cannot_be_sharded() -> None:
    """One key is one place."""
    with pytest.raises(ConfigError, match="primary key cannot be sharded"):
        entity(Task, kind="task", key=Key(pk=("t", Sharded(2, by=part.task_id)), sk=(part.task_id,)))


async def test_an_instance_without_the_part_is_not_listed() -> None:
    """As with every part of an index that is ``None``; and it is listed as soon as the part has a value."""
    declaration = declared("status", part.status, Sharded(4, by=part.note))
    async with opened() as store:
        repository = over(store, declaration)
        await repository.create(Task(task_id="a"))
        assert await repository.by_status.iterate(status="open").to_list() == []
        await repository.patch(home="a", task_id="a", set={"note": "x"})
        assert [task.task_id async for task in repository.by_status.iterate(status="open")] == ["a"]


@given(st.integers(1, 1001), st.integers(2, 1000))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_a_chunk_is_a_share_and_a_little_more(wanted: int, shards: int) -> None:
    """Never more than is wanted, never less than an even share."""
    length = chunk_length(wanted, shards)
    assert min(wanted, -(-wanted // shards)) <= length <= wanted
