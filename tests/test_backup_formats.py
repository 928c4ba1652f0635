"""Backups that an earlier storycore made: they open, and restore to what they held."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import orjson

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.backup.sources.events import EventSource
from storycore.backup.verifying import Level
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.memory.events import open_events
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import EntityStore, FieldValue, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.events import EventSink
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

KEPT = Path(__file__).parent / "data" / "backups-1.json"
"""A full backup and two increments with their keys, blob by blob: made on 2026-11-01 by the first format's code."""
BEGUN = datetime(2026, 11, 1, 2, tzinfo=UTC)
KEYS = Passphrase("correct horse", 10)
FIELDS: Mapping[str, FieldValue] = {
    "n": 1,
    "big": 2**70,
    "exact": Decimal("1.10"),
    "tags": frozenset({"a", "b"}),
    "share": 0.5,
    "is_long": True,
}
LEVELS: Sequence[Level] = ("full", "restore")


def wanted(day: int) -> dict[str, Put]:
    """The records that were there on a day, by sort key."""
    notes = {f"n{n:02}": Put(key=Key("p", f"n{n:02}"), kind="note", body=b"first %d" % n) for n in range(20)}
    notes["rich"] = Put(
        key=Key("é/1", "rich"), kind="rich", body=b"\x00\xff", fields=FIELDS, index_keys={1: Key("by", "x")}
    )
    notes["ends"] = Put(key=Key("p", "ends"), kind="note", expires_at=BEGUN + timedelta(days=400))
    if day >= 1:
        notes["n01"] = Put(key=Key("p", "n01"), kind="note", body=b"second")
        del notes["n02"], notes["ends"]
    if day >= 2:
        notes["n02"] = Put(key=Key("p", "n02"), kind="note", body=b"again")
    return notes


@asynccontextmanager
async def ports(env: Environment) -> AsyncIterator[tuple[EntityStore, EventSink]]:
    """An empty store of two ports."""
    entities: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    events: EventSink = checked(PortName.EVENTS, open_events(MemoryConfig(), env))
    async with entities, events:
        yield entities, events


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    env = Environment(clock=ManualClock(manifest.as_of))
    async with ports(env) as (entities, events):
        yield [EntitySource(entities, env), EventSource(events, env)]


@asynccontextmanager
async def kept(env: Environment) -> AsyncIterator[BlobStore]:
    """A blob store with the kept backups in it."""
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with blobs:
        for name, content in orjson.loads(KEPT.read_bytes()).items():
            await blobs.put(name, base64.b64decode(content), when=ABSENT)
        yield blobs


async def state(store: EntityStore) -> dict[str, Put]:
    """What a store holds, by sort key."""
    page = await store.scan(Segment(), limit=1000)
    return {
        each.key.sk: Put(
            key=each.key,
            kind=each.kind,
            fields=each.fields,
            index_keys=each.index_keys,
            body=each.body,
            expires_at=each.expires_at,
        )
        for each in page.records
    }


async def test_backups_of_the_first_format_restore_to_what_they_held() -> None:
    """Each of the three verifies on every level, and gives the records and events of its day."""
    env = Environment(clock=ManualClock(BEGUN + timedelta(days=3)))
    async with kept(env) as blobs:
        backups = Backups(Archive(blobs, KEYS, env), [], env, store="s", scratch=scratch)
        made = sorted((await backups.list()).manifests, key=lambda each: each.as_of)
        for day, manifest in enumerate(made):
            for level in LEVELS:
                found = await backups.verify(manifest.id, level=level)
                assert found.problems == ()
            async with ports(env) as (entities, events):
                await backups.restore(manifest.id, into=[EntitySource(entities, env), EventSource(events, env)])
                assert await state(entities) == wanted(day)
                told = [each.event.id for each in (await events.read()).events]
                assert told == [f"e{n}" for n in range(day + 1)]
        assert len(made) == 3
