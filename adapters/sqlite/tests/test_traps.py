"""Traps of SQLite that the adapter has an answer to."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import AsyncIterator, Coroutine
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from storycore_sqlite._file import DatabaseFile
from storycore_sqlite._reads import read_segment
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities

from storycore.errors import FeedGap, Unavailable
from storycore.ports.entities import Key, Position, Put, QueryPlan, Segment
from storycore.ports.environment import Environment
from storycore.testing.clock import ManualClock

HERE = Key("p", "a")


@pytest.fixture
def config(tmp_path: Path) -> SqliteConfig:
    """Settings with a short patience."""
    return SqliteConfig(path=tmp_path / "x.db", busy_timeout_ms=20, feed_retention=timedelta(hours=1))


@pytest.fixture
def env() -> Environment:
    """A clock in the test's hands."""
    return Environment(clock=ManualClock())


@pytest_asyncio.fixture
async def store(config: SqliteConfig, env: Environment) -> AsyncIterator[SqliteEntityStore]:
    """An open store."""
    opened = open_entities(config, env)
    await opened.ensure()
    async with opened:
        yield opened


async def test_a_forked_child_does_not_touch_the_file(store: SqliteEntityStore) -> None:
    """SQLite connections must not cross a fork: in the child every call is ``Unavailable``, close is harmless."""
    await store.write([Put(key=HERE, kind="k")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(_in_child(store))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    await store.write([Put(key=Key("p", "b"), kind="k")])
    assert None not in await store.get([HERE, Key("p", "b")])


def _in_child(store: SqliteEntityStore) -> int:
    """How many calls did something else than raise ``Unavailable``."""
    wrong = 0
    for call in (store.get([HERE]), store.write([Put(key=HERE, kind="k")]), store.query(QueryPlan(pk="p"))):
        try:
            call.send(None)
            wrong += 1
        except Unavailable:
            pass
    try:
        store.close().send(None)
        wrong += 1
    except StopIteration:
        pass
    return wrong


async def test_another_processes_lock_is_unavailable(store: SqliteEntityStore, config: SqliteConfig) -> None:
    """A writer that waits longer than ``busy_timeout_ms`` is told so; reads go on meanwhile."""
    with closing(sqlite3.connect(config.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await store.write([Put(key=HERE, kind="k")])
        assert await store.get([HERE]) == [None]
    await store.write([Put(key=HERE, kind="k")])
    assert (await store.get([HERE]))[0] is not None


async def test_every_call_from_another_event_loop_is_refused(store: SqliteEntityStore) -> None:
    """Reads on the loop's own thread too: connections are not for several threads."""

    def elsewhere() -> list[object]:
        calls = (store.get([HERE]), store.get([HERE, HERE]), store.query(QueryPlan(pk="p")))
        return [asyncio.run(_outcome(call)) for call in calls]

    assert await asyncio.to_thread(elsewhere) == [Unavailable] * 3


async def _outcome(call: Coroutine[object, object, object]) -> object:
    [found] = await asyncio.gather(call, return_exceptions=True)
    return type(found)


async def test_a_cancelled_close_leaves_no_thread_behind(store: SqliteEntityStore, config: SqliteConfig) -> None:
    """Both threads end by themselves, also when nobody waits for them any more."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("storycore-sqlite")]
    with closing(sqlite3.connect(config.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(store.write([Put(key=HERE, kind="k")]))
        ending = asyncio.create_task(store.close())
        await asyncio.sleep(0.001)
        ending.cancel()
        await asyncio.gather(ending, write, return_exceptions=True)
    await store.close()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert ending.cancelled()
    assert not any(thread.is_alive() for thread in threads)


async def test_a_cancelled_ensure_does_not_hold_up_the_event_loop(tmp_path: Path, env: Environment) -> None:
    """Its thread waits for another process's lock; the loop goes on."""
    (tmp_path / "x.db").touch()
    unmade = open_entities(SqliteConfig(path=tmp_path / "x.db", busy_timeout_ms=300), env)
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        making = asyncio.create_task(unmade.ensure())
        await asyncio.sleep(0.01)
        making.cancel()
        began = time.perf_counter()
        await asyncio.wait([making])
        assert time.perf_counter() - began < 0.2


async def test_reads_in_a_lane_are_the_same(config: SqliteConfig, env: Environment, store: SqliteEntityStore) -> None:
    """Without inline reads every read goes through the reader's thread."""
    keys = [Key("p", f"{i:02}") for i in range(40)]
    await store.write([Put(key=key, kind="k") for key in keys[::2]])
    async with open_entities(config.model_copy(update={"inline_reads": False}), env) as other:
        for count in (0, 1, 2, 40):
            assert await store.get(keys[:count]) == await other.get(keys[:count])


async def test_versions_grow_after_the_feed_was_emptied(
    config: SqliteConfig, env: Environment, store: SqliteEntityStore
) -> None:
    """The sequence outlives the rows it numbered, also over a restart."""
    (first,) = await store.write([Put(key=HERE, kind="k", expires_at=env.clock.now() + timedelta(seconds=1))])
    env.clock.advance(timedelta(hours=2))  # type: ignore[attr-defined]  # a ManualClock
    assert await store.expire(env.clock.now()) == 1
    env.clock.advance(timedelta(hours=2))  # type: ignore[attr-defined]  # a ManualClock
    await store.expire(env.clock.now())
    assert list((await store.changes()).changes) == []
    await store.close()
    async with open_entities(config, env) as again:
        (second,) = await again.write([Put(key=HERE, kind="k")])
    assert (second.version or 0) > (first.version or 0) + 1


async def test_the_feed_is_kept_as_long_as_configured(env: Environment, store: SqliteEntityStore) -> None:
    """Trimming goes by ``feed_retention``, in steps, and a gap is told."""
    start = (await store.changes()).next
    await store.write([Put(key=Key("p", f"{i}"), kind="k") for i in range(1200)])
    env.clock.advance(timedelta(minutes=59))  # type: ignore[attr-defined]  # a ManualClock
    await store.expire(env.clock.now())
    assert len((await store.changes(start, limit=1000)).changes) == 1000
    env.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]  # a ManualClock
    await store.expire(env.clock.now())
    with pytest.raises(FeedGap):
        await store.changes(start)


async def test_a_page_is_bounded_in_bytes(store: SqliteEntityStore) -> None:
    """A thousand large records are not loaded at once: a page ends near 8 MiB and says where to go on."""
    await store.write([Put(key=Key("p", f"{i:02}"), kind="k", body=b"x" * 390_000) for i in range(40)])
    page = await store.query(QueryPlan(pk="p", limit=1000))
    assert page.next is not None
    assert 8_000_000 < sum(len(record.body) for record in page.records) < 10_000_000


async def test_a_page_of_large_fields_is_bounded_too(store: SqliteEntityStore) -> None:
    """What a record holds in fields takes as much room as a body."""
    await store.write([Put(key=Key("p", f"{i:03}"), kind="k", fields={"text": "x" * 300_000}) for i in range(40)])
    page = await store.query(QueryPlan(pk="p", limit=1000))
    assert 27 <= len(page.records) < 40
    assert page.next is not None


async def test_a_page_of_the_feed_is_bounded_in_bytes(store: SqliteEntityStore) -> None:
    """Large changes come in several pages, and none is left out between them."""
    for at in range(0, 60, 20):
        await store.write([Put(key=Key("p", f"{at + i:03}"), kind="k", body=b"x" * 300_000) for i in range(20)])
    told: list[str] = []
    page = await store.changes(limit=1000)
    assert 27 <= len(page.changes) < 40
    while page.changes:
        told += [change.key.sk for change in page.changes]
        page = await store.changes(page.next, limit=1000)
    assert told == [f"{i:03}" for i in range(60)]


async def test_concurrent_processes_of_one_loop_see_each_other(config: SqliteConfig, env: Environment) -> None:
    """Two stores on one file, as two processes would have, interleave writes without error."""
    await open_entities(config, env).ensure()
    patient = config.model_copy(update={"busy_timeout_ms": 5000})
    async with open_entities(patient, env) as one, open_entities(patient, env) as two:
        await asyncio.gather(*(s.write([Put(key=Key("p", f"{i}"), kind="k")]) for i in range(30) for s in (one, two)))
        assert len((await one.query(QueryPlan(pk="p", limit=1000))).records) == 30


SHAPES = [
    QueryPlan(pk="p", slot=slot, low=low, high=high, reverse=reverse, after=after, bodies=bodies)
    for slot in (None, 1, 8)
    for low in (None, "a")
    for high in (None, "z")
    for reverse in (False, True)
    for after in (None, Position(HERE, None if slot is None else Key("p", "m")))
    for bodies in (False, True)
]


async def test_every_shape_of_query_walks_its_index_in_order(store: SqliteEntityStore) -> None:
    """No query scans the table or sorts: one step, on the index of its slot, whatever its bounds and direction."""
    for plan in SHAPES:
        account = await store.explain(plan)
        index = "sqlite_autoindex_storycore_items_1" if plan.slot is None else f"storycore_items_g{plan.slot}"
        (step,) = account["steps"]  # type: ignore[misc]  # a list
        assert step.startswith(f"SEARCH storycore_items USING INDEX {index} ("), (plan, step)
        has_bounds = (plan.low, plan.high, plan.after) != (None, None, None)
        assert has_bounds == ("<" in step or ">" in step), (plan, step)
        assert str(account["sql"]).count("?") == len(account["arguments"])  # type: ignore[arg-type]  # a list


async def test_a_scan_walks_an_index_in_order(config: SqliteConfig, env: Environment, store: SqliteEntityStore) -> None:
    """A scan goes on by key without sorting or counting."""
    with closing(DatabaseFile.of(config).reader()) as connection:
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        read_segment(connection, Segment(1, 3), Position(HERE), 10, env.clock.now())
        connection.set_trace_callback(None)
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert (len(steps), "USING INDEX sqlite_autoindex_storycore_items_1" in steps[0]) == (1, True), steps


async def test_a_scan_of_a_large_store_fills_no_memory(store: SqliteEntityStore, config: SqliteConfig) -> None:
    """100 000 records pass through in pages; what the process holds does not grow with them."""
    _fill(config.path)
    before = largest = _resident_bytes()
    count, after = 0, None
    while page := await store.scan(Segment(), after=after, limit=1000):
        count += len(page.records)
        largest = max(largest, _resident_bytes())
        after = page.next
        if after is None:
            break
    assert count == 100_000
    assert largest - before < 64 * 1024 * 1024


async def test_writes_all_over_a_large_store_fill_no_memory(store: SqliteEntityStore, config: SqliteConfig) -> None:
    """Records from end to end of a file are replaced, as a restore does; its pages do not stay in the process."""
    _fill(config.path)
    before = largest = _resident_bytes()
    for start in range(1, 100_000, 5000):
        await store.write(
            [Put(key=Key(f"p{i % 97}", f"{i:06}"), kind="k", body=b"x") for i in range(start, start + 5000, 50)]
        )
        largest = max(largest, _resident_bytes())
    assert largest - before < 40 * 1024 * 1024


def _fill(path: Path) -> None:
    """100 000 records, 65 MB, whose keys come one after the other in no order."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO storycore_items (pk, sk, kind, version, body) "
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
            "SELECT 'p' || (i % 97), printf('%06d', i), 'k', i, zeroblob(500) FROM n"
        )
        connection.commit()


def _resident_bytes() -> int:
    """The memory of this process that is in use now."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the memory in use is read from /proc, which only Linux has")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
