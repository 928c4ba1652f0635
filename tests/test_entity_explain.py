"""Explanations: what an operation does and costs, before it is done, by the published rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import storycore
from storycore.entities import Collection, Index, Key, Repository, Sharded, Unique, entity, part
from storycore.entities.codec import to_put
from storycore.entities.costs import query_cost, read_units, write_units
from storycore.errors import InvalidArgument
from storycore.filters import F
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.capabilities import Capabilities, Support
from storycore.ports.entities import EntityStore, Put, QueryPlan
from storycore.ports.entities import Key as RecordKey
from storycore.ports.environment import Environment
from storycore.ports.item_size import item_size
from storycore.ports.lifecycle import PortName

SECRET = b"k" * 16
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Task(BaseModel):
    task_id: str
    owner: str = "ada"
    status: str = "open"
    views: int = 0
    text: str = ""
    deleted_at: datetime | None = None


class Short(BaseModel):
    task_id: str
    status: str


KEY = Key(pk=("task", part.task_id), sk=("task",))
INDEXES = [
    Index("by_owner", slot=1, pk=("owner", part.owner), sk=(part.task_id,)),
    Index("by_status", slot=2, pk=("status", part.status, Sharded(8, by=part.task_id)), sk=(part.task_id,)),
]
TASK = entity(Task, kind="task", key=KEY, indexes=INDEXES, promoted=("task_id", "status"), counters=("views",))
UNIQUE = entity(Task, kind="task", key=KEY, unique=[Unique("text")])
SOFT = entity(Task, kind="task", key=KEY, soft_delete="deleted_at")


class Telling(Forward[EntityStore]):
    """A store that gives an account of its queries, and refuses everything else."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(features={"entities.explain": Support.NATIVE})

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        return {"partition": plan.pk, "limit": plan.limit}


def memory() -> Any:  # a store that was never opened, so that any I/O would fail
    return checked(PortName.ENTITIES, open_entities(MemoryConfig(), Environment()))


def over(declared: Any = TASK, store: Any = None) -> Repository[Task]:  # an entity of Task, any store
    return Repository(declared, store or memory(), Environment(), cursor_key=SECRET)


# The rules.


@pytest.mark.parametrize(
    ("size", "consistent", "eventual", "transactional"),
    [(0, 1, 0.5, 2), (1, 1, 0.5, 2), (4096, 1, 0.5, 2), (4097, 2, 1, 4), (20_480, 5, 2.5, 10), (409_600, 100, 50, 200)],
)
def test_reads_count_in_steps_of_4_kib(size: int, consistent: float, eventual: float, transactional: float) -> None:
    """Half of it for a read that may lag, twice in a transaction; a read of nothing is not free."""
    assert read_units(size) == consistent
    assert read_units(size, consistent=False) == eventual
    assert read_units(size, transactional=True) == transactional


@pytest.mark.parametrize(
    ("records", "item_bytes", "requests", "units"),
    [
        ([0], 1024, 1, 0.5),
        ([20], 1024, 1, 2.5),
        ([21], 100, 1, 0.5),
        ([1000], 1024, 1, 125.0),
        ([1001], 100, 2, 13.0),
        ([30], 400 * 1024, 15, 1500.0),
        ([5] * 8, 1024, 8, 8.0),
    ],
)
def test_a_query_counts_each_request_and_each_shard(
    records: list[int], item_bytes: int, requests: int, units: float
) -> None:
    """Sizes add up within a request before they are rounded; a request gives at most 1 MiB and 1000 records."""
    cost = query_cost(records, item_bytes, consistent=False)
    assert (cost.requests, cost.records, cost.units) == (requests, sum(records), units)
    assert query_cost(records, item_bytes, consistent=True).units == 2 * units


