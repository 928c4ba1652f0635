"""Pruning removes nothing on which a backup builds: not one that comes to be meanwhile, nor one that does not open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest, sign_manifest
from storycore.backup.retention import Retention
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.backup.verifying import Level
from storycore.errors import AccessDenied, SchemaMismatch, Unavailable
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

KEYS = Passphrase("correct horse", 10)
ONLY_VERIFIED = Retention(last=0, daily=0, weekly=0, monthly=0)


@asynccontextmanager
async def no_scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    raise AssertionError("nothing here restores into a scratch store")
    yield ()


class Meddled(Forward[BlobStore]):
    """A blob store in which something happens before the next call of a verb whose first argument has a word in it."""

    def __init__(self, inner: BlobStore) -> None:
        super().__init__(inner)
        self.verb = self.word = ""
        self.happens: Callable[[], Awaitable[object]] | None = None
        self.told: Callable[[str], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:  # a verb of the port
        found = getattr(self.inner, name)
        return self._meddled(found) if name == self.verb else found

    def _meddled(self, verb: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(*args: Any, **named: Any) -> object:
            happens = self.happens
            if self.told is not None:
                await self.told(str(args[0]))
            if happens is not None and self.word in str(args[0]):
                self.happens = None
                await happens()
            return await verb(*args, **named)

        return call


class World:
    """A store and its backups."""

    def __init__(self, store: EntityStore, blobs: BlobStore, clock: ManualClock) -> None:
        self.store, self.blobs, self.clock = store, Meddled(blobs), clock
        self.env = Environment(clock=clock)
        self.backups = self.another()

    def another(self, clock: ManualClock | None = None) -> Backups:
        """The backups as another process has them, perhaps with a clock of its own."""
        env = self.env if clock is None else Environment(clock=clock)
        sources = [EntitySource(self.store, self.env)]
        archive = Archive(self.blobs, KEYS, env)
        return Backups(archive, sources, env, store="s", scratch=no_scratch, retention=ONLY_VERIFIED, max_share=1e9)

    async def made(self, *, full: bool = False) -> Manifest:
        """A backup, a day later and with something new."""
        self.clock.advance(timedelta(days=1))
        await self.store.write([Put(key=Key("p", f"{self.clock.now()}"), kind="note", body=b"{}")])
        return (await self.backups.create(full=full)).manifest

    async def is_whole(self) -> bool:
        """Whether all backups can be read to the end."""
        ids = [each.id for each in (await self.backups.list()).manifests]
        return all([(await self.backups.verify(id_)).is_whole for id_ in ids])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Where nothing has been backed up yet."""
    clock = ManualClock(datetime(2026, 11, 1, 2, tzinfo=UTC))
    env = Environment(clock=clock)
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with blobs, checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as store:
        yield World(store, blobs, clock)


async def test_an_increment_that_comes_to_be_meanwhile_keeps_its_parent(world: World) -> None:
    """Another process commits one after this one has looked at what there is."""
    await world.made()
    last = await world.made()
    world.blobs.verb, world.blobs.word = "get", f"{last.id}/verified.json"  # after all manifests were read
    world.blobs.happens = world.made
    await world.backups.prune()
    assert world.blobs.happens is None
    assert await world.is_whole()


async def test_a_backup_costs_no_more_where_there_are_many(world: World) -> None:
    """The newest one is found by what ids name, and not by reading every manifest."""
    for _ in range(40):
        newest = await world.made(full=True)
    read: list[str] = []

    async def note(key: str) -> None:
        read.append(key)

    world.blobs.verb, world.blobs.told = "get", note
    assert (await world.backups.plan_create())[0] == newest.id
    manifests = {key for key in read if "/manifests/" in key}
    assert len(manifests) <= 16


