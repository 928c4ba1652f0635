"""Several processes on one server: nothing stale, and one load for all, however many ask."""

from __future__ import annotations

import asyncio
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storycore.caching import Caching
from storycore.ports.cache import Cache
from storycore.testing.cache_reader import read_through
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness
from storycore.testing.processes import Line, child

KEYS = 8


@pytest.fixture
def shared(harness: Harness) -> Harness:
    """The place with a clock that agrees with the other processes'."""
    harness.clock = ManualClock(datetime.now(UTC))
    return harness


@pytest.mark.parametrize("reads", [3000, pytest.param(250_000, marks=pytest.mark.slow)])
async def test_no_reader_in_any_process_sees_what_was_invalidated(
    shared: Harness, tmp_path: Path, reads: int, request: pytest.FixtureRequest
) -> None:
    """Three processes of twenty tasks read through the cache while a writer changes the source and invalidates."""
    if reads > 10_000 and "slow" not in str(request.config.getoption("-m")):
        pytest.skip("minutes of torture; run it with -m slow")
    files = [tmp_path / f"{kind}{key}" for kind in ("version", "floor") for key in range(KEYS)]
    for file in files:
        file.write_text("0")
    chance, version = random.Random(11), 0
    async with (
        await shared.started() as store,
        child(shared, f"{__name__}:torture", str(tmp_path)) as one,
        child(shared, f"{__name__}:torture", str(tmp_path)) as two,
        child(shared, f"{__name__}:torture", str(tmp_path)) as three,
    ):
        readers = [one, two, three]
        assert [await reader.hear() for reader in readers] == ["ready"] * 3
        while sum(int(file.read_text() or 0) for file in tmp_path.glob("reads-*[0-9]")) < reads:
            version, key = version + 1, chance.randrange(KEYS)
            _write(tmp_path / f"version{key}", version)
            await store.invalidate([str(key)])
            _write(tmp_path / f"floor{key}", version)
            await asyncio.sleep(chance.random() * 0.01)
        (tmp_path / "done").touch()
        told = [await reader.hear() for reader in readers]
        print(f"{sum(found['reads'] for found in told)} reads of {version} versions")  # noqa: T201  # the count is what the run is for
        assert [found["stale"] for found in told] == [[], [], []]
        assert sum(found["reads"] for found in told) >= reads
        rest = await store.get([str(key) for key in range(KEYS)])
        wanted = [(tmp_path / f"version{key}").read_text().encode() for key in range(KEYS)]
        assert [got for got, want in zip(rest, wanted, strict=True) if got not in (None, want)] == []


async def test_a_thousand_tasks_in_two_processes_load_once(shared: Harness, tmp_path: Path) -> None:
    """Whoever comes first loads; all the others get the same, and nobody an error."""
    async with (
        child(shared, f"{__name__}:stampede", str(tmp_path)) as one,
        child(shared, f"{__name__}:stampede", str(tmp_path)) as two,
    ):
        assert [await one.hear(), await two.hear()] == ["ready", "ready"]
        for process in (one, two):
            process.say("go")
        assert [await one.hear(), await two.hear()] == [{"found": ["loaded"]}] * 2
        assert len(list(tmp_path.glob("load-*"))) == 1


async def torture(store: Cache, line: Line, folder: str) -> None:
    """The other processes of the first test."""
    place, stale, reads = Path(folder), [], 0
    line.say("ready")

    async def read() -> None:
        nonlocal reads
        while not (place / "done").exists():
            key = random.randrange(KEYS)

            async def load(key: int = key) -> int:
                found = int((place / f"version{key}").read_text())
                await asyncio.sleep(random.random() * 0.005)
                return found

            floor = int((place / f"floor{key}").read_text())
            found = await read_through(store, str(key), load)
            reads += 1
            if reads % 100 == 0:
                _write(place / f"reads-{os.getpid()}", reads)
            if found < floor:
                stale.append([key, found, floor])

    await asyncio.gather(*(read() for _ in range(20)))
    line.say({"stale": stale, "reads": reads})


async def stampede(store: Cache, line: Line, folder: str) -> None:
    """The two processes of the second test."""
    place = Path(folder)
    region = Caching(store, namespace="stampede", l1_ttl=None).region("{name}", str, ttl=60)

    async def load(name: str) -> str:
        (place / f"load-{random.getrandbits(64)}").touch()
        await asyncio.sleep(0.05)
        return "loaded"

    line.say("ready")
    line.hear()
    found = await asyncio.gather(*(region.get_or_load(load=load, name="k") for _ in range(1000)))
    line.say({"found": sorted(set(found))})


def _write(file: Path, number: int) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(str(number))
    draft.replace(file)
