"""Any second behind a backup can be restored, and a gap in what was recorded is told when it appears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.recorder import Recorder, Sealed
from storycore.backup.retention import Retention
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.errors import Corrupt, FeedGap
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import Delete, EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness

KEYS = Passphrase("correct horse", 10)
SECOND = timedelta(seconds=1)
START = datetime(2026, 11, 22, 2, tzinfo=UTC)
State = dict[str, bytes]


@asynccontextmanager
async def opened(adapter: str, path: Path, clock: ManualClock, **options: object) -> AsyncIterator[EntityStore]:
    """An empty entity store that goes by ``clock``."""
    path.mkdir(parents=True, exist_ok=True)
    place = {"path": str(path / "entities.db")} if adapter == "sqlite" else {}
    harness = Harness(PortName.ENTITIES, adapter, {**place, **options}, path)
    harness.clock = clock
    async with await harness.started() as store:
        yield store


async def no_scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    raise AssertionError("nothing here restores into a scratch store")
    yield ()


class World:
    """A store, its backups and its recording."""

    def __init__(self, store: EntityStore, blobs: BlobStore, clock: ManualClock, path: Path) -> None:
        self.store, self.blobs, self.clock, self.path = store, blobs, clock, path
        self.env = Environment(clock=clock)
        self.backups = self.another()
        self._targets = 0

    def another(self, keys: Passphrase = KEYS, retention: Retention | None = None, store: str = "s") -> Backups:
        """Backups of the same store in the same place, as another process has them."""
        source = EntitySource(self.store, self.env)
        archive = Archive(self.blobs, keys, self.env)
        scratch = asynccontextmanager(no_scratch)
        return Backups(archive, [source], self.env, store=store, scratch=scratch, retention=retention)

    async def put(self, name: str, body: bytes = b"{}", ttl: int | None = None) -> None:
        expires = None if ttl is None else self.clock.now() + timedelta(seconds=ttl)
        await self.store.write([Put(key=Key("p", name), kind="note", body=body, expires_at=expires)])

    async def delete(self, name: str) -> None:
        await self.store.write([Delete(key=Key("p", name))])

    async def state(self) -> State:
        return await state_of(self.store)

    async def at(self, moment: datetime) -> State:
        """What a restore of a moment gives, into a store whose clock stands there."""
        self._targets += 1
        clock = ManualClock(moment)
        async with opened("memory", self.path / f"target{self._targets}", clock) as target:
            into = [EntitySource(target, Environment(clock=clock))]
            done = await self.backups.restore(at=moment, into=into)
            assert done.as_of == moment
            return await state_of(target)

    async def segments(self) -> list[str]:
        """The names of all segments."""
        page = await self.blobs.entries("backups/segments/")
        return [info.key for info in page.blobs if info.key[-12:].isdecimal()]


async def state_of(store: EntityStore) -> State:
    """All live records' bodies."""
    found: State = {}
    after = None
    while True:
        page = await store.scan(Segment(), after=after)
        found.update({record.key.sk: record.body for record in page.records})
        if (after := page.next) is None:
            return found


@asynccontextmanager
async def world_of(adapter: str, path: Path) -> AsyncIterator[World]:
    """A world that is closed in the end."""
    clock = ManualClock(START)
    async with AsyncExitStack() as stack:
        blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), Environment(clock=clock)))
        store = await stack.enter_async_context(opened(adapter, path / "source", clock))
        yield World(store, await stack.enter_async_context(blobs), clock, path)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of("memory", tmp_path) as made:
        yield made


HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "seal", "backup", "full", "expire", "restart"]),
        st.integers(0, 3),
        st.binary(max_size=3),
        st.none() | st.integers(1, 5),
        st.integers(0, 2),
    ),
    max_size=14,
)


