"""The readers: several at once, in the order in which they came, and nothing is read for callers who have gone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from storycore_sqlite._readers import Readers
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import open_entities

from storycore.errors import AccessDenied, Unavailable
from storycore.ports.entities import Key, Put, QueryPlan, Segment
from storycore.ports.environment import Environment

ENDLESS = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def connect(tmp_path: Path) -> Callable[[], sqlite3.Connection]:
    """Opens connections to one database."""
    path = tmp_path / "x.db"
    return lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False)


@pytest_asyncio.fixture
async def readers(connect: Callable[[], sqlite3.Connection]) -> AsyncIterator[Readers]:
    """Two started readers."""
    made = Readers("reader", 2, connect)
    await made.start()
    yield made
    await made.close()


def waiting(gate: threading.Event, began: threading.Event) -> Callable[[sqlite3.Connection], str]:
    """A read that says that it began, and ends when the gate opens."""

    def unit(_: sqlite3.Connection) -> str:
        began.set()
        gate.wait(5)
        return "done"

    return unit


async def until(event: threading.Event) -> None:
    """Wait until another thread has set the event."""
    await asyncio.to_thread(event.wait, 5)


async def test_a_long_read_does_not_hold_up_a_short_one(readers: Readers) -> None:
    """While one reader is busy the other serves."""
    gate, began = threading.Event(), threading.Event()
    long = asyncio.create_task(readers.run(waiting(gate, began)))
    await until(began)
    short = [await readers.run(lambda connection: connection.execute("SELECT 7").fetchone()) for _ in range(3)]
    gate.set()
    assert (short, await long) == ([(7,)] * 3, "done")


async def test_reads_begin_in_the_order_in_which_they_came(connect: Callable[[], sqlite3.Connection]) -> None:
    """No reader prefers what came later."""
    alone = Readers("reader", 1, connect)
    await alone.start()
    begun: list[int] = []
    await asyncio.gather(*(alone.run(lambda _, n=n: begun.append(n)) for n in range(20)))
    await alone.close()
    assert begun == list(range(20))


async def test_a_cancelled_read_that_waits_is_never_begun(readers: Readers) -> None:
    """Callers that give up leave no work behind."""
    gate = threading.Event()
    starts = [threading.Event(), threading.Event()]
    busy = [asyncio.create_task(readers.run(waiting(gate, began))) for began in starts]
    for began in starts:
        await until(began)
    begun: list[int] = []
    given_up = asyncio.create_task(readers.run(lambda _: begun.append(1)))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    gate.set()
    await asyncio.gather(*busy)
    await readers.run(lambda _: begun.append(2))
    assert begun == [2]


async def test_a_cancelled_read_that_runs_is_interrupted(readers: Readers) -> None:
    """A read without end stops when its caller goes; its reader serves the next, and holds no old snapshot."""
    began = threading.Event()

    def begun() -> int:
        began.set()
        return 1

    def endless(connection: sqlite3.Connection) -> object:
        connection.create_function("begun", 0, begun)
        connection.execute("BEGIN")
        try:
            return connection.execute(ENDLESS.replace("VALUES (1)", "VALUES (begun())")).fetchone()
        finally:
            connection.execute("COMMIT")

    for _ in range(4):
        began.clear()
        task = asyncio.create_task(readers.run(endless))
        await until(began)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    states = [await asyncio.wait_for(readers.run(lambda connection: connection.in_transaction), 5) for _ in range(4)]
    assert states == [False] * 4


async def test_an_interrupt_hits_its_own_read_only(readers: Readers) -> None:
    """Under many cancellations, whoever does not give up gets an answer."""

    def count(connection: sqlite3.Connection) -> object:
        return connection.execute(
            "SELECT count(*) FROM (" + ENDLESS.replace("FROM n)", "FROM n LIMIT 300)") + ")"
        ).fetchone()

    tasks = [asyncio.create_task(readers.run(count)) for _ in range(60)]
    for number, task in enumerate(tasks):
        if number % 2:
            task.cancel()
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[::2] == [(1,)] * 30


async def test_closing_finishes_the_reads_that_wait(connect: Callable[[], sqlite3.Connection]) -> None:
    """Reads that were handed in are answered; later ones are refused."""
    made = Readers("reader", 2, connect)
    await made.start()
    tasks = [
        asyncio.create_task(made.run(lambda connection: connection.execute("SELECT 1").fetchone())) for _ in range(9)
    ]
    await asyncio.sleep(0)
    await asyncio.gather(made.close(), made.close())
    assert await asyncio.gather(*tasks) == [(1,)] * 9
    with pytest.raises(Unavailable, match="closed"):
        await made.run(lambda _: None)


async def test_readers_that_cannot_connect_say_why_and_leave_no_thread() -> None:
    """The first error reaches who starts them; the threads that did connect end."""
    tries: list[int] = []

    def connect() -> sqlite3.Connection:
        tries.append(1)
        if len(tries) > 1:
            raise AccessDenied("no")
        return sqlite3.connect(":memory:", check_same_thread=False)

    with pytest.raises(AccessDenied):
        await Readers("doomed reader", 3, connect).start()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("doomed")] == []


async def test_scans_and_queries_of_one_store_run_side_by_side(tmp_path: Path) -> None:
    """Many walks at once see the same records, whatever number of readers serves them."""
    for count in (1, 3):
        store = open_entities(SqliteConfig(path=tmp_path / f"{count}.db", readers=count), Environment())
        await store.ensure()
        async with store:
            await store.write([Put(key=Key("p", f"{n:02}"), kind="k") for n in range(40)])
            pages = await asyncio.gather(
                *(store.scan(Segment(), limit=100) for _ in range(8)),
                *(store.query(QueryPlan(pk="p")) for _ in range(8)),
            )
            assert {tuple(record.key.sk for record in page.records) for page in pages} == {
                tuple(f"{n:02}" for n in range(40))
            }