puts = st.builds(
    Put,
    key=st.just(RecordKey("p", "s")),
    kind=st.just("k"),
    index_keys=st.dictionaries(
        st.integers(1, 8), st.builds(RecordKey, st.just("x"), st.sampled_from("abc")), max_size=4
    ),
    fields=st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=50), max_size=3),
    body=st.binary(max_size=4000),
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.none() | puts, st.none() | puts, st.booleans())
def test_writes_count_by_the_size_of_the_record(old: Put | None, new: Put | None, together: bool) -> None:
    """The table the larger state, each index what it removes and what it adds; in a transaction the table twice."""

    def units(state: Put | None) -> int:
        return 0 if state is None else ceil(item_size(state) / 1024)

    expected = max(units(old), units(new), 1) * (1 + together)
    for slot in range(1, 9):
        was = old and old.index_keys.get(slot)
        will_be = new and new.index_keys.get(slot)
        if was and will_be and was == will_be:
            expected += max(units(old), units(new))
        else:
            expected += (units(old) if was else 0) + (units(new) if will_be else 0)
    assert write_units(old, new, transactional=together) == expected


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(puts, st.integers(1, 3000))
def test_more_bytes_never_cost_less(put: Put, more: int) -> None:
    """Neither to write nor to read."""
    larger = replace(put, body=put.body + b"x" * more)
    assert write_units(None, larger) >= write_units(None, put)
    assert read_units(item_size(larger)) >= read_units(item_size(put))


# Queries.


async def test_a_query_is_explained_without_reading() -> None:
    """The plan that is sent, one record more than the page has, and what that costs; the store need not be open."""
    told = await over().query("by_owner", owner="ada").limit(20).explain(item_bytes=2048)
    assert (told.operation, told.kind, told.index, told.consistent) == ("query", "task", "by_owner", False)
    assert told.plans == [QueryPlan(pk="owner#ada", slot=1, limit=21)]
    assert (told.requests, told.records, told.read_units, told.write_units) == (1, 21, 5.5, 0)
    assert (told.assumed, told.native) == ({"item_bytes": 2048}, None)
    assert told.notes == ["The index may lag behind writes that have just returned."]


async def test_a_consistent_query_of_the_table() -> None:
    """Counts twice, and sees every write."""
    told = await over().query(task_id="t", consistent=True).explain()
    assert (told.index, told.consistent, told.read_units, told.notes) == ("", True, 6.0, [])


async def test_a_filter_reads_more_than_it_gives() -> None:
    """By the share that matches, and 100 records at least."""
    query = over().query("by_owner", owner="ada").where(F.views > 0).limit(20)
    assert (await query.explain(item_bytes=1024)).records == 100
    told = await query.explain(item_bytes=1024, matches=0.01)
    assert (told.records, told.requests, told.plans[0].limit) == (2100, 3, 1000)
    assert "What the filter leaves out is read and paid for." in told.notes


async def test_shards_are_all_asked() -> None:
    """One plan for each, each for its share and a little more."""
    told = await over().query("by_status", status="open").limit(79).explain()
    assert [plan.pk for plan in told.plans] == [f"status#open#{shard}" for shard in range(8)]
    assert {plan.limit for plan in told.plans} == {14}
    assert (told.requests, told.records, told.read_units) == (8, 112, 16.0)


async def test_what_a_query_really_asks_is_what_was_told() -> None:
    """The plans of a first page are the explained ones."""
    seen: list[QueryPlan] = []

    class Noting(Forward[EntityStore]):
        async def query(self, plan: QueryPlan) -> Any:  # a page of records
            seen.append(plan)
            return await self.inner.query(plan)

    async with memory() as opened:
        tasks = over(store=Noting(opened))
        for query in (
            tasks.query("by_owner", owner="ada").limit(5),
            tasks.query("by_owner", owner="ada", low="b").reverse().where(F.views == 1),
            tasks.query("by_status", status="open").project(Short),
            tasks.query("by_status", status="open").where(F.views == 1).limit(500),
        ):
            seen.clear()
            await query.page()
            assert list((await query.explain()).plans) == seen


async def test_the_stores_own_account() -> None:
    """Of the first plan, where the store gives one and the caller wants it."""
    query = over(store=Telling(memory())).query("by_status", status="open")
    assert (await query.explain()).native == {"partition": "status#open#0", "limit": 5}
    assert (await query.explain(native=False)).native is None


async def test_a_collection_is_explained_too() -> None:
    """With what it passes over."""
    other = entity(Short, kind="short", key=Key(pk=("task", part.task_id), sk=("short",)))
    told = await Collection([TASK, other], memory(), cursor_key=SECRET).query(task_id="t").explain()
    assert (told.kind, told.plans[0].pk) == ("short+task", "task#t")
    assert any("other kinds" in note for note in told.notes)


@pytest.mark.parametrize("wrong", [{"item_bytes": 0}, {"item_bytes": 409_601}, {"matches": 0}, {"matches": 1.1}])
async def test_assumptions_have_limits(wrong: dict[str, Any]) -> None:
    """A record is not larger than the port allows, and a share is a share."""
    with pytest.raises(InvalidArgument):
        await over().query("by_owner", owner="ada").explain(**wrong)


