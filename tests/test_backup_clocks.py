"""Clocks: what a writer with a wrong one stamps is restored at the moments at which it was there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.restoring import Mode, OnConflict
from storycore.backup.scratch import scratch_with
from storycore.backup.service import Backups
from storycore.backup.sources.entities import EntitySource
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import Delete, EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

START = datetime(2026, 11, 22, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("ahead", [timedelta(seconds=20), timedelta(hours=5), timedelta(days=400)])
async def test_what_a_clock_ahead_stamped_counts_from_when_it_was_recorded(ahead: timedelta) -> None:
    """At the latest a minute behind the recording, and not when that clock's moment has come."""
    writer, clock = ManualClock(START), ManualClock(START)
    env = Environment(clock=clock)
    records: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), Environment(clock=writer)))
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with records, blobs:
        archive = Archive(blobs, Passphrase("correct horse", 10), env)
        scratch = scratch_with(Plugins())
        backups = Backups(archive, [EntitySource(records, env)], env, store="s", scratch=scratch)

        async def write(body: bytes, *, skew: timedelta = timedelta()) -> None:
            for each in (writer, clock):
                each.advance(MINUTE)
            writer.advance(skew)
            await records.write([Put(key=Key("p", "n"), kind="note", body=body)])
            writer.advance(-skew)

        async def at(moment: datetime) -> list[bytes]:
            async with checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as target:
                await backups.restore(at=moment, into=[EntitySource(target, env)])
                return [record.body for record in (await target.scan(Segment(), limit=10)).records]

        await write(b"first")
        await backups.create()
        await write(b"ahead", skew=ahead)
        clock.advance(MINUTE)
        await backups.record()
        seen = clock.now()
        clock.advance(MINUTE)
        await backups.record()
        assert await at(seen - 2 * MINUTE) == [b"first"]
        assert await at(seen) == [b"ahead"]
        writer.advance(2 * MINUTE)
        await write(b"later")
        clock.advance(MINUTE)
        await backups.record()
        assert await at(clock.now() - timedelta(seconds=2)) == [b"later"]


@pytest.mark.parametrize(
    ("mode", "on_conflict", "left"),
    [
        ("merge", "fail", [b"newer"]),
        ("merge", "skip", [b"newer"]),
        ("merge", "overwrite", [b"newer"]),
        ("replace", "fail", []),
    ],
)
async def test_what_has_ended_since_goes_over_nothing(mode: Mode, on_conflict: OnConflict, left: list[bytes]) -> None:
    """A record of the backup whose time has come takes nobody's place, is in nobody's way, and in no plan."""
    clock = ManualClock(START)
    env = Environment(clock=clock)
    records: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with records, blobs:
        archive = Archive(blobs, Passphrase("correct horse", 10), env)
        backups = Backups(archive, [EntitySource(records, env)], env, store="s", scratch=scratch_with(Plugins()))
        for pk, ends in (("p", clock.now() + MINUTE), ('",null,{', clock.now() + MINUTE), ("other", None)):
            await records.write([Put(key=Key(pk, "n"), kind="note", body=b"old", expires_at=ends)])
        await backups.create()
        clock.advance(2 * MINUTE)
        newer = [Put(key=Key(pk, "n"), kind="note", body=b"newer") for pk in ("p", '",null,{')]
        await records.write([*newer, Delete(key=Key("other", "n"))])
        plan = (await backups.plan_restore())["entities"]
        assert (plan.added, plan.replaced, plan.removed) == ({"note": 1}, {}, {"note": 2})
        done = await backups.restore(mode=mode, on_conflict=on_conflict)
        found = [record.body for record in (await records.scan(Segment(), limit=10)).records]
        assert (sorted(found), done.written) == (sorted([*left, *left, b"old"]), {"entities": 1})