@settings(max_examples=12, deadline=None)
@given(HISTORIES, st.sampled_from(["memory", "sqlite"]))
async def test_every_second_is_the_models(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[str, int, bytes, int | None, int]],
    adapter: str,
) -> None:
    """Over deletes, keys that come again, expiry, backups in between and recorders that are started anew."""
    async with world_of(adapter, tmp_path_factory.mktemp("history")) as world:
        await world.put("n0", b"first", ttl=4)
        await world.backups.create()
        await world.backups.record()
        model: dict[datetime, State] = {}

        async def wait(seconds: int) -> None:
            for _ in range(seconds):
                model[world.clock.now()] = await world.state()
                world.clock.advance(SECOND)

        for step, number, body, ttl, seconds in history:
            if step == "put":
                await world.put(f"n{number}", body, ttl)
            elif step == "delete":
                await world.delete(f"n{number}")
            elif step == "expire":
                await world.store.expire(world.clock.now())
            elif step == "restart":
                world.backups = world.another()
            elif step == "seal":
                await world.backups.record()
            else:
                await world.backups.create(full=step == "full")
            await wait(seconds)
        await wait(1)
        world.clock.advance(SECOND)
        sealed = await world.backups.record()
        assert (sealed.gap, sealed.until) == ("", world.clock.now() - SECOND)
        assert {moment: await world.at(moment) for moment in model} == model
        assert await world.backups.verify_recording() == []


async def test_what_was_not_recorded_yet_is_told(world: World) -> None:
    """A moment behind the recording gives the last one that is known, which the result and the plan tell."""
    await world.put("a")
    await world.backups.create()
    world.clock.advance(10)
    await world.put("b")
    world.clock.advance(10)
    sealed = await world.backups.record()
    await world.put("c")
    async with opened("memory", world.path / "target", world.clock) as target:
        into = [EntitySource(target, world.env)]
        later = world.clock.now() + timedelta(hours=1)
        plan = await world.backups.plan_restore(at=later, into=into)
        assert plan["entities"].added == {"note": 2}
        done = await world.backups.restore(at=later, into=into)
        assert (done.as_of, set(await state_of(target))) == (sealed.until, {"a", "b"})


async def test_recording_begins_with_a_backup(world: World) -> None:
    """Where there is none, the recorder says so, and ``record`` makes one; then nothing is written without a change."""
    with pytest.raises(FeedGap, match="make one first"):
        await world.backups.recorder().seal_once()
    sealed = await world.backups.record()
    assert (sealed.segments, sealed.series) == (0, (await world.backups.show("latest")).id)
    await world.put("a")
    assert [(await world.backups.record()).changes for _ in range(3)] == [1, 0, 0]
    assert len(await world.segments()) == 1


async def test_two_recorders_do_no_harm(world: World) -> None:
    """Whichever is faster, each change is in one segment, and every second is right."""
    await world.backups.create()
    recorders = [world.another().recorder() for _ in range(2)]
    for turn in range(6):
        await world.put(f"n{turn}")
        world.clock.advance(SECOND)
        await asyncio.gather(*(each.seal_once() for each in recorders))
        await recorders[turn % 2].seal_once()
    assert len(await world.segments()) == 6
    found = [set(await world.at(START + turn * SECOND)) for turn in range(5)]
    assert found == [{f"n{n}" for n in range(turn + 1)} for turn in range(5)]
    assert await world.backups.verify_recording() == []


async def test_a_long_recording_is_read_where_it_is_needed(world: World) -> None:
    """Of thirty segments a restore reads those behind its backup up to its moment; one missing there is named."""
    await world.backups.create()
    for turn in range(30):
        await world.put("n", b"%d" % turn)
        world.clock.advance(60)
        await world.backups.record()
        if turn == 9:
            await world.backups.create()
    names = await world.segments()
    await world.blobs.put(names[2], b"damaged", when=ANY)
    await world.blobs.put(names[25], b"damaged", when=ANY)
    half = timedelta(seconds=30)
    assert [await world.at(START + timedelta(minutes=n) + half) for n in (10, 15, 20)] == [
        {"n": b"%d" % n} for n in (10, 15, 20)
    ]
    await world.blobs.delete(names[13:14])
    with pytest.raises(Corrupt, match="Segment 14 "):
        await world.at(START + timedelta(minutes=20))
    problems = await world.backups.verify_recording()
    assert [f"Segment {n} of" in problem for n, problem in zip((3, 14, 26), problems, strict=True)] == [True] * 3