# By key.


def test_a_read_by_key() -> None:
    """Half a unit, or one where it must not lag."""
    told = over().explain.get("t1", item_bytes=5000)
    assert (told.keys, told.read_units, told.records) == ((RecordKey("task#t1", "task"),), 1.0, 1)
    assert over().explain.get(task_id="t1", consistent=True, item_bytes=5000).read_units == 2.0


def test_a_put_counts_the_table_and_each_index() -> None:
    """Once each for a new record; the index whose key changes counts twice and is named."""
    explain = over().explain
    new = explain.put(Task(task_id="t1"))
    assert (new.requests, new.write_units, new.read_units) == (1, 3, 0.0)
    same = explain.put(Task(task_id="t1", views=3), before=Task(task_id="t1"))
    assert (same.write_units, same.notes) == (3, [])
    moved = explain.put(Task(task_id="t1", status="done"), before=Task(task_id="t1"))
    assert (moved.write_units, moved.notes) == (
        4,
        ["The key in the index 'by_status' changes, which counts there twice."],
    )
    large = Task(task_id="t1", text="x" * 10_000)
    assert explain.put(large).write_units == 3 * ceil(item_size(to_put(TASK, large)) / 1024)


def test_a_unique_value_makes_a_write_atomic() -> None:
    """The marker is a write of its own, and both count twice; an unchanged value needs none."""
    explain = over(UNIQUE).explain
    new = explain.put(Task(task_id="t1", text="a"))
    assert (len(new.keys), new.write_units, new.requests) == (2, 4, 1)
    assert any("atomic" in note for note in new.notes)
    changed = explain.put(Task(task_id="t1", text="b"), before=Task(task_id="t1", text="a"))
    assert (len(changed.keys), changed.write_units) == (3, 6)
    assert explain.put(Task(task_id="t1", text="a", views=1), before=Task(task_id="t1", text="a")).write_units == 1


def test_a_spilled_body_is_not_paid_for_in_the_record() -> None:
    """The record keeps a pointer; shorter bodies stay where they are."""
    declared = entity(Task, kind="task", key=KEY, indexes=INDEXES[:1], spill=2000)
    told = over(declared).explain.put(Task(task_id="t1", text="x" * 100_000))
    assert told.write_units == 2
    assert told.notes == ["The body goes to the blob store, and the record keeps a pointer to it."]
    assert over(declared).explain.delete(Task(task_id="t1", text="x" * 100_000)).write_units == 2
    assert over(declared).explain.put(Task(task_id="t1", text="x" * 1500)).write_units == 4


def test_a_patch_reads_first_unless_it_only_counts() -> None:
    """Counting is one write; anything else reads, consistently, and writes under the version."""
    explain = over().explain
    counted = explain.patch(Task(task_id="t1"), add={"views": 1})
    assert (counted.operation, counted.requests, counted.read_units, counted.write_units) == ("patch", 1, 0.0, 3)
    changed = explain.patch(Task(task_id="t1"), set={"status": "done"})
    assert (changed.requests, changed.read_units, changed.write_units) == (2, 1.0, 4)
    with pytest.raises(InvalidArgument):
        explain.patch(Task(task_id="t1"), set={"statu": "done"})


def test_a_delete_counts_what_was_there() -> None:
    """In the table and in each index; softly it also writes where the instance can be found again."""
    large = Task(task_id="t1", text="x" * 3000)
    units = ceil(item_size(to_put(TASK, large)) / 1024)
    assert over().explain.delete(large).write_units == 3 * units
    soft = over(SOFT).explain.delete(Task(task_id="t1"))
    assert (len(soft.keys), soft.requests, soft.write_units) == (2, 2, 4)


def test_an_explanation_is_plain_values() -> None:
    """For a log or a command's output."""
    told = over().explain.put(Task(task_id="t1")).as_dict()
    assert json.loads(json.dumps(told))["keys"] == [{"pk": "task#t1", "sk": "task"}]


def test_explaining_without_await() -> None:
    """The sync store explains as well."""
    with storycore.open_sync("memory") as store:
        tasks = store.repository(TASK)
        assert tasks.explain.put(Task(task_id="t1")).write_units == 3
        assert tasks.query("by_owner", owner="ada").explain().requests == 1
