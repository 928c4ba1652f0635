"""Backups of a table: the stream's lag is waited for, and seconds between two backups come back."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.making import make_backup
from storycore.backup.recorder import Recorder
from storycore.backup.recordings import Recordings
from storycore.backup.restoring import Selection, restore
from storycore.backup.sources.entities import EntitySource
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import Delete, EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness


async def test_moments_of_a_table_come_back(harness: Harness, tmp_path: Path) -> None:
    """A delete, which has the stream's time, and a key that comes again: each is restored as it was right after it."""
    spec, env = Plugins().adapter("dynamodb"), Environment()
    config = spec.config_for(PortName.ENTITIES).model_validate(harness.settings())
    store: EntityStore = checked(PortName.ENTITIES, spec.opener(PortName.ENTITIES)(config, env))
    await store.ensure()
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with store, blobs:
        source = EntitySource(store, env)
        archive = Archive(blobs, Passphrase("correct horse", 10), env)
        assert store.capabilities.limits["entities.changes_lag_ms"] == 20
        await store.write([Put(key=Key("p", "a"), kind="note", body=b"1")])
        base = await make_backup(archive, [source], kind="manual", store="s")
        model: list[tuple[datetime, dict[str, bytes]]] = []
        for write in (
            Delete(key=Key("p", "a")),
            Put(key=Key("p", "a"), kind="note", body=b"3"),
        ):
            await asyncio.sleep(1.05)  # the stream tells deletes by the second
            await store.write([write])
            model.append((env.clock.now(), await _state(store)))
        await asyncio.sleep(1.05)
        sealed = await Recorder(archive, source, env, store="s").seal_once()
        assert (sealed.changes, sealed.until > model[-1][0]) == (2, True)
        for number, (moment, expected) in enumerate(model):
            tail = await Recordings(archive, "s").tail(base, moment)
            then = Environment(clock=ManualClock(moment + timedelta(seconds=1)))
            made = Harness(PortName.ENTITIES, "memory", {}, tmp_path / str(number))
            async with await made.started() as target:
                await restore(archive, [base], [EntitySource(target, then)], Selection(), tail=tail)
                assert await _state(target) == expected


async def _state(store: EntityStore) -> dict[str, bytes]:
    page = await store.scan(Segment(), limit=100)
    return {record.key.sk: record.body for record in page.records}
