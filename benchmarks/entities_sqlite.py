"""Entities in SQLite through the port, against sqlite3 itself and against everyday aiosqlite.

    python benchmarks/entities_sqlite.py [--rounds 5] [--seconds 0.6] [--json]

Point reads: the median time of one read with one caller. Durable puts: 64 tasks, synchronous=FULL, so that a put that
returned survives a power failure. Records are 1.6 KB. Rounds alternate between the programs and the best of each
counts, since other work on the machine can only add to it. aiosqlite has one connection that all tasks share, and
commits each put for itself: with a commit() of its own each task would also commit what the others have half done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import open_entities

from storycore.layers.checks import checked
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

try:
    import aiosqlite
except ImportError:
    aiosqlite = None  # type: ignore[assignment]  # the peer is left out

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
    """One program under measurement: how it reads and how it puts record number n."""

    name: str
    find: Call
    save: Call


def place(n: int) -> tuple[str, str]:
    """The key of record n: 20 in a partition."""
    n = n * 7919 % RECORDS
    return f"user#{n // 20:06d}", f"story#{n:08d}"


async def port(path: Path, stack: AsyncExitStack) -> Side:
    """The port as an application uses it: the adapter behind its checks."""
    store: EntityStore = checked(PortName.ENTITIES, open_entities(SqliteConfig(path=path), Environment()))
    await store.ensure()
    await stack.enter_async_context(store)
    for start in range(0, RECORDS, 500):
        await store.write([Put(key=Key(*place(n)), kind="story", body=BODY) for n in range(start, start + 500)])

    async def find(n: int) -> object:
        return await store.get([Key(*place(n))])

    async def save(n: int) -> object:
        return await store.write([Put(key=Key(*place(n)), kind="story", body=BODY)])

    return Side("port", find, save)


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


async def raw(path: Path, stack: AsyncExitStack) -> Side:
    """The sqlite3 module, blocking."""
    connection = filled(path)
    stack.callback(connection.close)

    async def find(n: int) -> object:
        return connection.execute(FIND, place(n)).fetchone()

    async def save(n: int) -> object:
        return connection.execute(SAVE, (*place(n), BODY))

    return Side("sqlite3", find, save)


async def peer(path: Path, stack: AsyncExitStack) -> Side:
    """Everyday aiosqlite."""
    filled(path).close()
    db: Any = await stack.enter_async_context(aiosqlite.connect(path, isolation_level=None))
    for pragma in PRAGMAS:
        await db.execute(f"PRAGMA {pragma}")

    async def find(n: int) -> object:
        async with db.execute(FIND, place(n)) as cursor:
            return await cursor.fetchone()

    async def save(n: int) -> object:
        return await db.execute(SAVE, (*place(n), BODY))

    return Side("aiosqlite", find, save)


async def read_p50(find: Call, seconds: float) -> float:
    """The median of one read, in microseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        await find(len(times))
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


async def put_rate(save: Call, seconds: float) -> tuple[float, float]:
    """Puts per second of 64 tasks, and the CPU time of one put in microseconds."""
    done = 0
    begun, cpu = time.perf_counter(), cpu_seconds()

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() - begun < seconds:
            await save(number + done)
            done += 1

    await asyncio.gather(*(client(number * 71) for number in range(TASKS)))
    return done / (time.perf_counter() - begun), (cpu_seconds() - cpu) / done * 1e6


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Program to its best numbers."""
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            sides = [await port(Path(folder) / "port.db", stack), await raw(Path(folder) / "raw.db", stack)]
            if aiosqlite is not None:
                sides.append(await peer(Path(folder) / "peer.db", stack))
            for _ in range(rounds):
                for side in sides:
                    p50 = await read_p50(side.find, seconds / 2)
                    rate, cpu = await put_rate(side.save, seconds)
                    old = best.get(side.name, {"get_p50_us": p50, "puts_per_s": rate, "put_cpu_us": cpu})
                    best[side.name] = {
                        "get_p50_us": min(p50, old["get_p50_us"]),
                        "puts_per_s": max(rate, old["puts_per_s"]),
                        "put_cpu_us": min(cpu, old["put_cpu_us"]),
                    }
    return best


def ratios(best: dict[str, dict[str, float]]) -> dict[str, float]:
    """What is to be held: reads at most 1.5 times sqlite3, durable puts at least 5 times aiosqlite."""
    found = {"get p50, port / sqlite3 (goal <= 1.5)": best["port"]["get_p50_us"] / best["sqlite3"]["get_p50_us"]}
    if "aiosqlite" in best:
        found["get p50, aiosqlite / port"] = best["aiosqlite"]["get_p50_us"] / best["port"]["get_p50_us"]
        found["durable puts, port / aiosqlite (goal >= 5)"] = (
            best["port"]["puts_per_s"] / best["aiosqlite"]["puts_per_s"]
        )
        found["put CPU, aiosqlite / port"] = best["aiosqlite"]["put_cpu_us"] / best["port"]["put_cpu_us"]
    return {name: round(ratio, 2) for name, ratio in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    best = asyncio.run(measure(given.rounds, given.seconds))
    if given.json:
        print(json.dumps({"best": best, "ratios": ratios(best)}))
        return
    for name, numbers in best.items():
        print(f"{name:10}", *(f"{what} {number:10.1f}" for what, number in numbers.items()))
    for name, ratio in ratios(best).items():
        print(f"{ratio:8.2f}  {name}")
    if aiosqlite is None:
        print("aiosqlite is not installed, so it was left out: pip install aiosqlite")


if __name__ == "__main__":
    main()