@pytest.mark.parametrize("count", [2, 3])
async def test_an_increment_that_comes_to_be_at_the_last_moment_keeps_its_parents(world: World, count: int) -> None:
    """Another process commits one after the last look at what there is, and before the manifests go."""
    made = [await world.made() for _ in range(count)]

    async def proved() -> None:
        await world.made()
        await world.another().verify()

    world.blobs.verb, world.blobs.word = "delete", f"manifests/{made[-1].id}"
    world.blobs.happens = proved
    await world.backups.prune()
    assert world.blobs.happens is None
    assert len((await world.backups.list()).manifests) == count + 1
    assert await world.is_whole()


async def test_a_full_backup_that_comes_to_be_at_the_last_moment_holds_nothing_back(world: World) -> None:
    """It builds on nothing, so what retention does not keep goes, with all that it consisted of."""
    made = [await world.made() for _ in range(3)]
    world.blobs.verb, world.blobs.word = "delete", f"manifests/{made[-1].id}"
    world.blobs.happens = lambda: world.made(full=True)
    await world.backups.prune()
    left = (await world.blobs.inner.entries("backups/")).blobs
    assert [each.key for each in left if any(gone.id in each.key for gone in made)] == []
    assert await world.is_whole()


async def test_an_increment_whose_parent_goes_is_none(world: World) -> None:
    """Between its last look at the parent and its manifest, another process removes the parent: it begins anew."""
    first = await world.made()
    world.blobs.verb, world.blobs.word = "put", "manifests/"
    world.blobs.happens = world.another().prune
    second = await world.made()
    assert second.is_full
    assert [each.id for each in (await world.backups.list()).manifests] == [second.id]
    assert first.id != second.id and await world.is_whole()


async def test_a_backup_that_does_not_open_keeps_its_parents(world: World) -> None:
    """For its key may come back, and then it needs them."""
    full, increment, last = await world.made(), await world.made(), await world.made(full=True)
    key = f"backups/{increment.id}/key.json"
    async with await world.blobs.get(key) as reader:
        data = await reader.read()
    await world.blobs.delete([key])
    await world.backups.verify(last.id)
    done = await world.backups.prune()
    assert (done.removed, list(done.unread)) == ([], [increment.id])
    await world.blobs.put(key, data, when=ANY)
    assert await world.is_whole()
    assert (await world.backups.show(full.id)).id == full.id


async def test_an_older_version_does_not_prune_what_a_newer_builds_on(world: World) -> None:
    """It does not know what that is; it says who does."""
    full, increment = await world.made(), await world.made()
    name, archive = f"backups/manifests/{increment.id}.json", Archive(world.blobs, KEYS, world.env)
    newer = sign_manifest(increment.model_copy(update={"format": 99}), await archive.key(increment.id))
    await world.blobs.put(name, newer, when=ANY)
    with pytest.raises(SchemaMismatch, match="newer version"):
        await world.backups.prune()
    assert [each.id for each in (await world.backups.list()).manifests] == [full.id]


async def test_what_cannot_be_reached_is_not_taken_for_damaged(world: World) -> None:
    """A blob store that fails for a moment leads to no full backup, and retention does not count without its answer."""
    await world.made()
    await world.made()

    async def fails() -> None:
        raise Unavailable("The blob store does not answer.")

    for doing in (world.backups.prune, world.made, world.backups.list):
        world.blobs.verb, world.blobs.word, world.blobs.happens = "get", "manifests/", fails
        with pytest.raises(Unavailable):
            await doing()
    assert not (await world.made()).is_full


async def test_a_backup_whose_remains_were_swept_does_not_come_to_be(world: World) -> None:
    """A machine whose clock is days ahead takes it for one that was never finished; the loss is told, and not kept."""
    ahead = ManualClock(world.clock.now() + timedelta(days=9))
    world.blobs.verb, world.blobs.word = "head", "key.json"  # the last look before the manifest
    world.blobs.happens = world.another(ahead).prune
    with pytest.raises(Unavailable, match="make it again"):
        await world.made()
    assert (await world.backups.list()).manifests == []
    assert (await world.made()).is_full


