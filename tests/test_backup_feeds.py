"""Positions: an increment goes on in the feed in which its parent ended, and in no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.service import Backups
from storycore.backup.sources import Reached, Sink, Source
from storycore.backup.sources.entities import EntitySource
from storycore.backup.sources.events import EventSource
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import Key, Put
from storycore.ports.environment import Environment
from storycore.ports.events import Event, EventPage, EventSink
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness

KEYS = Passphrase("correct horse", 10)
CLOCK = ManualClock(datetime(2026, 11, 1, 2, tzinfo=UTC))
ENV = Environment(clock=CLOCK)


@asynccontextmanager
async def log(adapter: str, path: Path) -> AsyncIterator[EventSink]:
    """An empty log."""
    path.mkdir(parents=True, exist_ok=True)
    harness = Harness(PortName.EVENTS, adapter, {"path": str(path / "events.db")} if adapter == "sqlite" else {}, path)
    harness.clock = CLOCK
    async with await harness.started() as sink:
        yield sink


@asynccontextmanager
async def entities(adapter: str, path: Path) -> AsyncIterator[EntitySource]:
    """An empty store."""
    path.mkdir(parents=True, exist_ok=True)
    options = {"path": str(path / "entities.db")} if adapter == "sqlite" else {}
    harness = Harness(PortName.ENTITIES, adapter, options, path)
    harness.clock = CLOCK
    for _ in range(ord(path.name)):  # its ids are counted, and those of two stores differ
        harness.env.new_id()
    async with await harness.started() as store:
        yield EntitySource(store, ENV)


@asynccontextmanager
async def no_scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    raise AssertionError("nothing here restores into a scratch store")
    yield ()


@pytest.fixture
async def blobs() -> AsyncIterator[BlobStore]:
    """Where the backups lie."""
    async with checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), ENV)) as store:
        yield store


def backups(blobs: BlobStore, *sources: Source) -> Backups:
    return Backups(Archive(blobs, KEYS, ENV), sources, ENV, store="s", scratch=no_scratch, max_share=1e9)


async def emit(sink: EventSink, *names: str) -> None:
    """Events, a second apart."""
    for name in names:
        CLOCK.advance(timedelta(seconds=1))
        await sink.emit([Event(id=name, type="t", at=CLOCK.now())])


async def digests(blobs: BlobStore, sink: EventSink) -> list[str]:
    """The digest of a log, as a full backup would have it, which is not kept."""
    ours = backups(blobs, EventSource(sink, ENV))
    made = (await ours.create(full=True)).manifest
    await Archive(blobs, KEYS, ENV).remove(made.id)
    return [made.ports["events"].digest]


async def held(blobs: BlobStore, tmp_path: Path) -> list[str]:
    """The ids of the events that the latest backup brings back."""
    async with log("memory", tmp_path / "target") as target:
        await backups(blobs, EventSource(target, ENV)).restore(mode="new")
        return [stored.event.id for stored in (await target.read()).events]


@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
async def test_a_log_that_was_made_anew_is_read_from_its_beginning(
    blobs: BlobStore, tmp_path: Path, adapter: str
) -> None:
    """Offsets of another log look like this one's, and nothing in front of them is left out."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(log(adapter, tmp_path / name)) for name in "ab"]
        await emit(first, "a1", "a2", "a3")
        await backups(blobs, EventSource(first, ENV)).create()
        await emit(second, "b1", "b2", "b3", "b4", "b5")
        made = await backups(blobs, EventSource(second, ENV)).create()
        assert [made.manifest.is_full, *await digests(blobs, second)] == [False, made.manifest.ports["events"].digest]
        assert await held(blobs, tmp_path) == ["b1", "b2", "b3", "b4", "b5"]


@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
async def test_a_log_is_followed(blobs: BlobStore, tmp_path: Path, adapter: str) -> None:
    """Increments over nothing, over new events and over an end that was trimmed hold what the log told."""
    async with log(adapter, tmp_path) as sink:
        ours = backups(blobs, EventSource(sink, ENV))
        made = [await ours.create(), await ours.create()]
        await emit(sink, "a", "b")
        made += [await ours.create(), await ours.create()]
        await emit(sink, "c")
        made.append(await ours.create())
        assert [each.manifest.is_full for each in made] == [True, False, False, False, False]
        assert await held(blobs, tmp_path) == ["a", "b", "c"]
        await sink.trim(CLOCK.now() + timedelta(days=1))
        await emit(sink, "d")
        assert not (await ours.create()).manifest.is_full
        assert await held(blobs, tmp_path) == ["d"]


