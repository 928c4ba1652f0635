"""Planted things: who can write where backups lie, and has no key, reaches no more than by deleting."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.retention import Retention
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.errors import AccessDenied, StorycoreError
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import Delete, EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

KEYS = Passphrase("correct horse", 10)
FUTURE, PAST = "daily_20990101_020000_abcdef", "daily_20261122_020001_abcdef"
KEEP_ONE = Retention(last=1, daily=0, weekly=0, monthly=0)
SECOND = timedelta(seconds=1)


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    env = Environment(clock=ManualClock(manifest.as_of))
    async with checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as records:
        yield [EntitySource(records, env)]


class World:
    """A store with backups and a recording, and somebody who can write there."""

    def __init__(self, records: EntityStore, blobs: BlobStore, clock: ManualClock) -> None:
        self.records, self.blobs, self.clock = records, blobs, clock
        self.env = Environment(clock=clock)
        self.backups = self.another()

    def another(self, keys: Passphrase = KEYS) -> Backups:
        """As another process."""
        sources = [EntitySource(self.records, self.env)]
        archive = Archive(self.blobs, keys, self.env)
        return Backups(
            archive,
            sources,
            self.env,
            store="s",
            scratch=scratch,
            retention=KEEP_ONE,
            owner_of=owner_of,
            max_share=99.0,
        )

    async def write(self, name: str, user: str = "") -> None:
        self.clock.advance(2)
        fields = {"user_id": user} if user else {}
        await self.records.write([Put(key=Key("p", name), kind="note", body=name.encode(), fields=fields)])

    async def made(self) -> Manifest:
        self.clock.advance(2)
        return (await self.backups.create()).manifest

    async def recorded(self) -> str:
        """By another process; the gap."""
        self.clock.advance(2)
        return (await self.another().record()).gap

    async def plant(self, id_: str, manifest: bytes | None = None, key: bytes = b"", *, as_of: str = "") -> None:
        """A manifest like the newest, and a folder of recordings."""
        if manifest is None:
            newest = (await self.backups.list()).manifests[0]
            like = newest.model_dump(mode="json") | {"id": id_, "parent": None}
            like |= {"as_of": as_of} if as_of else {}
            manifest = orjson.dumps({"format": 1, "manifest": like, "seal": "0" * 64})
        await self.blobs.put(f"backups/manifests/{id_}.json", manifest, when=ANY)
        await self.blobs.put(f"backups/segments/{id_}/000000000001", b"x" * 99, when=ANY)
        for place in (id_, f"segments/{id_}") if key else ():
            await self.blobs.put(f"backups/{place}/key.json", key, when=ANY)

    async def at(self, moment: datetime) -> set[str]:
        """What there was."""
        env = Environment(clock=ManualClock(moment))
        async with checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as records:
            done = await self.another().restore(at=moment, into=[EntitySource(records, env)])
            assert done.as_of == moment
            return {record.key.sk for record in (await records.scan(Segment(), limit=100)).records}


def foreign_key(log_n: int = 10) -> bytes:
    """A sealed key that nobody here can open."""
    wrapped = base64.b64encode(bytes([log_n]) + b"s" * 60).decode()
    return orjson.dumps({"sealed": [{"provider": "passphrase", "wrapped": wrapped}]})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))
    env = Environment(clock=clock)
    records: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with records, blobs:
        yield World(records, blobs, clock)


PLANTED = pytest.mark.parametrize("key", [b"", b"x", foreign_key()], ids=["no key", "no key's bytes", "another's key"])


@PLANTED
async def test_a_planted_manifest_is_never_the_latest(world: World, key: bytes) -> None:
    """What is shown, verified and restored as the latest bears its seal; what was left out is named."""
    await world.write("a")
    true = await world.made()
    await world.plant(FUTURE, key=key, as_of="2099-01-01T02:00:00Z")
    assert (await world.backups.show()).id == true.id
    assert (await world.backups.verify(level="restore")).backup == true.id
    done = await world.backups.restore(mode="replace")
    assert (done.backup, [FUTURE in each for each in done.notices]) == (true.id, [True])
    assert (await world.backups.reached(at=world.clock.now()))[0] == true.id


@PLANTED
async def test_a_planted_manifest_makes_no_backup_full(world: World, key: bytes) -> None:
    """Increments go on, the clock is not taken for one that went back, and the planted one is told as a notice."""
    await world.write("a")
    true = await world.made()
    await world.plant(FUTURE, key=key, as_of="2099-01-01T02:00:00Z")
    await world.write("b")
    created = await world.backups.create()
    assert (created.manifest.parent, created.reason) == (true.id, "")
    assert any(FUTURE in each for each in created.notices)


@PLANTED
@pytest.mark.parametrize("id_", [FUTURE, PAST], ids=["future", "past"])
async def test_a_planted_recording_is_in_nobodys_way(world: World, key: bytes, id_: str) -> None:
    """The true one goes on without a gap and without a new full backup, and every moment of it can be restored."""
    await world.write("a")
    await world.made()
    assert await world.recorded() == ""
    await world.plant(id_, key=key)
    moments = {}
    for name in ("b", "c"):
        await world.write(name)
        moments[world.clock.now()] = {"a", "b"} | {name}
        world.clock.advance(5)
        assert await world.recorded() == ""
    for moment, names in moments.items():
        assert await world.at(moment) == names
    assert len((await world.backups.list()).manifests) == 2  # the true one, and what was planted
    assert any(id_ in problem for problem in await world.backups.verify_recording())


@PLANTED
async def test_a_planted_recording_keeps_prune_from_nothing(world: World, key: bytes) -> None:
    """What nobody needs goes, the true recording stays, and so does the newest backup."""
    await world.write("a")
    await world.made()
    await world.recorded()
    await world.plant(FUTURE, key=key)
    world.clock.advance(90_000)
    await world.write("b")
    last = (await world.backups.create(full=True)).manifest
    await world.recorded()
    done = await world.another().prune()
    assert (list(done.kept), list(done.unread)) == ([last.id], [FUTURE])
    await world.write("c")
    assert await world.recorded() == ""


async def test_a_segment_planted_in_a_true_recording_costs_what_a_deleted_one_does(world: World) -> None:
    """The gap is told once, and a full backup ends it; what was recorded before comes back when it is taken away."""
    await world.write("a")
    made = await world.made()
    await world.write("b")
    moment = world.clock.now()
    assert await world.recorded() == ""
    await world.write("c")
    await world.blobs.put(f"backups/segments/{made.id}/000000000002", b"x" * 99, when=ANY)
    assert "damaged" in await world.recorded()
    await world.write("d")
    later = world.clock.now()
    world.clock.advance(5)
    assert await world.recorded() == ""
    assert await world.at(later) == {"a", "b", "c", "d"}
    assert len((await world.backups.list()).manifests) == 2
    await world.blobs.delete([f"backups/segments/{made.id}/000000000002"])
    assert await world.at(moment - SECOND) == {"a"}


async def test_what_only_claims_to_be_of_a_newer_version_stops_no_prune(world: World) -> None:
    """Neither under a name of its own, nor in the place of a true manifest."""
    await world.write("a")
    first, second = await world.made(), (await world.backups.create(full=True)).manifest
    async with await world.blobs.get(f"backups/manifests/{first.id}.json") as reader:
        true = await reader.read()
    await world.plant(FUTURE, b'{"format":99,"manifest":{},"seal":""}', foreign_key())
    await world.plant(first.id, true.replace(b'{"format":1', b'{"format":99', 1))
    assert list((await world.backups.prune()).kept) == [second.id]


async def test_a_planted_key_does_not_fill_the_memory(world: World) -> None:
    """What asks scrypt for more than anybody here ever did is not even tried."""
    await world.write("a")
    true = await world.made()
    await world.plant(FUTURE, key=foreign_key(log_n=22), as_of="2099-01-01T02:00:00Z")
    with pytest.raises(AccessDenied, match="cost of 22"):
        await world.backups.show(FUTURE)
    assert (await world.backups.show()).id == true.id


async def test_a_planted_proof_proves_nothing(world: World) -> None:
    """What was read to its end says so under the seals of the backup and of the note."""
    await world.write("a")
    true = await world.made()
    await world.plant(FUTURE, key=foreign_key(), as_of="2099-01-01T02:00:00Z")
    forged = b'{"found":{"level":"full","problems":[]},"seal":"0"}'
    for id_ in (FUTURE, true.id):
        await world.blobs.put(f"backups/{id_}/verified.json", forged, when=ANY)
    assert await world.backups.proven() is None
    await world.backups.verify(true.id)
    assert await world.backups.proven() == true


async def test_a_wrong_key_is_told_however_much_was_planted(world: World) -> None:
    """With it nothing opens, and nobody takes that for planted things."""
    await world.write("a")
    await world.made()
    await world.recorded()
    await world.plant(FUTURE, key=foreign_key(), as_of="2099-01-01T02:00:00Z")
    wrong = world.another(Passphrase("wrong horse", 10))
    for doing in (wrong.show, wrong.restore, wrong.prune, wrong.record):
        with pytest.raises(AccessDenied):
            await doing()
    with pytest.raises(AccessDenied):
        await wrong.restore(at=world.clock.now())


async def test_a_lost_recording_brings_no_erased_user_back(world: World) -> None:
    """An older one is not gone on with where its feed tells of somebody who was erased since: the next is full."""
    await world.write("a")
    await world.made()
    await world.recorded()
    await world.write("secret", "ada")
    lost = (await world.backups.create(full=True)).manifest
    await world.plant(lost.id, key=b"x")
    await world.records.write([Delete(key=Key("p", "secret"))])
    await world.backups.erase("ada")
    world.clock.advance(2)
    done = await world.another().record()
    assert "erased" in done.gap
    assert "secret" not in await world.at(done.until)


async def test_a_planted_backup_is_named_by_an_erasure(world: World) -> None:
    """It is among what could not be looked into, and not among what holds users without keys."""
    await world.write("a", "ada")
    await world.made()
    await world.plant(FUTURE, key=foreign_key())
    told = await world.backups.erase("ada")
    assert (told.unsealed, FUTURE in told.unread) == ((), True)


async def test_a_seal_of_another_backup_is_none(world: World) -> None:
    """A true manifest with another id, under the true key moved along, opens as nothing."""
    await world.write("a")
    true = await world.made()
    for name in (f"manifests/{true.id}.json", f"{true.id}/key.json"):
        to = name.replace(true.id, FUTURE)
        await world.blobs.copy(f"backups/{name}", f"backups/{to}", when=ANY)
    with pytest.raises(StorycoreError):
        await world.backups.show(FUTURE)
    assert (await world.backups.show()).id == true.id
