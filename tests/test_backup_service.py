"""Backups of a store: increments where they are worth it, verified by a restore, pruned without breaking a chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.restoring import Selection
from storycore.backup.retention import Retention
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.backup.sources.events import EventSource
from storycore.errors import AccessDenied, InvalidArgument, NotFound
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.memory.events import open_events
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.events import Event, EventSink
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

KEYS = Passphrase("correct horse", 10)


@asynccontextmanager
async def ports(env: Environment) -> AsyncIterator[list[Source]]:
    """An empty store of two ports."""
    entities: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    events: EventSink = checked(PortName.EVENTS, open_events(MemoryConfig(), env))
    async with entities, events:
        yield [EntitySource(entities, env), EventSource(events, env)]


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    async with ports(Environment(clock=ManualClock(manifest.as_of))) as opened:
        yield opened


class World:
    """A store, its backups, and a clock."""

    def __init__(self, blobs: BlobStore, sources: list[Source], clock: ManualClock, env: Environment) -> None:
        self.blobs, self.sources, self.clock, self.env = blobs, sources, clock, env
        self.entities: EntityStore = sources[0]._store  # type: ignore[attr-defined]  # the port itself
        self.events: EventSink = sources[1]._sink  # type: ignore[attr-defined]  # the port itself
        self.backups = self.with_keys(KEYS)

    def with_keys(self, keys: Passphrase, **settings: object) -> Backups:
        archive = Archive(self.blobs, keys, self.env)
        return Backups(archive, self.sources, self.env, store="s", scratch=scratch, **settings)  # type: ignore[arg-type]

    async def write(self, name: str, body: bytes = b"{}") -> None:
        self.clock.advance(timedelta(seconds=1))
        await self.entities.write([Put(key=Key("p", name), kind="note", body=body * 40)])
        await self.events.emit([Event(id=f"e{name}", type="note.written", at=self.clock.now())])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = ManualClock(datetime(2026, 11, 1, 2, tzinfo=UTC))
    env = Environment(clock=clock)
    async with AsyncExitStack() as stack:
        blobs: BlobStore = await stack.enter_async_context(checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env)))
        yield World(blobs, await stack.enter_async_context(ports(env)), clock, env)


async def test_the_first_is_full_and_the_next_are_increments(world: World) -> None:
    """Until the chain is long or its increments are large; weekly ones are full, and each says why."""
    backups = world.with_keys(KEYS, max_chain=2, max_share=10.0)
    made = []
    for n in range(5):
        await world.write(f"n{n}")
        made.append(await backups.create("daily"))
        world.clock.advance(timedelta(days=1))
    assert [each.manifest.is_full for each in made] == [True, False, False, True, False]
    assert [made[0].manifest.id, made[1].manifest.id] == [each.manifest.parent for each in made[1:3]]
    assert (made[0].reason, made[1].reason) == ("it is the first one", "")
    assert "2 increments" in made[3].reason
    assert (await backups.create("weekly")).manifest.is_full
    assert (await backups.create("manual", full=True)).manifest.is_full
    with pytest.raises(InvalidArgument):
        await backups.create("hourly")  # type: ignore[arg-type]  # what is refused


async def test_a_damaged_parent_leads_to_a_full_backup(world: World) -> None:
    """The loss is told, and the new backup does not build on it."""
    await world.write("a")
    first = (await world.backups.create()).manifest
    await world.blobs.delete([f"backups/{first.id}/entities-0001"])
    second = await world.backups.create()
    assert second.manifest.is_full
    assert "entities-0001" in second.reason and first.id in second.reason


async def test_a_verification_restores_and_compares(world: World) -> None:
    """All levels pass on a whole chain; on a damaged one the report goes on to its end and names each object."""
    await world.write("a")
    await world.backups.create()
    await world.write("b")
    last = (await world.backups.create()).manifest
    for level in ("manifest", "sample", "full", "restore"):
        found = await world.backups.verify(level=level)  # type: ignore[arg-type]  # a level
        assert (found.problems, found.backup, found.objects > 3) == ((), last.id, True)
    told: list[tuple[str, int]] = []
    found = await world.backups.verify(level="restore", progress=lambda what, done: told.append((what, done)))
    assert [done for what, done in told if what == "read"][-1] == found.entries
    assert dict(told)["entities restored"] == last.ports["entities"].items
    for name in ("entities.changes-0001", "events.changes-0001"):
        await world.blobs.put(f"backups/{last.id}/{name}", b"x" * 40, when=ANY)
    found = await world.backups.verify(level="full")
    assert not found.is_whole
    assert [any(name in problem for problem in found.problems) for name in ("entities.changes", "events.changes")]
    assert all(last.id in problem for problem in found.problems)


async def test_a_moment_is_the_newest_backup_before_it(world: World) -> None:
    """``at`` takes a state not after the moment; the plan says what it would do."""
    moments = []
    for name in "abc":
        await world.write(name)
        moments.append((await world.backups.create()).manifest.as_of)
        world.clock.advance(timedelta(hours=1))
    async with ports(world.env) as target:
        plan = await world.backups.plan_restore(at=moments[1] + timedelta(minutes=1), into=target)
        assert (plan["entities"].added, plan["events"].added) == ({"note": 2}, {"note.written": 2})
        done = await world.backups.restore(at=moments[1], into=target)
        assert (done.as_of, done.written) == (moments[1], {"entities": 2, "events": 2})
        page = await target[0]._store.scan(Segment())  # type: ignore[attr-defined]  # the port itself
        assert sorted(record.key.sk for record in page.records) == ["a", "b"]
    with pytest.raises(NotFound, match="or before"):
        await world.backups.restore(at=moments[0] - timedelta(days=1))
    with pytest.raises(InvalidArgument, match="time zone"):
        await world.backups.restore(at=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
    with pytest.raises(InvalidArgument, match="not both"):
        await world.backups.restore("x", at=moments[0])


async def test_pruning_never_breaks_a_chain(world: World) -> None:
    """What stays can be restored; what went is gone from the blob store; a dry run changes nothing."""
    rules = Retention(last=1, daily=0, weekly=0, monthly=0)
    backups = world.with_keys(KEYS, retention=rules, max_chain=3, max_share=10.0)
    for n in range(6):
        await world.write(f"n{n}")
        await backups.create("daily")
        world.clock.advance(timedelta(days=1))
    await backups.verify(level="full")
    await world.write("after")
    await backups.create("manual", full=True)
    before = {each.id for each in (await backups.list()).manifests}
    planned = await backups.prune(dry_run=True)
    assert before == {each.id for each in (await backups.list()).manifests}
    done = await backups.prune()
    assert (planned.kept, list(planned.removed)) == (done.kept, list(done.removed))
    left = (await backups.list()).manifests
    assert {each.id for each in left} == set(done.kept) == before - set(done.removed)
    assert len(done.removed) == 4
    for each in left:
        assert (await backups.verify(each.id, level="restore")).is_whole
    names = [info.key for info in (await world.blobs.entries("backups/")).blobs]
    assert all(any(each.id in name for each in left) for name in names)


async def test_rotation_is_of_all_backups_and_can_be_repeated(world: World) -> None:
    """Afterwards the new passphrase reads them all, and the old one none."""
    await world.write("a")
    await world.backups.create()
    await world.write("b")
    await world.backups.create()
    new = Passphrase("battery staple", 10)
    assert len((await world.backups.rotate(new)).backups) == 2
    rotated = world.with_keys(new)
    assert (await rotated.verify(level="restore")).is_whole
    with pytest.raises(AccessDenied):
        await world.backups.show("latest")
    assert not (await world.backups.verify()).is_whole


async def test_no_backup_is_not_found(world: World) -> None:
    """The error says how to make one."""
    with pytest.raises(NotFound, match="backup create"):
        await world.backups.show("latest")


KEEP_ONE = Retention(last=1, daily=0, weekly=0, monthly=0)


async def test_a_proof_stays_until_something_is_found(world: World) -> None:
    """A shallower look that finds nothing, and one with a wrong key, take it from nobody; damage does."""
    await world.write("a")
    proved = (await world.backups.create()).manifest
    assert (await world.backups.verify(level="full")).is_whole
    assert (await world.backups.verify(level="manifest")).is_whole
    assert not (await world.with_keys(Passphrase("wrong horse", 10)).verify()).is_whole
    world.clock.advance(timedelta(days=1))
    await world.backups.create(full=True)
    backups = world.with_keys(KEYS, retention=KEEP_ONE)
    assert (await backups.prune(dry_run=True)).removed == []
    await world.blobs.put(f"backups/{proved.id}/entities-0001", b"x" * 40, when=ANY)
    await world.backups.verify(proved.id, level="manifest")
    assert (await backups.prune(dry_run=True)).removed == [proved.id]


async def test_a_proof_counts_by_its_seal(world: World) -> None:
    """A note of another backup's proof, or one that anybody wrote, proves nothing."""
    await world.write("a")
    made = []
    for _ in range(3):
        made.append((await world.backups.create(full=True)).manifest.id)
        world.clock.advance(timedelta(days=1))
    await world.backups.verify(made[1], level="restore")
    async with await world.blobs.get(f"backups/{made[1]}/verified.json") as reader:
        await world.blobs.put(f"backups/{made[0]}/verified.json", await reader.read(), when=ANY)
    for forged in (b"", b"[]", b'{"found": {"level": "full", "problems": []}}'):
        await world.blobs.put(f"backups/{made[2]}/verified.json", forged, when=ANY)
        done = await world.with_keys(KEYS, retention=KEEP_ONE).prune(dry_run=True)
        assert (sorted(done.kept), done.kept[made[1]]) == (sorted(made[1:]), ("newest verified",))


