"""The lanes: many writers share a commit, and none of them can harm another."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from storycore_sqlite._errors import translated
from storycore_sqlite._lanes import Lane
from storycore_sqlite._units import commit_together

from storycore.errors import AccessDenied, InvalidArgument, StorageFull, Unavailable

Insert = Callable[[sqlite3.Connection], object]


def insert(number: int, size: int = 1) -> Insert:
    """A unit that adds a row."""
    return lambda connection: connection.execute("INSERT INTO t VALUES (?, zeroblob(?))", (number, size)).rowcount


def failing(number: int) -> Insert:
    """A unit that adds a row and then fails."""

    def unit(connection: sqlite3.Connection) -> object:
        connection.execute("INSERT INTO t VALUES (?, x'')", (number,))
        raise InvalidArgument("after all, no")

    return unit


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    """A database with one table; the lane or the test closes it."""
    made = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    made.execute("PRAGMA journal_mode = WAL")
    made.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)")
    return made


@pytest_asyncio.fixture
async def writer(connection: sqlite3.Connection) -> AsyncIterator[Lane]:
    """A started lane over it."""
    lane = Lane("writer", lambda: connection, commit_together)
    await lane.start()
    yield lane
    await lane.close()


def numbers(path: Path) -> list[int]:
    """What has been committed, as another process would see it."""
    other = sqlite3.connect(path / "x.db")
    try:
        return [row[0] for row in other.execute("SELECT n FROM t ORDER BY n")]
    finally:
        other.close()


async def test_concurrent_writers_share_commits(writer: Lane, connection: sqlite3.Connection, tmp_path: Path) -> None:
    """A hundred writers that come together need one or two commits, not a hundred."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    await asyncio.gather(*(writer.run(insert(n)) for n in range(100)))
    assert 1 <= statements.count("COMMIT") <= 2
    assert list(range(100)) == numbers(tmp_path)


async def test_a_writer_hears_of_it_after_the_commit(writer: Lane, tmp_path: Path) -> None:
    """What has been acknowledged is seen by another connection at once."""
    for n in range(20):
        await writer.run(insert(n))
        assert numbers(tmp_path)[-1] == n


async def test_a_failure_undoes_its_own_unit_only(writer: Lane, tmp_path: Path) -> None:
    """Of units in one commit the failing ones leave nothing, and the others all stay."""
    units = [failing(n) if n % 3 == 0 else insert(n) for n in range(30)]
    outcomes = await asyncio.gather(*(writer.run(unit) for unit in units), return_exceptions=True)
    assert [n % 3 == 0 for n in range(30)] == [isinstance(outcome, InvalidArgument) for outcome in outcomes]
    assert [n for n in range(30) if n % 3] == numbers(tmp_path)


async def test_a_database_error_undoes_its_own_unit_only(writer: Lane, tmp_path: Path) -> None:
    """A constraint that fails in the middle of a group does not reach the neighbours."""
    units = [insert(n) for n in (1, 2, 1, 3)]
    outcomes = await asyncio.gather(*(writer.run(unit) for unit in units), return_exceptions=True)
    assert [int, int, sqlite3.IntegrityError, int] == [type(outcome) for outcome in outcomes]
    assert numbers(tmp_path) == [1, 2, 3]


async def test_a_full_disk_fails_who_asks_too_much(
    writer: Lane, connection: sqlite3.Connection, tmp_path: Path
) -> None:
    """SQLite undoes the whole transaction when space runs out; writes that fit are done all the same."""
    connection.execute("PRAGMA max_page_count = 60")
    units = [insert(1), insert(2, size=400_000), insert(3)]
    outcomes = await asyncio.gather(*(writer.run(unit) for unit in units), return_exceptions=True)
    assert [int, sqlite3.OperationalError, int] == [type(outcome) for outcome in outcomes]
    assert isinstance(outcomes[1], sqlite3.Error)
    assert isinstance(translated(outcomes[1], tmp_path), StorageFull)
    assert numbers(tmp_path) == [1, 3]


async def test_a_locked_database_is_unavailable(writer: Lane, connection: sqlite3.Connection, tmp_path: Path) -> None:
    """A lock that outlasts the timeout fails the whole group, and the next group finds the lane in order."""
    connection.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(*(writer.run(insert(n)) for n in range(3)), return_exceptions=True)
    assert {Unavailable} == {type(translated(one, tmp_path)) for one in outcomes if isinstance(one, sqlite3.Error)}
    other.execute("ROLLBACK")
    other.close()
    await writer.run(insert(7))
    assert numbers(tmp_path) == [7]


async def test_a_readonly_database_is_access_denied(
    writer: Lane, connection: sqlite3.Connection, tmp_path: Path
) -> None:
    """A write that SQLite refuses is told as a lack of permission."""
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError) as caught:
        await writer.run(insert(1))
    assert isinstance(translated(caught.value, tmp_path), AccessDenied)


async def test_a_cancelled_caller_does_not_stop_the_lane(writer: Lane, tmp_path: Path) -> None:
    """What was handed in is done, and later callers are served."""
    task = asyncio.create_task(writer.run(insert(1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await writer.run(insert(2))
    assert task.cancelled()
    assert numbers(tmp_path) == [1, 2]


async def test_closing_finishes_what_was_handed_in(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """Units of the same tick, and of the ticks before, are committed and acknowledged."""
    lane = Lane("writer", lambda: connection, commit_together)
    await lane.start()
    tasks = [asyncio.create_task(lane.run(insert(n))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(lane.close(), lane.close())
    assert await asyncio.gather(*tasks) == [1] * 50
    assert list(range(50)) == numbers(tmp_path)
    with pytest.raises(Unavailable):
        await lane.run(insert(99))


async def test_a_lane_that_cannot_connect_says_why() -> None:
    """The opener's error reaches who starts the lane."""

    def connect() -> sqlite3.Connection:
        raise AccessDenied("no")

    with pytest.raises(AccessDenied):
        await Lane("writer", connect, commit_together).start()


async def test_a_lane_belongs_to_its_loop(writer: Lane) -> None:
    """Another loop's caller is refused instead of waiting for ever."""

    def elsewhere() -> object:
        return asyncio.run(writer.run(insert(1)))

    with pytest.raises(Unavailable, match="another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_a_lane_rests_after_each_batch(connection: sqlite3.Connection) -> None:
    """What is done when nobody waits is done in the lane's own thread, after the callers were told."""
    rests: list[tuple[int, bool]] = []

    def rest(own: sqlite3.Connection, is_idle: bool) -> None:
        rests.append((own.total_changes, is_idle))

    lane = Lane("writer", lambda: connection, commit_together, rest)
    await lane.start()
    await asyncio.gather(*(lane.run(insert(n)) for n in range(7)))
    while not rests:
        await asyncio.sleep(0.001)
    await lane.close()
    assert rests == [(7, True)]


async def test_a_unit_that_fails_late_is_run_again_alone(writer: Lane, tmp_path: Path) -> None:
    """The group runs bare first and once more behind savepoints; what counts is the second time."""
    runs: list[str] = []

    def late(connection: sqlite3.Connection) -> object:
        runs.append("late")
        return failing(5)(connection)

    def before(connection: sqlite3.Connection) -> object:
        runs.append("before")
        return insert(4)(connection)

    outcomes = await asyncio.gather(writer.run(before), writer.run(late), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, InvalidArgument]
    assert (numbers(tmp_path), runs) == ([4], ["before", "late"] * 2)