async def test_segments_of_bounded_size_follow_each_other(world: World) -> None:
    """A limit of one byte gives a segment for each page of the feed; bodies longer than a frame are whole."""
    await world.backups.create()
    recorder = Recorder(
        Archive(world.blobs, KEYS, world.env),
        EntitySource(world.store, world.env),
        world.env,
        store="s",
        segment_bytes=1,
    )
    for n in range(1001):
        await world.put(f"n{n:04d}", b"x" * 300_000 if n > 980 else b"x")
    world.clock.advance(2)
    sealed = await recorder.seal_once()
    assert (sealed.segments, sealed.changes) == (2, 1001)
    assert await world.at(START + SECOND) == await world.state()


async def test_a_gap_in_the_feed_makes_a_new_base(tmp_path: Path) -> None:
    """Trimmed changes are lost: the recorder refuses, ``record`` makes a backup and says what is lost."""
    async with world_of("memory", tmp_path) as world:
        await world.put("a")
        await world.backups.create()
        before = (await world.backups.record()).until
        await world.put("lost")
        world.clock.advance(timedelta(days=2))
        await world.store.expire(world.clock.now())
        await world.put("b")
        with pytest.raises(FeedGap, match="Make a backup"):
            await world.another().recorder().seal_once()
        told: list[Sealed] = []

        def stop(sealed: Sealed) -> None:
            told.append(sealed)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await world.another().recorder().run(renew=world.backups.create, told=stop)
        assert "Make a backup" in told[0].gap
        assert [each.as_of for each in (await world.backups.list()).manifests] == [world.clock.now(), START]
        world.clock.advance(5)
        await world.put("c")
        world.clock.advance(5)
        assert (await world.backups.record()).gap == ""
        assert set(await world.at(world.clock.now() - 2 * SECOND)) == {"a", "lost", "b", "c"}
        async with opened("memory", world.path / "between", world.clock) as target:
            between = await world.backups.restore(at=START + timedelta(hours=1), into=[EntitySource(target, world.env)])
        assert between.as_of == before


@pytest.mark.parametrize("damage", ["missing", "changed", "exchanged"])
async def test_a_lost_last_segment_is_a_gap(world: World, damage: str) -> None:
    """The next recorder finds it at once, and goes on behind a new backup; what was before can still be restored."""
    await world.backups.create()
    for n in range(3):
        await world.put(f"n{n}")
        world.clock.advance(20)
        await world.backups.record()
    names = await world.segments()
    if damage == "missing":
        await world.blobs.delete(names[-1:])
    elif damage == "changed":
        await world.blobs.put(names[-1], b"x" * 300, when=ANY)
    else:
        await world.blobs.copy(names[0], names[-1], when=ANY)
    with pytest.raises(FeedGap, match="Segment 3"):
        await world.another().recorder().seal_once()
    assert any("Segment 3" in each for each in await world.backups.verify_recording())
    sealed = await world.another().record()
    assert "Segment 3" in sealed.gap
    await world.put("after")
    world.clock.advance(20)
    await world.another().record()
    assert set(await world.at(world.clock.now() - 10 * SECOND)) == {"n0", "n1", "n2", "after"}
    with pytest.raises(Corrupt, match="Segment 3"):
        await world.at(START + 45 * SECOND)


async def test_a_rotated_key_opens_what_was_recorded(world: World) -> None:
    """Rotation is of the recordings too."""
    await world.backups.create()
    await world.put("a", b"1")
    world.clock.advance(5)
    await world.backups.record()
    new = Passphrase("battery staple", 10)
    await world.backups.rotate(new)
    world.backups = world.another(new)
    assert await world.at(START + SECOND) == {"a": b"1"}


async def test_pruning_drops_what_no_backup_needs(world: World) -> None:
    """What is left leads from the oldest backup that stays to every second behind it."""
    world.backups = world.another(retention=Retention(last=1, daily=0, weekly=0, monthly=0))
    await world.backups.create()
    for turn in range(12):
        await world.put("n", b"%d" % turn)
        world.clock.advance(60)
        await world.backups.record()
    await world.backups.create(full=True)
    for turn in range(12, 16):
        await world.put("n", b"%d" % turn)
        world.clock.advance(60)
        await world.backups.record()
    assert len(await world.segments()) == 16
    planned = await world.backups.prune(dry_run=True)
    assert len(await world.segments()) == 16
    done = await world.backups.prune()
    assert (planned.segments, done.segments, len(await world.segments())) == (12, 12, 4)
    for turn in range(12, 15):
        assert await world.at(START + timedelta(seconds=60 * turn + 30)) == {"n": b"%d" % turn}
    assert await world.backups.verify_recording() == []
    await world.put("n", b"on")
    assert (await world.another().record()).gap == ""


