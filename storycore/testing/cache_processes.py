"""The same promises between processes, for adapters that several processes may have open."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storycore.ports.cache import Cache, Lease
from storycore.testing.cache_examples import HELD_ELSEWHERE, LEASE, fill, item, lease_of
from storycore.testing.cache_reader import read_through
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness
from storycore.testing.processes import Line, child

__all__ = ["CacheProcesses", "hold_a_lease", "read_in_a_loop"]

_VERSIONS = 60


class CacheProcesses:
    """Tests with other processes on the same place; the clock is set to the present, which theirs tells too."""

    @pytest.mark.asyncio
    async def test_a_lease_holds_and_dies_across_processes(self, harness: Harness) -> None:
        """A lease of another process keeps us waiting; after our invalidation its fill is refused."""
        place, store = await _shared(harness)
        async with store, child(place, f"{__name__}:hold_a_lease", "k") as other:
            token = await other.hear()
            assert await store.acquire(["k"], lease=LEASE) == [HELD_ELSEWHERE]
            assert await store.invalidate(["k"]) == 0
            mine = await lease_of(store, "k")
            assert token != mine.token
            other.say("fill")
            assert await other.hear() == {"accepted": False}
            assert await fill(store, mine, b"mine")
            (counter,) = await store.bump(["c"])
            other.say("look")
            assert {"value": "mine", "counter": counter} == await other.hear()
            assert await store.get(["put"]) == [b"theirs"]

    @pytest.mark.asyncio
    async def test_no_process_sees_a_value_older_than_a_returned_invalidation(
        self, harness: Harness, tmp_path: Path
    ) -> None:
        """Two processes read through the cache while this one changes the source and invalidates."""
        place, store = await _shared(harness)
        files = tmp_path / "source"
        files.mkdir()
        _write(files / "version", 0)
        _write(files / "floor", 0)
        work = f"{__name__}:read_in_a_loop"
        async with (
            store,
            child(place, work, str(files)) as one,
            child(place, work, str(files)) as two,
        ):
            assert [await one.hear(), await two.hear()] == ["ready", "ready"]
            for version in range(1, _VERSIONS + 1):
                _write(files / "version", version)
                await store.invalidate(["k"])
                _write(files / "floor", version)
                await asyncio.sleep(0.005)
            (files / "done").touch()
            for told in (await one.hear(), await two.hear()):
                assert told["stale"] == []
                assert told["reads"] > 0
            assert int((await store.get(["k"]))[0] or _VERSIONS) == _VERSIONS


async def hold_a_lease(store: Cache, line: Line, key: str) -> None:
    """The other process of the first test."""
    lease: Lease = await lease_of(store, key)
    line.say(lease.token)
    line.hear()
    line.say({"accepted": await fill(store, lease, b"late")})
    line.hear()
    await store.put([item("put", b"theirs")])
    (value,), (counter,) = await store.get([key]), await store.counters(["c"])
    line.say({"value": (value or b"").decode(), "counter": counter})


async def read_in_a_loop(store: Cache, line: Line, folder: str) -> None:
    """The other processes of the second test."""
    files, stale, reads = Path(folder), [], 0
    line.say("ready")

    async def load() -> int:
        found = _read(files / "version")
        await asyncio.sleep(0.002)
        return found

    while not (files / "done").exists():
        floor = _read(files / "floor")
        found = await read_through(store, "k", load)
        reads += 1
        if found < floor:
            stale.append([found, floor])
    line.say({"stale": stale, "reads": reads})


async def _shared(harness: Harness) -> tuple[Harness, Cache]:
    place = harness.fresh()
    place.clock = ManualClock(datetime.now(UTC))
    store: Cache = await place.started()
    if not store.capabilities.guarantees.multi_process:
        await store.close()
        pytest.skip("not claimed: guarantees.multi_process")
    return place, store


def _write(file: Path, number: int) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(str(number))
    draft.replace(file)


def _read(file: Path) -> int:
    return int(file.read_text())
