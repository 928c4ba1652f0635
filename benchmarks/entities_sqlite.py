"""Entities in SQLite as an application has them, against sqlite3, apsw, and aiosqlite as it is used every day.

    python benchmarks/entities_sqlite.py [--rounds 7] [--seconds 0.5] [--scan 1000000] [--json]
    uv run --with apsw python benchmarks/entities_sqlite.py

storycore's side is the port of an opened store, with everything around it: checks, counting, opening on first use.
Records hold 1.6 KB. Every program has its own file, WAL and synchronous=FULL, so that a put that returned survives a
loss of power. In each round every program does everything once, in a rotating order, and the medians count, for other
work on the machine comes and goes; a ratio is the median of the rounds' ratios. CPU is that of the whole process.

aiosqlite appears three times, always one connection that all tasks share: ``locked`` executes and commits each put
under a lock, so that a put is a transaction; ``autocommit`` leaves the transaction to SQLite; ``unlocked`` executes
and commits without a lock, so that whoever commits first commits what the others have half done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import storycore
from storycore.entities import Repository
from storycore.ports.entities import EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import STORY, Story


def optional(name: str) -> Any:  # a module, or nothing where it is not installed
    """The module of that name, if there is one."""
    try:
        return import_module(name)
    except ImportError:
        return None


aiosqlite, apsw = optional("aiosqlite"), optional("apsw")

RECORDS = 5000
TASKS = 64
BODY = b"x" * 1600
LAYOUT = "CREATE TABLE items (pk TEXT NOT NULL, sk TEXT NOT NULL, v INTEGER, doc BLOB, UNIQUE (pk, sk))"
FIND = "SELECT v, doc FROM items WHERE pk = ? AND sk = ?"
SAVE = (
    "INSERT INTO items (pk, sk, v, doc) VALUES (?, ?, 1, ?) "
    "ON CONFLICT (pk, sk) DO UPDATE SET v = v + 1, doc = excluded.doc"
)
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "cache_size = -32768", "mmap_size = 268435456")

Call = Callable[[int], Awaitable[object]]


@dataclass
class Side:
    """One program under measurement: how it reads and how it puts record number n, and what was measured."""

    name: str
    find: Call
    save: Call
    found: dict[str, list[float]] = field(default_factory=dict)

    def note(self, **numbers: float) -> None:
        """Keep a round's numbers."""
        for name, number in numbers.items():
            self.found.setdefault(name, []).append(number)


@dataclass(frozen=True)
class Goal:
    """A ratio that is to hold.

    Args:
        over: the program and the number above the line.
        under: the ones below it; ``None``: the number itself is judged.
        at_most: whether the ratio is to be at most ``bound``; else at least.
    """

    text: str
    over: tuple[str, str]
    under: tuple[str, str] | None
    bound: float
    at_most: bool = False

    def ratio(self, sides: dict[str, Side]) -> float | None:
        """The median of the rounds' ratios; ``None`` when a program was left out."""
        if self.over[0] not in sides or (self.under is not None and self.under[0] not in sides):
            return None
        above = sides[self.over[0]].found[self.over[1]]
        below = [1.0] * len(above) if self.under is None else sides[self.under[0]].found[self.under[1]]
        return statistics.median(one / other for one, other in zip(above, below, strict=True))

    def is_reached(self, ratio: float) -> bool:
        """Whether the goal holds."""
        return ratio <= self.bound if self.at_most else ratio >= self.bound


GOALS = (
    Goal("get, p50 of one task: port / sqlite3", ("port", "get_p50_us"), ("sqlite3", "get_p50_us"), 1.5, at_most=True),
    Goal("gets of 64 tasks: port / aiosqlite", ("port", "gets_per_s"), ("aiosqlite locked", "gets_per_s"), 4),
    Goal("durable puts of 64 tasks: port / aiosqlite", ("port", "puts_per_s"), ("aiosqlite locked", "puts_per_s"), 5),
    Goal("CPU of such a put: aiosqlite / port", ("aiosqlite locked", "put_cpu_us"), ("port", "put_cpu_us"), 4),
    Goal("repository get with validation, CPU in us", ("port", "model_cpu_us"), None, 60, at_most=True),
)


