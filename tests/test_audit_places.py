"""Where a trail lies and how it is read back: its own place, its key, its order, its bytes to the last."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

import storycore
from storycore.audit.keys import FileKey, KeySource, SettledKey
from storycore.audit.places import Place
from storycore.audit.trail import AuditTrail
from storycore.errors import ConfigError
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

KEY = SettledKey("6b" * 32)
LOCAL = {"embedder": "memory://", "vectors": "memory://"}


class Desk:
    """Blobs in memory that several writers of one trail share, and that are watched too."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.env = Environment(clock=self.clock)
        self.blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), self.env))

    def trail(self, who: str = "test", *, source: KeySource = KEY) -> AuditTrail:
        """One more writer."""
        return AuditTrail(Place(self.blobs, "audit/"), source, self.env, who=who, flush_seconds=60)

    def things(self, trail: AuditTrail) -> BlobStore:
        """The blobs as a writer's program uses them."""
        return cast(BlobStore, trail.watched(PortName.BLOBS, self.blobs))

    async def write(self, trail: AuditTrail, *names: str) -> None:
        """One access each."""
        for name in names:
            await self.things(trail).put(f"things/{name}", b"", when=ANY)

    async def only_batch(self) -> tuple[str, bytes]:
        """The one batch there is."""
        [blob] = (await self.blobs.entries("audit/chains/")).blobs
        async with await self.blobs.get(blob.key) as reader:
            return blob.key, await reader.read()


async def test_a_place_of_its_own_is_made_by_init(tmp_path: Path) -> None:
    """A folder that is not there yet; the store's own blobs hold nothing of the trail."""
    audit = {"enabled": True, "blobs": "files:///{dir}/trail"}
    async with storycore.open("local", dir=tmp_path, overrides={**LOCAL, "audit": audit}) as store:
        made = (await store.init()).actions["audit"]
        assert (str(tmp_path / "trail") in made[0], "audit.key" in made[-1]) == (True, True)
        assert list((await store.init()).actions["audit"]) == []
        await store.blobs.put("a", b"", when=ANY)
        assert (await store.audit.verify()).is_whole
        assert (await store.blobs.entries("audit/")).blobs == []
    assert any((tmp_path / "trail").rglob("*"))


async def test_an_export_is_never_verified_with_a_key_that_is_made_for_it(tmp_path: Path) -> None:
    """Where the trail itself is not at hand, a missing key is brought, not made."""
    desk = Desk()
    async with desk.blobs:
        trail = desk.trail()
        await desk.write(trail, "a")
        await trail.export(tmp_path / "trail.jsonl")
        await trail.close()
    elsewhere = Desk()
    async with elsewhere.blobs:
        with pytest.raises(ConfigError, match="bring it back"):
            await elsewhere.trail(source=FileKey(tmp_path / "audit.key")).verify_file(tmp_path / "trail.jsonl")
        (tmp_path / "audit.key").write_text("6b" * 32)
        report = await elsewhere.trail(source=FileKey(tmp_path / "audit.key")).verify_file(tmp_path / "trail.jsonl")
        assert report.is_whole


async def test_a_batch_that_lost_its_last_byte_is_found() -> None:
    """Though that is but the end of its last line."""
    desk = Desk()
    async with desk.blobs:
        trail = desk.trail()
        await desk.write(trail, "a", "b")
        await trail.close()
        name, data = await desk.only_batch()
        for shorter in (data[:-1], data[:-2], data[: data.index(b"\n")]):
            await desk.blobs.put(name, shorter, when=ANY)
            assert not (await desk.trail().verify()).is_whole
        await desk.blobs.put(name, data, when=ANY)
        assert (await desk.trail().verify()).is_whole


async def test_records_come_by_their_moments_whichever_writer_stored_them_first() -> None:
    """Three writers take turns, and store what they hold long afterwards, the last one first."""
    desk = Desk()
    async with desk.blobs:
        trails = [desk.trail(f"writer {number}") for number in range(3)]
        for turn in range(9):
            desk.clock.advance(0.3)
            await desk.write(trails[turn % 3], str(turn))
        desk.clock.advance(5)
        for trail in trails[::-1]:
            await trail.close()
        reader, end = desk.trail(), desk.clock.now()
        found = [each.actor async for each in reader.records(action="blobs.put")]
        assert found == [f"writer {turn % 3}" for turn in range(9)]
        late = [each async for each in reader.records(since=end - timedelta(seconds=5.5), action="blobs.put")]
        assert [each.actor for each in late] == ["writer 1", "writer 2"]
        early = [each async for each in reader.records(until=end - timedelta(seconds=7), action="blobs.put")]
        assert [each.actor for each in early] == ["writer 0", "writer 1"]


async def test_a_clock_that_is_set_back_hides_no_record() -> None:
    """Neither from who asks for a span of time, nor from the one who prunes."""
    desk = Desk()
    async with desk.blobs:
        trail = desk.trail()
        await desk.write(trail, "early")
        desk.clock.advance(3600)
        moment = desk.clock.now()
        await desk.write(trail, "late")
        desk.clock.advance(-1800)
        await desk.write(trail, "back")
        await trail.close()
        reader = desk.trail()
        assert len([each async for each in reader.records(since=moment)]) == 1
        assert (await reader.prune(moment)).records == 0
        assert (await reader.verify()).findings == ()