@pytest.mark.parametrize("level", ["manifest", "sample", "full", "restore"])
async def test_a_verification_that_cannot_read_finds_nothing_out(world: World, level: Level) -> None:
    """It is an error of the moment, and takes no proof away."""
    proved = await world.made()
    assert (await world.backups.verify()).is_whole

    async def fails() -> None:
        raise Unavailable("The blob store does not answer.")

    for verb, word in (("get", "manifests/"), ("head", "entities"), ("get", "entities")):
        world.blobs.verb, world.blobs.word, world.blobs.happens = verb, f"{word}", fails
        if level != "manifest" or word != "entities" or verb != "get":
            with pytest.raises(Unavailable):
                await world.backups.verify(proved.id, level=level)
    world.blobs.happens = None
    await world.made(full=True)
    assert (await world.backups.prune(dry_run=True)).kept[proved.id] == ("newest verified",)


@pytest.fixture
async def locking() -> AsyncIterator[World]:
    """The same, where blobs can be locked."""
    clock = ManualClock(datetime(2026, 11, 1, 2, tzinfo=UTC))
    env = Environment(clock=clock)
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(versions=True, lock=True), env))
    async with blobs, checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as store:
        yield World(store, blobs, clock)


@pytest.mark.parametrize("part", ["manifests/{id}.json", "{id}/entities.changes-0001"])
async def test_what_is_locked_stays_with_what_it_builds_on_until_the_lock_ends(locking: World, part: str) -> None:
    """And nothing else does: the retention says until when, also before it removes anything."""
    full, middle, last = await locking.made(), await locking.made(), await locking.made()
    until = locking.clock.now() + timedelta(days=3)
    await locking.blobs.inner.lock("backups/" + part.format(id=middle.id), until)
    told = {middle.id: (f"locked until {until:%Y-%m-%dT%H:%M:%SZ}",), full.id: (f"parent of {middle.id}",)}
    planned = await locking.backups.prune(dry_run=True)
    assert (planned.kept, planned.removed) == (told, [last.id])
    done = await locking.backups.prune()
    assert (done.kept, done.removed, done.refused) == (told, [last.id], {})
    assert (await locking.backups.verify(middle.id, level="manifest")).is_whole
    locking.clock.advance(timedelta(days=3, seconds=1))
    assert sorted((await locking.backups.prune()).removed) == sorted([middle.id, full.id])


async def test_what_may_not_be_removed_is_told_and_ends_nothing_else(world: World) -> None:
    """A policy, say, of which no look tells: what the backup builds on stays, the others go."""
    full, middle, last = await world.made(), await world.made(), await world.made()
    alone = await world.made(full=True)

    async def forbid(names: str) -> None:
        if f"manifests/{middle.id}" in names:
            raise AccessDenied("A policy of the bucket forbids it.")

    world.blobs.verb, world.blobs.told = "delete", forbid
    done = await world.backups.prune()
    assert (sorted(done.removed), done.refused) == (
        sorted([last.id, alone.id]),
        {middle.id: "A policy of the bucket forbids it."},
    )
    assert (await world.backups.verify(middle.id, level="manifest")).is_whole
    world.blobs.told = None
    assert sorted((await world.backups.prune()).removed) == sorted([middle.id, full.id])


async def test_objects_that_may_not_be_removed_go_when_they_may(world: World) -> None:
    """The backup is none any more; what is left of it is told with every prune until it goes."""
    first, second = await world.made(), await world.made(full=True)

    async def forbid(names: str) -> None:
        if f"{first.id}/entities" in names:
            raise AccessDenied("A policy of the bucket forbids it.")

    world.blobs.verb, world.blobs.told = "delete", forbid
    done = await world.backups.prune()
    assert (sorted(done.removed), list(done.refused)) == (sorted([first.id, second.id]), [first.id])
    world.clock.advance(timedelta(days=2))
    again = await world.backups.prune()
    assert (again.swept, list(again.refused)) == ([], [first.id])
    world.blobs.told = None
    assert (await world.backups.prune()).swept == [first.id]
    assert (await world.blobs.inner.entries("backups/")).blobs == []