def place(n: int) -> tuple[str, str]:
    """The key of record n: 20 in a partition."""
    n = n * 7919 % RECORDS
    return f"user#{n // 20:06d}", f"story#{n:08d}"


async def opened(path: Path, stack: AsyncExitStack) -> EntityStore:
    """The entity port of a store as an application opens it."""
    store = await stack.enter_async_context(storycore.open("memory", overrides={"entities": f"sqlite:///{path}"}))
    await store.init(warm_cache=False)
    return cast(EntityStore, store.ports[PortName.ENTITIES])


async def ours(folder: Path, stack: AsyncExitStack) -> Side:
    """The port, filled."""
    port = await opened(folder / "port.db", stack)
    for start in range(0, RECORDS, 500):
        await port.write([Put(key=Key(*place(n)), kind="story", body=BODY) for n in range(start, start + 500)])

    async def find(n: int) -> object:
        return await port.get([Key(*place(n))])

    async def save(n: int) -> object:
        return await port.write([Put(key=Key(*place(n)), kind="story", body=BODY)])

    return Side("port", find, save)


async def models(folder: Path, stack: AsyncExitStack) -> Call:
    """How an application reads a story: a model, validated."""
    stories = Repository(STORY, await opened(folder / "models.db", stack), Environment(), cursor_key=b"k" * 32)
    text = "It was a dark and stormy night. " * 40
    for n in range(200):
        await stories.create(Story(story_id=f"s{n}", user_id=f"u{n % 9}", title=f"Night {n}", content=text))

    async def find(n: int) -> object:
        return await stories.get(story_id=f"s{n % 200}")

    return find


def filled(path: Path) -> sqlite3.Connection:
    """A plain table with the same records."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(LAYOUT)
    connection.execute("BEGIN")
    connection.executemany(SAVE, [(*place(n), BODY) for n in range(RECORDS)])
    connection.execute("COMMIT")
    return connection


def plain(folder: Path, stack: AsyncExitStack) -> Side:
    """The sqlite3 module, blocking."""
    connection = filled(folder / "raw.db")
    stack.callback(connection.close)

    async def find(n: int) -> object:
        return connection.execute(FIND, place(n)).fetchone()

    async def save(n: int) -> object:
        return connection.execute(SAVE, (*place(n), BODY))

    return Side("sqlite3", find, save)


def other(folder: Path, stack: AsyncExitStack) -> Side:
    """The apsw module, blocking."""
    filled(folder / "apsw.db").close()
    connection = apsw.Connection(str(folder / "apsw.db"))
    stack.callback(connection.close)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()

    async def find(n: int) -> object:
        return connection.execute(FIND, place(n)).fetchone()

    async def save(n: int) -> object:
        return connection.execute(SAVE, (*place(n), BODY)).fetchall()

    return Side("apsw", find, save)


async def peer(folder: Path, stack: AsyncExitStack, use: str) -> Side:
    """aiosqlite in one of its three uses."""
    path = folder / f"{use}.db"
    filled(path).close()
    isolation: Any = None if use == "autocommit" else ""
    db: Any = await stack.enter_async_context(aiosqlite.connect(path, isolation_level=isolation))
    for pragma in PRAGMAS:
        await db.execute(f"PRAGMA {pragma}")
    lock = asyncio.Lock()

    async def find(n: int) -> object:
        async with db.execute(FIND, place(n)) as cursor:
            return await cursor.fetchone()

    async def save(n: int) -> None:
        await db.execute(SAVE, (*place(n), BODY))
        if use != "autocommit":
            await db.commit()

    async def save_locked(n: int) -> None:
        async with lock:
            await save(n)

    return Side(f"aiosqlite {use}", find, save_locked if use == "locked" else save)


async def median_us(call: Call, seconds: float) -> float:
    """The median of one call, one after the other, in microseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        await call(len(times))
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


async def rate(call: Call, seconds: float) -> tuple[float, float]:
    """Calls per second of 64 tasks that take turns, and the CPU time of one call in microseconds."""
    done = 0
    begun, cpu = time.perf_counter(), time.process_time()

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() - begun < seconds:
            await call(number + done)
            done += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(client(number * 71) for number in range(TASKS)))
    return done / (time.perf_counter() - begun), (time.process_time() - cpu) / done * 1e6