async def test_a_clock_that_went_ahead_hides_nothing(world: World) -> None:
    """What was recorded after it came back is restored, and nothing is promised that was not recorded."""
    await world.backups.create()
    expected: dict[datetime, State] = {}
    for number in range(12):
        world.clock.advance(10 * SECOND)
        await world.put(f"n{number}")
        world.clock.advance(10 * SECOND)
        ahead = timedelta(days=1) if number in (4, 5) else timedelta()
        world.clock.advance(ahead)
        await world.backups.record()
        world.clock.advance(-ahead)
        expected[world.clock.now() - 2 * SECOND] = await world.state()
    for moment, state in expected.items():
        assert await world.at(moment) == state
    async with opened("memory", world.path / "later", world.clock) as target:
        done = await world.backups.restore(
            at=world.clock.now() + timedelta(hours=1), into=[EntitySource(target, world.env)]
        )
    assert done.as_of <= world.clock.now()


async def test_recording_goes_on_behind_a_damaged_backup(world: World) -> None:
    """A newest backup that does not open is passed over: the one in front, or a new one, is the base."""
    await world.put("a")
    await world.backups.create()
    world.clock.advance(SECOND)
    damaged = (await world.backups.create(full=True)).manifest
    await world.blobs.put(f"backups/{damaged.id}/key.json", b"x", when=ANY)
    await world.put("b")
    assert (await world.backups.record()).series != damaged.id


async def test_stores_with_keys_of_their_own_share_a_place(world: World) -> None:
    """Another store's recording, which does not open, is in nobody's way."""
    other = world.another(Passphrase("another horse", 10), store="t")
    for ours in (world.backups, other):
        world.clock.advance(SECOND)
        await ours.create()
        await ours.record()
    world.clock.advance(5 * SECOND)
    await world.put("a")
    moment = world.clock.now()
    world.clock.advance(5 * SECOND)
    again = world.another()
    assert (await again.record()).gap == ""
    assert set(await world.at(moment)) == {"a"}
    assert (await again.prune()).removed == []
    assert await again.verify_recording() == []
    assert await other.verify_recording() == []


async def test_pruning_goes_past_a_damaged_recording(world: World) -> None:
    """It stays where it is and is named by a verification; the backups go."""
    first = (await world.backups.create()).manifest
    for name in "abc":
        await world.put(name)
        world.clock.advance(timedelta(minutes=5))
        await world.backups.record()
    await world.blobs.put(f"backups/segments/{first.id}/000000000001", b"x" * 50, when=ANY)
    await world.backups.create(full=True)
    last = world.another(retention=Retention(last=1, daily=0, weekly=0, monthly=0))
    assert (await last.prune()).removed == [first.id]
    assert "Segment 1" in (await last.verify_recording())[0]


@pytest.mark.parametrize("name", ["key.json", "tip.json", "000000000001"])
@pytest.mark.parametrize("damage", [None, b"x" * 50])
async def test_a_recording_goes_on_whatever_is_lost_of_it(world: World, name: str, damage: bytes | None) -> None:
    """With a gap that is told and a new backup where changes are lost; and it goes on behind that by itself."""
    first = (await world.backups.create()).manifest
    for key in "ab":
        world.clock.advance(5 * SECOND)
        await world.put(key)
        await world.backups.record()
    place = f"backups/segments/{first.id}/{name}"
    await world.blobs.delete([place])
    if damage is not None:
        await world.blobs.put(place, damage, when=ANY)
    world.clock.advance(5 * SECOND)
    await world.put("c")
    again = world.another()
    done = await again.record()
    assert (done.gap == "") == (name == "tip.json")
    world.clock.advance(5 * SECOND)
    await world.put("d")
    moment = world.clock.now()
    world.clock.advance(5 * SECOND)
    assert (await again.record()).gap == ""
    assert set(await world.at(moment)) == set("abcd")
