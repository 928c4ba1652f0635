"""Edges of backups: pages that are exactly full, recordings that are older than a setting, and what is let go."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

import storycore
from storycore.app import Store
from storycore.backup.workspaces import workspace
from storycore.ports.conditions import ANY
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.events import Event, EventSink
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorItem
from storycore.story import User
from storycore.testing.clock import ManualClock

LONGEST_PAGE = 1000
"""No port is read in longer pages by a backup; 500 is the other length in use."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    async with storycore.open("memory", env=Environment(clock=clock)) as store:
        await store.init(warm_cache=False)
        yield store


async def fill(store: Store, count: int) -> None:
    """So many items in each port."""
    entities = cast(EntityStore, store.ports[PortName.ENTITIES])
    events = cast(EventSink, store.ports[PortName.EVENTS])
    keys = [f"{number:05}" for number in range(count)]
    for start in range(0, count, 25):
        part = keys[start : start + 25]
        await entities.write([Put(key=Key("p", key), kind="thing", body=b"{}") for key in part])
        await events.emit([Event(id=key, type="seen", at=store.env.clock.now()) for key in part])
        await store.vectors.upsert(
            [VectorItem(key, array("f", [1.0] * store.embedder.spec.dimension)) for key in part], namespace="n"
        )
        for key in part:
            await store.blobs.put(f"b/{key}", b"x", when=ANY)


@pytest.mark.parametrize("count", [LONGEST_PAGE, LONGEST_PAGE + 1])
async def test_a_page_that_is_exactly_full_is_not_the_last(store: Store, count: int) -> None:
    """A backup of so many items, and an increment that begins behind as many, hold all of every port."""
    await fill(store, count)
    made = (await store.backups.create()).manifest
    assert {port: content.items for port, content in made.ports.items()} == dict.fromkeys(made.ports, count)
    again = (await store.backups.create()).manifest
    assert (again.parent, again.items) == (made.id, made.items)
    assert (await store.backups.verify(level="restore")).is_whole


async def test_recordings_of_before_owners_had_keys_are_named(tmp_path: Path, clock: ManualClock) -> None:
    """An erasure reaches into neither the old backup nor the old recording, and says so of both."""
    env, told = Environment(clock=clock), dict[str, object]()
    (tmp_path / "blobs").mkdir()
    for owner_keys in (False, True):
        options = {"blobs": f"files:///{tmp_path}/blobs", "owner_keys": owner_keys}
        async with storycore.open("memory", dir=tmp_path, overrides={"backup": options}, env=env) as store:
            await store.init(warm_cache=False, enable_backups=True)
            series = (await store.backups.record()).series
            await store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
            clock.advance(60)
            await store.backups.record()
            told[series] = owner_keys
            if owner_keys:
                found = await store.backups.erase("ada", dry_run=True)
    old = next(series for series, owner_keys in told.items() if not owner_keys)
    assert {name.rpartition("/")[2] for name in found.unsealed} == {old}
    assert len(told) == 2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
async def test_a_workspace_lets_go_of_its_lock() -> None:
    """A program that verifies every day for a year has no more open files than on the first."""

    async def used() -> int:
        async with workspace("verify"):
            pass
        return len([*Path("/proc/self/fd").iterdir()])

    first = await used()
    assert [await used() for _ in range(5)] == [first] * 5


async def test_a_job_says_that_its_key_opens_no_earlier_backup(tmp_path: Path, clock: ManualClock) -> None:
    """A mistyped key makes a backup of its own, and the history of the job is where somebody learns of it."""
    (tmp_path / "blobs").mkdir()
    details = []
    for key in ("a", "b"):
        options = {"blobs": f"files:///{tmp_path}/blobs", "key_file": str(tmp_path / key)}
        env = Environment(clock=clock)
        async with storycore.open("memory", dir=tmp_path, overrides={"backup": options}, env=env) as store:
            await store.backups.provide_key(anew=True)
            await store.init(warm_cache=False, enable_backups=True)
            details.append((await store.jobs.run("backup.daily")).detail)
        clock.advance(3600)
    assert ["does not open" in detail for detail in details] == [False, True]
