"""What running costs while nothing happens, and while something does: jobs, health and the change feed.

    python benchmarks/operations.py [--seconds 65] [--changes 20000] [--json]

``runner``: the share of a core that a runner takes which has nothing to do, its store's default jobs with backups being
served; beside it a bare event loop that sleeps. ``health``: the wall time of a look at everything, beside its slowest
part. ``feed``: CPU for each change that the entity port tells, and that ``store.changes()`` tells without reading the
instance and with it; beside it the same rows by plain SQL. ``calls``: CPU for each call of a port that does nothing:
bare, counted, and in the plugin ``otel`` without an SDK and with one that hands no span on; and for each get of nothing
from memory, with an audit trail and without. All in one process, over SQLite and files; the best of five rounds but for
the runner.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

import storycore
from storycore.app import Store
from storycore.layers.around import OPERATIONS
from storycore.layers.metrics import Metrics
from storycore.ports.entities import EntityStore, Key
from storycore.ports.lifecycle import PortName
from storycore.story import Story
from storycore.telemetry.tracing import Tracing

ROUNDS = 5
PAGE = 500
CALLS = 20_000
GET = OPERATIONS[PortName.ENTITIES]["get"]
LIGHT = {"embedder": "memory://"}
SELECT = "SELECT seq, pk, sk, body FROM storycore_changes WHERE seq > ? ORDER BY seq LIMIT ?"


async def share(seconds: float) -> float:
    """Of a core, that this process takes while its main task sleeps."""
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


async def runner(store: Store, seconds: float) -> dict[str, float]:
    """The idle runner, and the loop without it."""
    bare = await share(min(seconds, 20))
    async with store.jobs.runner():
        await asyncio.sleep(2)  # it registers its jobs
        return {"share of a core": await share(seconds), "bare loop": bare}


async def health(store: Store) -> dict[str, float]:
    """A look at everything, and its slowest part alone."""
    whole, slowest = [], []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        found = await store.health("detail")
        whole.append(time.perf_counter() - begun)
        slowest.append(max(line.latency_ms for line in found.values()) / 1000)
    return {"ms": min(whole) * 1000, "slowest part, ms": min(slowest) * 1000}


async def best(read: Callable[[], Awaitable[int]]) -> float:
    """Microseconds of CPU for each thing that it reads."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        count = await read()
        taken.append((time.process_time() - begun) / count * 1e6)
    return min(taken)


async def feed(store: Store, path: Path, changes: int) -> dict[str, float]:
    """The cost of each change, at three heights."""
    for start in range(0, changes, 100):
        await store.stories.save_batch(
            [Story(user_id="ada", title=f"Number {n}", content="water " * 200) for n in range(start, start + 100)]
        )
    entities = cast(EntityStore, store.ports[PortName.ENTITIES])

    async def by_sql() -> int:
        connection, place, count = sqlite3.connect(path), 0, 0
        while rows := connection.execute(SELECT, (place, PAGE)).fetchall():
            place, count = rows[-1][0], count + len(rows)
        connection.close()
        return count

    async def by_port() -> int:
        after, count = None, 0
        while True:
            page = await entities.changes(after, limit=PAGE)
            count, after = count + len(page.changes), page.next
            if page.is_end:
                return count

    async def by_stream(*, reads: bool) -> int:
        count = 0
        async for change in store.changes(kinds=["story"], start="oldest", wait=False):
            count += 1 if not reads or change.instance is not None else 0
        return count

    return {
        "SQL": await best(by_sql),
        "port": await best(by_port),
        "stream": await best(lambda: by_stream(reads=False)),
        "stream with instances": await best(lambda: by_stream(reads=True)),
    }


async def calls() -> dict[str, float]:
    """The cost of each call that is counted, or traced."""

    async def nothing() -> None:
        return None

    async def many(call: Callable[[], Awaitable[None]]) -> int:
        for _ in range(CALLS):
            await call()
        return CALLS

    tracers, meters = TracerProvider(), MeterProvider()
    layers = {
        "counted": Metrics(),
        "traced without SDK": Tracing("sqlite"),
        "traced": Tracing("sqlite", tracer_provider=tracers, meter_provider=meters),
    }
    ways = {"bare": nothing} | {name: layer.surround(GET, nothing) for name, layer in layers.items()}
    found = {name: await best(lambda way=way: many(way)) for name, way in ways.items()}  # type: ignore[misc]
    tracers.shutdown()
    meters.shutdown()
    return found


async def audited() -> dict[str, float]:
    """The cost of a get from an empty store in memory, and of one whose record is stored, with its storing."""
    found = {}
    for name, enabled in (("get", False), ("audited get", True)):
        async with storycore.open("memory", overrides={"audit": {"enabled": enabled, "key": "00" * 32}}) as store:
            entities = cast(EntityStore, store.ports[PortName.ENTITIES])

            async def many(entities: EntityStore = entities, store: Store = store, *, enabled: bool = enabled) -> int:
                for _ in range(CALLS):
                    await entities.get([Key("a", "b")])
                if enabled:
                    await store.audit.flush()
                return CALLS

            found[name] = await best(many)
    return found


async def measured(folder: Path, seconds: float, changes: int) -> dict[str, dict[str, float]]:
    """Everything."""
    async with storycore.open("local", dir=folder, overrides=LIGHT) as store:
        await store.init(warm_cache=False, enable_backups=True)
        return {
            "runner": await runner(store, seconds),
            "health": await health(store),
            "calls, us": {**await calls(), **await audited()},
            "feed, us": await feed(store, folder / "entities.db", changes),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=65.0)
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(Path(folder) / "data", asked.seconds, asked.changes))
    if asked.json:
        print(json.dumps(found))
        return
    for name, values in found.items():
        for what, value in values.items():
            print(f"{name:10} {what:24} {value:12.6f}")


if __name__ == "__main__":
    main()