@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
async def test_what_was_trimmed_is_in_no_later_backup(blobs: BlobStore, tmp_path: Path, adapter: str) -> None:
    """Wherever it stood in the log; an id that is used again brings its new event, and digests are the log's."""
    async with log(adapter, tmp_path) as sink:
        ours = backups(blobs, EventSource(sink, ENV))
        begun = CLOCK.now()
        await emit(sink, "a", "b", "c")
        CLOCK.advance(-timedelta(minutes=1))
        await emit(sink, "late")
        CLOCK.advance(timedelta(minutes=2))
        await emit(sink, "d")
        await ours.create()
        told = []
        cuts = (begun, begun + timedelta(seconds=2), CLOCK.now() + timedelta(milliseconds=1), begun)
        for before, names in zip(cuts, ("e", "", "a", "f"), strict=True):
            CLOCK.advance(timedelta(seconds=1))
            await sink.trim(before)
            await emit(sink, *names)
            made = (await ours.create()).manifest
            assert [made.is_full, *await digests(blobs, sink)] == [False, made.ports["events"].digest]
            told.append(await held(blobs, tmp_path))
        assert told == [["a", "b", "c", "d", "e"], ["b", "c", "d", "e"], ["e", "a"], ["e", "a", "f"]]


async def test_a_backup_that_does_not_say_where_its_log_began_is_compared_with_it(
    blobs: BlobStore, tmp_path: Path
) -> None:
    """Such were made before the beginning was noted; what was trimmed since is not in the next one either."""

    class Silent(EventSource):
        async def read(self, sink: Sink) -> Reached:
            return replace(await super().read(sink), facts={})

    async with log("memory", tmp_path) as sink:
        await emit(sink, "a", "b")
        await backups(blobs, Silent(sink, ENV)).create()
        await sink.trim(CLOCK.now())
        CLOCK.advance(timedelta(seconds=1))
        assert not (await backups(blobs, EventSource(sink, ENV)).create()).manifest.is_full
        assert await held(blobs, tmp_path) == ["b"]


async def test_a_plan_removes_nothing_from_a_log(blobs: BlobStore, tmp_path: Path) -> None:
    """For a restore takes nothing away from it in any mode, and the plan says what will be."""
    async with log("memory", tmp_path) as sink:
        ours = backups(blobs, EventSource(sink, ENV))
        await emit(sink, "a")
        await ours.create()
        await emit(sink, "b")
        plan = (await ours.plan_restore())["events"]
        assert (plan.unchanged, plan.removed) == ({"t": 1}, {})
        await ours.restore(mode="replace")
        assert [stored.event.id for stored in (await sink.read()).events] == ["a", "b"]


class Busy(Forward[EventSink]):
    """A log into which an event comes with every read."""

    reads = 0

    def __getattr__(self, name: str) -> Any:  # a verb of the port
        return self._read if name == "read" else getattr(self.inner, name)

    async def _read(self, *args: Any, **named: Any) -> EventPage:  # the port's own
        self.reads += 1
        assert self.reads < 20, "the reading has no end"
        await emit(self.inner, f"e{self.reads}")
        return await self.inner.read(*args, **named)


async def test_a_log_that_never_rests_is_read_to_its_end_as_it_was(blobs: BlobStore, tmp_path: Path) -> None:
    """What comes meanwhile is left to the next increment, which has it."""
    async with log("memory", tmp_path) as sink:
        busy = Busy(sink)
        ours = backups(blobs, EventSource(busy, ENV))
        await ours.create()
        last = (await ours.create()).manifest
        assert not last.is_full
        assert len(await held(blobs, tmp_path)) == last.items == busy.reads


@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
async def test_a_store_that_was_made_anew_is_read_as_a_whole(blobs: BlobStore, tmp_path: Path, adapter: str) -> None:
    """As after a disaster: restored into a new store, the next backup is a full one, and a recording has a gap."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(entities(adapter, tmp_path / name)) for name in "ab"]
        await first._store.write([Put(key=Key("p", "a"), kind="note", body=b"{}")])  # the port itself
        before = backups(blobs, first)
        await before.create()
        await before.record()
        after = backups(blobs, second)
        await after.restore(mode="new")
        CLOCK.advance(timedelta(hours=1))
        await second._store.write([Put(key=Key("p", "b"), kind="note", body=b"{}")])  # the port itself
        assert "made anew" in (await after.record()).gap
        made = await after.create()
        assert made.manifest.ports["entities"].items == 2


async def test_the_backup_of_a_new_store_says_why_it_is_full(blobs: BlobStore, tmp_path: Path) -> None:
    """An increment over another store's state is none."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(entities("memory", tmp_path / name)) for name in "ab"]
        await backups(blobs, first).create()
        made = await backups(blobs, second).create()
        assert made.manifest.is_full and "made anew" in made.reason
