"""The feed in the file: a body is kept once, as long as a change tells of it, and one that is lost is named."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import aiosqlite
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities
from storycore_sqlite.joined import on_connection

from storycore.errors import Corrupt
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.entities import Delete, EntityStore, FeedPosition, Key, Patch, Put
from storycore.ports.environment import Environment
from storycore.testing.clock import ManualClock

RETENTION = timedelta(hours=24)
LONG = 4000


@pytest.fixture
def clock() -> ManualClock:
    """Time in the test's hands."""
    return ManualClock()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteEntityStore]:
    """An open store."""
    opened = open_entities(SqliteConfig(path=tmp_path / "x.db", feed_retention=RETENTION), Environment(clock=clock))
    await opened.ensure()
    async with opened:
        yield opened


def put(number: int, body: bytes) -> Put:
    """A put of one of a few records."""
    return Put(key=Key("p", f"{number:04}"), kind="k", body=body)


async def bodies(store: EntityStore) -> list[bytes | None]:
    """The body of each change; ``None`` of a removal."""
    found: list[bytes | None] = []
    after: FeedPosition | None = None
    while not (page := await store.changes(after, limit=7)).is_end:
        found += [None if change.record is None else change.record.body for change in page.changes]
        after = page.next
    return found + [None if change.record is None else change.record.body for change in page.changes]


def kept_bytes(path: Path) -> int:
    """What all bodies in the file take together."""
    with closing(sqlite3.connect(path)) as connection:
        (stored,) = connection.execute("SELECT total(length(body)) FROM storycore_items").fetchone()
        (told,) = connection.execute(
            "SELECT total(coalesce(length(body), 0) + coalesce(length(former), 0)) FROM storycore_changes"
        ).fetchone()
    return int(stored + told)


async def test_a_body_is_kept_once(store: SqliteEntityStore, tmp_path: Path) -> None:
    """Records that nothing has replaced yet lie in the file once, single or many in one call, the feed included."""
    for number in range(20):
        await store.write([put(number, b"x" * LONG)])
    await store.write([put(number, b"x" * LONG) for number in range(20, 60)])
    assert await bodies(store) == [b"x" * LONG] * 60
    assert kept_bytes(tmp_path / "x.db") == 60 * LONG
    await store.close()
    assert (tmp_path / "x.db").stat().st_size < 1.5 * 60 * LONG


async def test_what_was_replaced_is_kept_as_long_as_the_feed_tells_of_it(
    store: SqliteEntityStore, clock: ManualClock, tmp_path: Path
) -> None:
    """Whatever replaces a record keeps its body; nothing does where the change that stored it is trimmed."""
    path = tmp_path / "x.db"
    await store.write([put(number, b"1" * LONG) for number in range(20)])
    await store.write([put(0, b"2" * LONG), Delete(key=put(1, b"").key), Patch(key=put(2, b"").key, body=b"2" * LONG)])
    assert kept_bytes(path) == (20 + 2) * LONG
    clock.advance(RETENTION)
    await store.expire(clock.now())
    assert kept_bytes(path) == 19 * LONG
    await store.write([put(3, b"3" * LONG)])
    await store.write([put(number, b"3" * LONG) for number in range(4, 14)])
    await store.write([Delete(key=put(14, b"").key)])
    assert kept_bytes(path) == 18 * LONG
    assert await bodies(store) == [b"3" * LONG] * 11 + [None]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE storycore_changes SET former = NULL",
        "DELETE FROM storycore_items",
        "UPDATE storycore_items SET version = 9",
    ],
)
async def test_a_change_that_lost_its_body_is_corrupt(store: SqliteEntityStore, tmp_path: Path, damage: str) -> None:
    """It is named, and never told without what it stored."""
    for body in (b"1", b"2"):
        await store.write([put(0, body)], atomic=True, token=body.decode())
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection, connection:
        connection.execute(damage)
    lost = 1 if "former" in damage else 2
    with pytest.raises(Corrupt, match=rf"change {lost} stored under .*0000.*restore"):
        await store.changes()
    with pytest.raises(Corrupt, match=rf"change {lost} "):
        await store.write([put(0, b"%d" % lost)], atomic=True, token=str(lost))


async def test_what_is_rolled_back_took_nothing_over(tmp_path: Path) -> None:
    """In an application's transaction too, the feed tells the body that is stored again."""
    async with aiosqlite.connect(tmp_path / "x.db") as db:
        joined = on_connection(db)
        await joined.ensure()
        await db.commit()
        async with joined:
            await joined.write([put(0, b"1")])
            await db.commit()
            await joined.write([put(0, b"2")])
            assert await bodies(joined) == [b"1", b"2"]
            await db.rollback()
            assert await bodies(joined) == [b"1"]
            await joined.write([Delete(key=put(0, b"").key)])
            await db.commit()
            assert await bodies(joined) == [b"1", None]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.integers(0, 5), min_size=1, unique=True), st.sampled_from([None, 1, 40])),
        st.tuples(st.just("many"), st.just(list(range(12))), st.sampled_from([None, 1])),
        st.tuples(
            st.sampled_from(["delete", "patch"]), st.lists(st.integers(0, 5), max_size=2, unique=True), st.none()
        ),
        st.tuples(st.just("wait"), st.just(list[int]()), st.sampled_from([1, 12, 30])),
        st.tuples(st.just("sweep"), st.just(list[int]()), st.none()),
    ),
    max_size=25,
)
"""Verb, numbers of records, and hours: to live, or to wait."""


async def play(store: EntityStore, clock: ManualClock, steps: list[tuple[str, list[int], int | None]]) -> list[object]:
    """Take the steps; what the feed tells after each."""
    told: list[object] = []
    for turn, (verb, numbers, hours) in enumerate(steps):
        until = None if hours is None else clock.now() + timedelta(hours=hours)
        if verb in ("put", "many"):
            body = b"%d" % turn
            await store.write([Put(key=put(n, b"").key, kind="k", body=body, expires_at=until) for n in numbers])
        elif verb == "delete":
            await store.write([Delete(key=put(n, b"").key) for n in numbers])
        elif verb == "patch":
            keys = [key for key in (put(n, b"").key for n in numbers) if (await store.get([key]))[0] is not None]
            await store.write([Patch(key=key, body=b"patched %d" % turn) for key in keys])
        elif verb == "wait":
            clock.advance(timedelta(hours=hours or 0))
        else:
            await store.expire(clock.now())
        told.append(await bodies(store))
    return told


@settings(max_examples=25, deadline=None, derandomize=True)
@given(steps=STEPS)
async def test_every_history_is_told_as_by_the_reference(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[int], int | None]]
) -> None:
    """After any writes, sweeps and trims, the feed tells of each change that it still has what that one stored."""
    clocks = [ManualClock(), ManualClock()]
    config = SqliteConfig(path=tmp_path_factory.mktemp("feed") / "x.db", feed_retention=RETENTION)
    ours = open_entities(config, Environment(clock=clocks[0]))
    reference = MemoryEntityStore(Environment(clock=clocks[1]))
    await ours.ensure()
    async with ours, reference:
        assert await play(reference, clocks[1], steps) == await play(ours, clocks[0], steps)
