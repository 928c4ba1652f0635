"""Wherever a process ends, every backup that was committed can be restored, and doing it again completes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.retention import Retention
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.errors import Unavailable
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.faults import Fault, Faults, from_call

KEYS = Passphrase("correct horse", 10)
NEW = Passphrase("battery staple", 10)
START = datetime(2026, 11, 22, 2, tzinfo=UTC)
ONE = Retention(last=1, daily=0, weekly=0, monthly=0)
State = dict[str, bytes]
Doing = Callable[["World"], Awaitable[object]]


def opened(env: Environment) -> EntityStore:
    """An entity store in memory."""
    store: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    return store


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    then = Environment(clock=ManualClock(manifest.as_of))
    async with opened(then) as store:
        yield [EntitySource(store, then)]


class World:
    """A store with three backups, of which two are increments, with a recording, and with faults in the archive."""

    def __init__(self, store: EntityStore, blobs: BlobStore, clock: ManualClock) -> None:
        self.store, self.blobs, self.clock = store, blobs, clock
        self.env = Environment(clock=clock)
        self.faults = Faults(PortName.BLOBS, operations={"put", "delete", "copy"})
        self.states: dict[str, State] = {}
        self.moments: dict[datetime, State] = {}

    def backups(self, keys: Passphrase = KEYS, retention: Retention | None = None) -> Backups:
        """Over the faulty archive."""
        archive = Archive(self.faults.around(self.blobs), keys, self.env)
        source = EntitySource(self.store, self.env)
        return Backups(archive, [source], self.env, store="s", scratch=scratch, retention=retention)

    async def put(self, name: str, *, length: int = 0) -> None:
        await self.store.write([Put(key=Key("p", name), kind="note", body=name.encode().ljust(length))])

    async def back_up(self, *, full: bool = False) -> str:
        """A backup, and the state it holds."""
        made = (await self.backups().create(full=full)).manifest
        self.states[made.id] = await state_of(self.store)
        return made.id

    async def begin(self) -> None:
        """Three backups, one with a body of its own each, and changes recorded behind them."""
        for name in ("a", "b", "c"):
            await self.put(name)
            await self.back_up(full=name == "c")
            self.clock.advance(60)
            await self.backups().record()
            await self.put(name + "x")
            self.moments[self.clock.now()] = await state_of(self.store)
            self.clock.advance(60)
            await self.backups().record()

    async def require_all(self) -> None:
        """Every committed backup gives its state, and so does every moment behind the oldest."""
        listing = await self.backups().list()
        assert listing.damaged == {}
        assert await self.is_opened(KEYS)
        oldest = listing.manifests[-1].as_of
        for moment, state in self.moments.items():
            if moment > oldest:
                assert await self.restored(KEYS, None, moment) == state

    async def is_opened(self, keys: Passphrase) -> bool:
        """Whether every committed backup gives its state with this key."""
        found = {each.id: await self.restored(keys, each.id) for each in (await self.backups().list()).manifests}
        return all(state is not None and state == self.states.get(id_, state) for id_, state in found.items())

    async def restored(self, keys: Passphrase, id_: str | None, at: datetime | None = None) -> State | None:
        """What a backup gives; ``None``: this key does not open it."""
        then = Environment(clock=self.clock)
        async with opened(then) as target:
            into = [EntitySource(target, then)]
            backups = self.backups(keys)
            if id_ is not None and not (await backups.verify(id_, level="full")).is_whole:
                return None
            await backups.restore(id_ or "latest", at=at, into=into)
            return await state_of(target)


async def state_of(store: EntityStore) -> State:
    """All bodies."""
    page = await store.scan(Segment(), limit=1000)
    return {record.key.sk: record.body for record in page.records}


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """One that has begun."""
    clock = ManualClock(START)
    env = Environment(clock=clock)
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with opened(env) as store, blobs:
        made = World(store, blobs, clock)
        await made.begin()
        yield made


async def create(world: World) -> None:
    await world.backups().create()


async def create_full(world: World) -> None:
    await world.backups().create(full=True)


async def prune(world: World) -> None:
    await world.backups(retention=ONE).prune(older_than=timedelta(0))


async def seal(world: World) -> None:
    await world.backups().record()


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
@pytest.mark.parametrize("doing", [create, create_full, prune, seal], ids=lambda doing: doing.__name__)
async def test_every_write_and_removal_may_be_the_last(doing: Doing, fault: Fault) -> None:
    """What was committed stays whole, moments stay restorable, and the same again completes."""
    for calls in range(60):
        async with world() as made:
            await made.put("d")
            made.clock.advance(60)
            before = set(made.states)
            made.faults.plan(from_call(calls, fault))
            try:
                await doing(made)
            except Unavailable:
                made.faults.plan(())
            is_interrupted = bool(made.faults.injected)
            made.faults.plan(())
            await made.require_all()
            await doing(made)
            await made.require_all()
            left = {each.id for each in (await made.backups().list()).manifests}
            assert left == before if doing is seal else left - before or left < before
            if not is_interrupted:
                break
    assert calls >= {create: 2, create_full: 3, prune: 4, seal: 2}[doing]  # type: ignore[index]  # one of these


async def test_a_rotation_may_end_anywhere() -> None:
    """All backups open with the old key, or all with the new one; doing it again gives all of them the new one."""
    for calls in range(20):
        async with world() as made:
            made.faults.plan(from_call(calls, Fault.AFTER if calls % 2 else Fault.BEFORE))
            try:
                await made.backups().rotate(NEW)
            except Unavailable:
                made.faults.plan(())
                assert any([await made.is_opened(keys) for keys in (KEYS, NEW)])
                await made.backups().rotate(NEW)
                assert await made.is_opened(NEW) and not await made.is_opened(KEYS)
            else:
                break
    assert calls >= 4


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
async def test_a_restore_may_end_anywhere(fault: Fault) -> None:
    """At each write into the target; the same again completes it, of a backup and of a moment."""
    async with world() as made:
        for n in range(60):
            await made.put(f"n{n:02d}", length=320_000)  # a store gets 4 MiB at once
        made.clock.advance(60)
        await made.back_up()
        expected = await state_of(made.store)
        for calls in range(10):
            async with opened(made.env) as target:
                faults = Faults(PortName.ENTITIES, operations={"write"})
                into = [EntitySource(faults.around(target), made.env)]
                faults.plan(from_call(calls, fault))
                try:
                    await made.backups().restore(into=into)
                except Unavailable:
                    faults.plan(())
                    await made.backups().restore(into=into)
                assert await state_of(target) == expected
                if not faults.injected:
                    break
        assert calls >= 4