async def cpu_us(call: Call, calls: int) -> float:
    """The CPU time of one call in microseconds."""
    begun = time.process_time()
    for n in range(calls):
        await call(n)
    return (time.process_time() - begun) / calls * 1e6


async def measure(rounds: int, seconds: float) -> dict[str, Side]:
    """Program to what was measured, one number a round."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = [await ours(folder, stack), plain(folder, stack)]
        if aiosqlite is not None:
            sides += [await peer(folder, stack, use) for use in ("locked", "autocommit", "unlocked")]
        if apsw is not None:
            sides.append(other(folder, stack))
        model = await models(folder, stack)
        for turn in range(rounds):
            turned = sides[turn % len(sides) :] + sides[: turn % len(sides)]
            for side in turned:
                side.note(get_p50_us=await median_us(side.find, seconds / 2))
            for side in turned:
                gets, _ = await rate(side.find, seconds / 2)
                side.note(gets_per_s=gets)
            for side in turned:
                puts, cpu = await rate(side.save, seconds)
                side.note(puts_per_s=puts, put_cpu_us=cpu)
            sides[0].note(model_cpu_us=await cpu_us(model, 2000))
        return {side.name: side for side in sides}


async def scanned(records: int) -> tuple[float, float]:
    """Seconds and the growth of resident memory in MiB of a scan of a store with that many records of 600 bytes."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = await opened(folder / "scan.db", stack)
        connection = sqlite3.connect(folder / "scan.db", isolation_level=None)
        connection.execute(
            "INSERT INTO storycore_items (pk, sk, kind, version, body) "
            f"WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {records}) "
            "SELECT printf('user#%06d', i / 20), printf('%08d', i), 'k', i, zeroblob(600) FROM n"
        )
        connection.close()
        before = largest = resident_mib()
        begun, count, after = time.perf_counter(), 0, None
        while True:
            page = await port.scan(Segment(), after=after, limit=1000)
            count, after = count + len(page.records), page.next
            largest = max(largest, resident_mib())
            if after is None:
                break
        if count != records:
            raise RuntimeError(f"The scan found {count} of {records} records.")
        return time.perf_counter() - begun, largest - before


def resident_mib() -> float:
    """The memory of this process that is in use; where there is no /proc, the most that ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(sides: dict[str, Side]) -> list[str]:
    """A line for each number of each program: the median and the range."""
    return [
        f"{side.name:22}{name:14}{statistics.median(numbers):12.1f}   {min(numbers):.1f}..{max(numbers):.1f}"
        for side in sides.values()
        for name, numbers in side.found.items()
    ]


def verdicts(sides: dict[str, Side]) -> list[str]:
    """A line for each goal."""
    lines = []
    for goal in GOALS:
        ratio = goal.ratio(sides)
        sign = "<=" if goal.at_most else ">="
        found = (
            "left out" if ratio is None else f"{ratio:8.2f}  {'reached' if goal.is_reached(ratio) else 'NOT reached'}"
        )
        lines.append(f"{goal.text:50} goal {sign} {goal.bound:4g}: {found}")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--scan", type=int, default=0, metavar="RECORDS", help="also scan a store of so many records")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sides = asyncio.run(measure(given.rounds, given.seconds))
    scan = asyncio.run(scanned(given.scan)) if given.scan else None
    if given.json:
        ratios = {goal.text: goal.ratio(sides) for goal in GOALS}
        print(
            json.dumps({"rounds": {name: side.found for name, side in sides.items()}, "ratios": ratios, "scan": scan})
        )
        return
    print(*table(sides), "", *verdicts(sides), sep="\n")
    if scan is not None:
        verdict = "reached" if scan[1] < 100 else "NOT reached"
        print(f"scan of {given.scan} records: {scan[0]:.1f} s, memory grew by {scan[1]:.0f} MiB, goal < 100: {verdict}")
    for name, module in (("aiosqlite", aiosqlite), ("apsw", apsw)):
        if module is None:
            print(f"{name} is not installed, so it was left out; run with: uv run --with {name} python {__file__}")


if __name__ == "__main__":
    main()
