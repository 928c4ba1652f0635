"""Where a trail lies and how it is read back: its own place, its key, its order, its bytes to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, TypeVar, cast

import pytest

import storycore
from storycore.audit.keys import FileKey, KeySource, SettledKey
from storycore.audit.places import Place
from storycore.audit.trail import AuditTrail
from storycore.errors import ConditionFailed, ConfigError, DeadlineExceeded, Effect, Unavailable
from storycore.hooks import hookimpl
from storycore.layers.around import Around, Interceptor, Operation
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import Story, User
from storycore.testing.clock import ManualClock

T = TypeVar("T")

KEY = SettledKey("6b" * 32)
LOCAL = {"embedder": "memory://", "vectors": "memory://"}


class Desk:
    """Blobs in memory that several writers of one trail share, and that are watched too."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.env = Environment(clock=self.clock)
        self.blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(lock=True), self.env))

    def trail(self, who: str = "test", *, source: KeySource = KEY, behind: Interceptor | None = None) -> AuditTrail:
        """One more writer."""
        blobs = self.blobs if behind is None else cast(BlobStore, Around(PortName.BLOBS, self.blobs, [behind]))
        return AuditTrail(Place(blobs, "audit/"), source, self.env, who=who, flush_seconds=60)

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


class Late:
    """A place that gives one put up, and does it when it is told to."""

    slot: ClassVar[int] = 1000

    def __init__(self, *, skipping: int) -> None:
        self.puts = -skipping
        self.waiting: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        self.puts += operation.name == "put"
        if operation.name == "put" and self.puts == 1:
            self.waiting = proceed
            raise Unavailable("The place does not answer.", effect=Effect.UNKNOWN)
        return await proceed()


class Pruning:
    """A place whose trail is pruned while something else reads it: before the read of so many objects."""

    slot: ClassVar[int] = 1000

    def __init__(self, desk: Desk, *, reads: int) -> None:
        self.desk = desk
        self.reads = -reads

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        self.reads += operation.name == "get"
        if operation.name == "get" and self.reads == 1:
            await self.desk.trail().prune(self.desk.clock.now() - timedelta(seconds=15))
        return await proceed()


class Held:
    """A layer that holds up every put of a blob until it is let."""

    slot: ClassVar[int] = 1000

    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        if operation.name == "put":
            await self.free.wait()
        return await proceed()

    @hookimpl
    def storycore_layers(self, port: PortName, adapter: str) -> list[Interceptor]:
        """This one, around blobs."""
        return [self] if port is PortName.BLOBS else []


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


@pytest.mark.parametrize("audit", [{}, {"durable": True}])
async def test_each_call_is_one_record_whatever_it_takes(audit: dict[str, object], tmp_path: Path) -> None:
    """What the cache answers is an access too; what is read on the way of a write, or fetched from blobs, is none."""
    overrides = {"audit": {"enabled": True, "key": "6b" * 32, "actor": "test", **audit}}
    async with storycore.open("memory", dir=tmp_path, overrides=overrides) as store:
        user = await store.users.save(User(email="ada@example.com", username="ada"))
        for _ in range(3):
            await store.users.get(user.user_id)
        story = await store.stories.save(Story(user_id=user.user_id, title="long", content="x" * 500_000))
        await store.stories.get(story.story_id)
        found = [(each.action, dict(each.kinds)) async for each in store.audit.records(action="entities")]
        assert [action for action, _ in found] == [
            "entities.write",
            *["entities.get"] * 3,
            "entities.write",
            "entities.get",
        ]
        assert found[1] == found[3] == ("entities.get", {"user": 1})
        assert [each async for each in store.audit.records(action="blobs")] == []


async def test_a_dry_run_is_no_access() -> None:
    """It gives out a number, as a look at counts does, and changes nothing."""
    overrides = {"audit": {"enabled": True, "key": "6b" * 32}}
    async with storycore.open("memory", overrides=overrides) as store:
        await store.maintain(dry_run=True)
        assert [each async for each in store.audit.records(action="entities.expire")] == []
        await store.maintain()
        assert len([each async for each in store.audit.records(action="entities.expire")]) == 1