async def test_planted_manifests_push_out_nothing(world: World) -> None:
    """Whoever can write but has no key cannot make retention remove the true backups; the planted are named."""
    await world.write("a")
    true = (await world.backups.create()).manifest.id
    async with await world.blobs.get(f"backups/manifests/{true}.json") as reader:
        manifest = orjson.loads(await reader.read())
    planted = [f"daily_2099{month:02d}01_020000_abcdef" for month in range(1, 13)]
    for month, id_ in enumerate(planted, 1):
        manifest["manifest"] |= {"id": id_, "as_of": f"2099-{month:02d}-01T02:00:00Z"}
        await world.blobs.put(f"backups/manifests/{id_}.json", orjson.dumps(manifest), when=ANY)
    done = await world.with_keys(KEYS, retention=KEEP_ONE).prune()
    assert (list(done.kept), done.removed, sorted(done.unread)) == ([true], [], planted)
    with pytest.raises(AccessDenied):
        await world.with_keys(Passphrase("wrong horse", 10)).prune()


async def test_a_damaged_backup_hides_no_moment(world: World) -> None:
    """What was recorded behind the one in front of it leads to the same state."""
    await world.write("a")
    await world.backups.create()
    await world.backups.record()
    await world.write("b")
    damaged = (await world.backups.create(full=True)).manifest
    await world.write("c")
    moment = world.clock.now()
    world.clock.advance(timedelta(seconds=5))
    await world.backups.record()
    await world.blobs.delete([f"backups/{damaged.id}/key.json"])
    async with ports(world.env) as target:
        done = await world.backups.restore(at=moment, into=target)
        page = await target[0]._store.scan(Segment())  # type: ignore[attr-defined]  # the port itself
        assert (done.as_of, sorted(record.key.sk for record in page.records)) == (moment, ["a", "b", "c"])


async def test_what_the_receiving_store_cannot_take_is_told(world: World) -> None:
    """A port that it does not have is named, and refused where it was asked for."""
    await world.write("a")
    await world.backups.create()
    async with ports(world.env) as target:
        done = await world.backups.restore(into=target[:1])
        assert (done.written, done.without) == ({"entities": 1}, ["events"])
        named = Selection(ports=frozenset({"entities"}))
        assert (await world.backups.restore(into=target[:1], selection=named)).without == []
        for doing in (world.backups.restore, world.backups.plan_restore):
            with pytest.raises(InvalidArgument, match="no such port"):
                await doing(into=target[:1], selection=Selection(ports=frozenset({"events"})))