async def test_a_durable_call_waits_for_its_record_no_longer_than_its_deadline(tmp_path: Path) -> None:
    """It was done by then, or not: nobody can say."""
    held = Held()
    overrides = {"audit": {"enabled": True, "key": "6b" * 32, "durable": True}}
    async with storycore.open("memory", dir=tmp_path, overrides=overrides, plugins=[held]) as store:
        asyncio.get_running_loop().call_later(5, held.free.set)  # so that a call that waits too long ends after all
        with pytest.raises(DeadlineExceeded) as caught:
            async with store.deadline(0.02):
                await store.users.save(User(email="ada@example.com", username="ada"))
        assert caught.value.effect is Effect.UNKNOWN
        held.free.set()


async def test_what_was_pruned_and_is_put_back_is_not_shown() -> None:
    """Nor is what a lock keeps for now."""
    desk = Desk()
    async with desk.blobs:
        trail = desk.trail()
        await desk.write(trail, "old")
        await trail.flush()
        name, data = await desk.only_batch()
        desk.clock.advance(10)
        await trail.prune(desk.clock.now())
        await desk.blobs.put(name, data, when=ANY)
        found = [each.action async for each in trail.records()]
        assert (found, (await trail.verify()).findings) == (["audit.pruned"], ())
        await trail.close()


@pytest.mark.parametrize("batches", [1, 3])
async def test_what_a_lock_keeps_goes_when_the_lock_ends(batches: int) -> None:
    """A prune tells what it may not remove; the trail verifies meanwhile, and nobody is shown it."""
    desk = Desk()
    async with desk.blobs:
        trail = desk.trail()
        await desk.write(trail, "old")
        await trail.flush()
        name, _ = await desk.only_batch()
        for _ in range(batches - 1):
            await desk.write(trail, "old")
            await trail.flush()
        await trail.close()
        await desk.blobs.lock(name, desk.clock.now() + timedelta(days=1))
        desk.clock.advance(10)
        keeper = desk.trail()
        done = await keeper.prune(desk.clock.now())
        assert (done.records, done.chains, list(done.refused)) == (1 + batches, 0, [name])
        assert "is locked until" in done.refused[name]
        assert ((await keeper.verify()).findings, [each.action async for each in keeper.records()]) == (
            (),
            ["audit.opened", "audit.pruned"],
        )
        desk.clock.advance(90_000)
        later = await keeper.prune(desk.clock.now() - timedelta(days=1))
        assert (later.records, later.chains, later.refused) == (2, 1, {})  # its own of that day
        left = [blob.key for blob in (await desk.blobs.entries("audit/chains/")).blobs]
        assert ((await keeper.verify()).findings, name in left) == ((), False)
        await keeper.close()


async def test_a_head_that_comes_late_replaces_no_newer_one() -> None:
    """A put that was given up may reach the place any time later; and whoever takes the head away stops no writer."""
    desk = Desk()
    async with desk.blobs:
        late = Late(skipping=2)  # the first head, and the batch
        trail = desk.trail(behind=late)
        await desk.write(trail, "one")
        with pytest.raises(Unavailable):
            await trail.flush()
        await desk.write(trail, "two")
        await trail.flush()
        assert late.waiting is not None
        with pytest.raises(ConditionFailed):
            await late.waiting()
        [head] = (await desk.blobs.entries("audit/heads/")).blobs
        await desk.blobs.delete([head.key])
        await desk.write(trail, "three")
        await trail.close()
        report = await desk.trail().verify()
        assert (report.findings, report.unclosed, report.records) == ((), (), 4)


@pytest.mark.parametrize("reads", range(9))
async def test_an_export_beside_a_prune_is_whole(reads: int, tmp_path: Path) -> None:
    """It begins anew when a prune takes away what it is about to read."""
    desk = Desk()
    async with desk.blobs:
        for _ in range(3):
            writer = desk.trail()
            await desk.write(writer, "old")
            await writer.close()
            desk.clock.advance(10)
        pruning = Pruning(desk, reads=reads)
        reader = desk.trail(behind=pruning)
        done = await reader.export(tmp_path / "trail.jsonl")
        assert (pruning.reads > 0, done.chains, done.records) == (True, 1, 2)
        report = await reader.verify_file(tmp_path / "trail.jsonl")
        assert (report.findings, report.records) == ((), 2)
