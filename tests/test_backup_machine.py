"""One service of backups through a whole life: what was committed and not damaged restores to what it was made from."""

from __future__ import annotations

import asyncio
import itertools
import os
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.restoring import Mode, OnConflict, Selection
from storycore.backup.retention import Retention
from storycore.backup.scratch import sources_of
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.errors import AlreadyExists, StorycoreError, Unavailable
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig, MemoryVectorConfig
from storycore.memory.entities import open_entities
from storycore.memory.events import open_events
from storycore.memory.vectors import open_vectors
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import Delete, EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.events import Event, EventSink
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorIndex, VectorItem
from storycore.testing.clock import ManualClock
from storycore.testing.faults import Fault, Faults, from_call

T = TypeVar("T")

START = datetime(2026, 11, 22, 2, tzinfo=UTC)


class Thing(NamedTuple):
    """Something that a store may hold: in which port, of what kind as a selection names it, and whose it is."""

    port: str
    kind: str
    owner: str = ""


THINGS = {
    "e0": Thing("entities", "note", "ada"),
    "e1": Thing("entities", "memo", "ada"),
    "e2": Thing("entities", "note", "bob"),
    "e3": Thing("entities", "memo"),
    "pics/ada.jpg": Thing("blobs", "pics", "ada"),
    "bob.jpg": Thing("blobs", ".", "bob"),
    "any.jpg": Thing("blobs", "."),
    "v0": Thing("vectors", "one", "ada"),
    "v1": Thing("vectors", "one"),
    "v2": Thing("vectors", "two", "bob"),
    "x0": Thing("events", "seen", "ada"),
    "x1": Thing("events", "done", "bob"),
    "x2": Thing("events", "seen"),
    "x3": Thing("events", "done"),
}


def names_of(port: str) -> list[str]:
    """What a port may hold."""
    return [name for name, thing in THINGS.items() if thing.port == port]


RECORDS, BLOBS, VECTORS, EVENTS = map(names_of, ("entities", "blobs", "vectors", "events"))
FEW = Retention(last=2, daily=1, weekly=0, monthly=0)
CRASHES = st.none() | st.tuples(st.integers(0, 12), st.sampled_from([Fault.BEFORE, Fault.AFTER]))
Crash = tuple[int, Fault] | None


@dataclass(frozen=True)
class Item:
    """What a thing holds, when it ends, and of an event when it happened."""

    content: bytes
    expires_at: datetime | None = None
    at: datetime | None = None


State = dict[str, Item]


def live(state: State, at: datetime) -> dict[str, bytes]:
    """What there is of a state at a moment."""
    return {name: i.content for name, i in state.items() if i.expires_at is None or i.expires_at > at}


@dataclass
class Made:
    """A backup, as the model knows it."""

    manifest: Manifest
    state: State


@dataclass
class Ports:
    """The ports of one store."""

    records: EntityStore
    blobs: BlobStore
    vectors: VectorIndex
    events: EventSink
    env: Environment

    @property
    def sources(self) -> list[Source]:
        """As backups see them."""
        held = (self.blobs, self.records, self.vectors, self.events)
        names = (PortName.BLOBS, PortName.ENTITIES, PortName.VECTORS, PortName.EVENTS)
        return sources_of(dict(zip(names, held, strict=True)), self.env)

    async def put(self, name: str, item: Item) -> None:
        """Write one thing."""
        thing, content = THINGS[name], item.content
        fields = {"user_id": thing.owner} if thing.owner else {}
        if thing.port == "entities":
            put = Put(key=Key("p", name), kind=thing.kind, body=content, fields=fields, expires_at=item.expires_at)
            await self.records.write([put])
        elif thing.port == "blobs":
            metadata = {"user-id": thing.owner} if thing.owner else {}
            await self.blobs.put(name, content, when=ANY, metadata=metadata)
        elif thing.port == "vectors":
            values = array("f", [int(content), 1])
            await self.vectors.upsert([VectorItem(name, values, dict(fields))], namespace=thing.kind)
        else:
            assert item.at is not None
            told = {"n": content.decode()}
            await self.events.emit([Event(id=name, type=thing.kind, at=item.at, subject=thing.owner, data=told)])

    async def remove(self, names: Sequence[str]) -> None:
        """Take things out; a log keeps its events."""
        if records := [Delete(key=Key("p", name)) for name in names if name in RECORDS]:
            await self.records.write(records)
        await self.blobs.delete([name for name in names if name in BLOBS])
        for name in (name for name in names if name in VECTORS):
            await self.vectors.delete(ids=[name], namespace=THINGS[name].kind)

    async def content(self) -> dict[str, bytes]:
        """All there is."""
        page = await self.records.scan(Segment(), limit=100)
        found = {record.key.sk: record.body for record in page.records}
        for info in (await self.blobs.entries()).blobs:
            async with await self.blobs.get(info.key) as reader:
                found[info.key] = await reader.read()
        for namespace in ("one", "two"):
            for item in (await self.vectors.scan(namespace=namespace)).items:
                found[item.id] = b"%d" % item.values[0]
        for stored in (await self.events.read()).events:
            found[stored.event.id] = str(stored.event.data["n"]).encode()
        return found


async def opened(stack: AsyncExitStack, env: Environment) -> Ports:
    """An empty store."""
    records: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    vectors: VectorIndex = checked(PortName.VECTORS, open_vectors(MemoryVectorConfig(dimension=2), env))
    events: EventSink = checked(PortName.EVENTS, open_events(MemoryConfig(), env))
    for port in (records, blobs, vectors, events):
        await stack.enter_async_context(port)
    return Ports(records, blobs, vectors, events, env)


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    async with AsyncExitStack() as stack:
        yield (await opened(stack, Environment(clock=ManualClock(manifest.as_of)))).sources


class BackupLife(RuleBasedStateMachine):
    """Writes, backups, recordings, restores, prunes, rotations, erasures, crashes, planted things and one damage.

    All of it stands beside a plain model of four ports: what was committed and not damaged gives back what it held.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.numbers = itertools.count()
        self.clock = ManualClock(START)
        ids = itertools.count()
        self.env = Environment(clock=self.clock, new_id=lambda: f"{next(ids):06d}")
        self.state: State = {}
        self.moments: list[tuple[datetime, State]] = [(START, {})]
        self.made: dict[str, Made] = {}
        self.until: datetime | None = None
        self.damaged = ""
        self.generation = 0
        self.kept_on: dict[str, datetime] = {}
        self.planted: set[str] = set()
        self.gaps: list[tuple[datetime, datetime]] = []

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """Run something to its end."""
        return self.runner.run(doing)

    @initialize(is_damaged_once=st.sampled_from([False, False, True]))
    def begin(self, is_damaged_once: bool) -> None:
        """A store with something of everybody's, backed up and recorded."""

        async def enter() -> tuple[Ports, BlobStore]:
            archive: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), self.env))
            return await opened(self.stack, self.env), await self.stack.enter_async_context(archive)

        self.is_damaged_once = is_damaged_once
        self.ports, self.archive = self.run(enter())
        self.faults = Faults(PortName.BLOBS, operations={"put", "delete", "copy"})
        self.backups = self.service(0)
        for name in THINGS:
            self.write(name, None, is_long=True, late=0)
        self.create(full=True, crash=None)
        self.record(crash=None)

    def service(self, generation: int) -> Backups:
        """As a process that has just begun, with one of the keys."""
        archive = Archive(self.faults.around(self.archive), self.key(generation), self.env)
        return Backups(
            archive,
            self.ports.sources,
            self.env,
            store="s",
            scratch=scratch,
            retention=FEW,
            owner_of=owner_of,
            max_chain=4,
            max_share=99.0,
        )

    def key(self, generation: int) -> Passphrase:
        """One after the other."""
        return Passphrase(f"correct horse {generation}", 10)

    # what happens to the store

    @rule(
        name=st.sampled_from(sorted(THINGS)),
        lives=st.none() | st.integers(1, 300),
        is_long=st.booleans(),
        late=st.sampled_from([0, 90]),
    )
    def write(self, name: str, lives: int | None, is_long: bool, late: int) -> None:
        """A record that may end by itself, a blob of any length, a vector, or an event that may be of earlier."""
        self.clock.advance(2)
        now, number = self.clock.now(), next(self.numbers)
        if name in EVENTS:
            if name not in self.state:  # else it changes nothing
                self.put(name, Item(b"%d" % number, at=now - timedelta(seconds=late)))
        elif name in VECTORS:
            self.put(name, Item(b"%d" % number))
        elif name in BLOBS:
            self.put(name, Item(f"{name} {number} ".encode() * (6000 if is_long else 1)))
        else:
            self.put(name, Item(b"%d" % number, None if lives is None else now + timedelta(seconds=lives)))

    @rule(name=st.sampled_from(EVENTS))
    def trim(self, name: str) -> None:
        """The log forgets an event, and what is older."""
        self.clock.advance(2)
        at = self.state[name].at if name in self.state else None
        before = START if at is None else at + timedelta(microseconds=1)
        self.run(self.ports.events.trim(before))
        self.note({name: item for name, item in self.state.items() if item.at is None or item.at >= before})

    @rule(name=st.sampled_from([*RECORDS, *BLOBS, *VECTORS]))
    def remove(self, name: str) -> None:
        """Of a record, a blob or a vector."""
        self.clock.advance(2)
        self.run(self.ports.remove([name]))
        self.note({each: item for each, item in self.state.items() if each != name})

    @rule(seconds=st.sampled_from([3, 100, 100, 40_000]))
    def wait(self, seconds: int) -> None:
        """Time passes, up to half a day."""
        self.clock.advance(seconds)

    def put(self, name: str, item: Item) -> None:
        """Into the store and into the model."""
        self.run(self.ports.put(name, item))
        self.note({**self.state, name: item})

    def note(self, state: State) -> None:
        """The model's state from now on."""
        self.state = state
        self.moments.append((self.clock.now(), state))

    # what happens to the backups

    @rule(names=st.lists(st.sampled_from(sorted(THINGS)), max_size=3), forgotten=st.sampled_from(EVENTS) | st.none())
    def live_on(self, names: Sequence[str], forgotten: str | None) -> None:
        """A day: things are written, the log may forget, and what changed is backed up."""
        for name in names:
            self.write(name, None, is_long=False, late=0)
        if forgotten is not None:
            self.trim(forgotten)
        self.create(full=False, crash=None)

    @rule(full=st.sampled_from([False, False, True]), crash=CRASHES)
    def create(self, full: bool, crash: Crash) -> None:
        """A backup; after a crash there is one, or none."""
        self.clock.advance(2)
        before = set(self.made)
        done = self.attempt(lambda: self.backups.create(full=full), crash)
        assert done is None or set(self.made) - before == {done.backup_id}

    @rule(crash=CRASHES)
    def record(self, crash: Crash) -> None:
        """Seal what has changed; a backup is made where one is needed."""
        self.clock.advance(2)
        done = self.attempt(lambda: self.backups.record(), crash)
        if done is not None:
            if done.gap:  # a recording that does not open may be a true one, which told more of who was erased
                assert self.damaged or (self.planted and "erased" in done.gap)
                self.gaps.append((START if self.until is None else self.until, done.until))
            self.until = done.until

    @precondition(lambda self: len(self.made) > 2)
    @rule(crash=CRASHES, again=st.booleans())
    def prune(self, crash: Crash, again: bool) -> None:
        """What retention does not keep goes; what it keeps builds on nothing that went."""
        self.clock.advance(2)
        done = self.attempt(lambda: self.backups.prune(), crash)
        if done is None and again:
            done = self.attempt(lambda: self.backups.prune(), None)
        if done is not None and not self.damaged:
            assert set(done.kept) == set(self.made)

    @precondition(lambda self: self.made)
    @rule(crash=CRASHES)
    def rotate(self, crash: Crash) -> None:
        """After a crash all backups open with the old key, or all with the new one; the same again completes it."""
        if self.attempt(lambda: self.backups.rotate(self.key(self.generation + 1)), crash) is None:
            if not self.damaged:
                assert any(self.run(self.is_opened(self.generation + each)) for each in (0, 1))
            self.attempt(lambda: self.backups.rotate(self.key(self.generation + 1)), None)
        self.generation += 1
        self.backups = self.service(self.generation)
        if not self.damaged:
            assert not self.made or not self.run(self.is_opened(self.generation - 1))

    async def is_opened(self, generation: int) -> bool:
        """Whether one key opens every backup."""
        try:
            return [await self.service(generation).show(id_) for id_ in self.made] != []
        except StorycoreError:
            return not self.made

    @precondition(lambda self: len(self.state) > 3)
    @rule(owner=st.sampled_from(["ada", "bob"]), stays=st.booleans(), crash=CRASHES)
    def erase(self, owner: str, stays: bool, crash: Crash) -> None:
        """From everything that was ever made; what stays in the store is in the backups from now on."""
        self.clock.advance(2)
        if not stays:
            self.run(self.ports.remove([name for name in THINGS if THINGS[name].owner == owner]))
            self.note({n: i for n, i in self.state.items() if THINGS[n].owner != owner or n in EVENTS})
        if self.attempt(lambda: self.backups.erase(owner), crash) is None:
            self.attempt(lambda: self.backups.erase(owner), None)
        self.kept_on[owner] = self.clock.now()
        self.moments = [(at, without(state, owner)) for at, state in self.moments[:-1]] + self.moments[-1:]
        for made in self.made.values():
            made.state = without(made.state, owner)

    @precondition(lambda self: self.made)
    @rule(year=st.sampled_from(["2026", "2099"]), what=st.sampled_from(["manifest", "recording", "both", "newer"]))
    def plant(self, year: str, what: str) -> None:
        """Somebody who has no key writes where the backups lie; nobody takes it for one."""
        id_ = f"daily_{year}1122_020001_planted"[:-1]
        like = next(iter(self.made.values())).manifest.model_dump(mode="json") | {"id": id_, "parent": None}
        like |= {"as_of": f"{year}-11-22T02:00:01Z"}
        format_ = 99 if what == "newer" else 1
        sealed = orjson.dumps({"format": format_, "manifest": like, "seal": "0" * 64})
        if what != "recording":
            self.run(self.laid(f"backups/manifests/{id_}.json", sealed))
        if what in ("recording", "both"):
            self.run(self.laid(f"backups/segments/{id_}/000000000007", sealed))
        self.planted.add(id_)

    async def laid(self, name: str, data: bytes) -> None:
        await self.archive.put(name, data, when=ANY)

    @rule()
    def begin_anew(self) -> None:
        """Another process goes on."""
        self.backups = self.service(self.generation)

    @precondition(lambda self: self.made and self.is_damaged_once and not self.damaged)
    @rule(which=st.integers(0, 1000), how=st.sampled_from(["gone", "flipped", "short"]))
    def damage(self, which: int, how: str) -> None:
        """One object of the archive, once; every backup that needs it says so, and names it."""
        there = self.run(self.names())
        names = [n for n in there if not n.endswith("verified.json") and not any(id_ in n for id_ in self.planted)]
        self.damaged = names[which * 7919 % len(names)]
        self.run(self.spoiled(self.damaged, how))
        folder, _, name = self.damaged.removeprefix("backups/").partition("/")
        named = name.removesuffix(".json") if folder == "manifests" else folder
        for id_ in self.made:
            if named in self.chain(id_):
                found = self.run(self.reported(id_))
                assert any(named in problem or name in problem for problem in found), (self.damaged, how, found)

    async def names(self) -> list[str]:
        return [info.key for info in (await self.archive.entries("backups/", limit=1000)).blobs]

    async def spoiled(self, name: str, how: str) -> None:
        async with await self.archive.get(name) as reader:
            data = await reader.read()
        place = len(data) // 2
        flipped = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        if how == "gone":
            await self.archive.delete([name])
        else:
            await self.archive.put(name, data[:place] if how == "short" else flipped, when=ANY)

    async def reported(self, id_: str) -> Sequence[str]:
        """What is lost of a backup."""
        try:
            return (await self.backups.verify(id_, level="full")).problems
        except StorycoreError as exc:
            return [exc.message]

    # what must hold

    @precondition(lambda self: self.made)
    @rule(which=st.integers(0, 1000), level=st.sampled_from(["full", "restore"]))
    def look(self, which: int, level: Any) -> None:
        """A backup is whole and gives its state, or its damage is told."""
        id_ = sorted(self.made)[which % len(self.made)]
        is_whole = not self.run(self.reported(id_))
        assert is_whole or self.is_suspect(id_)
        if is_whole and level == "restore":
            assert self.run(self.backups.verify(id_, level="restore")).problems == ()
        self.require(id_, must=is_whole)

    @precondition(lambda self: self.made and self.until is not None)
    @rule(share=st.floats(0, 1), owner=st.sampled_from(["", "", "ada"]))
    def look_back(self, share: float, owner: str) -> None:
        """Any second between the oldest backup and the last recording is as it was."""
        oldest = min(made.manifest.as_of for made in self.made.values())
        assert self.until is not None
        if self.until <= oldest:
            return
        at = oldest + timedelta(seconds=int((self.until - oldest).total_seconds() * share))
        selection = Selection(user=owner or None)
        try:
            content, done, base = self.run(self.restored("latest", at, selection=selection))
        except StorycoreError:
            assert self.damaged
            return
        assert self.damaged or done == at or any(begin <= at <= end for begin, end in self.gaps)
        state = [state for moment, state in self.moments if moment <= done][-1]
        expected = {n: i for n, i in live(state, done).items() if n in RECORDS and owner in ("", THINGS[n].owner)}
        found = {name: held for name, held in content.items() if name in RECORDS}
        for name in set(expected) - set(found):  # what stayed of an erased user comes with the first backup behind that
            if self.made[base].manifest.started_at <= self.kept_on.get(THINGS[name].owner, START):
                del expected[name]
        assert found == expected

    @precondition(lambda self: self.made)
    @rule(
        which=st.integers(0, 1000),
        part=st.sampled_from(["", "ports", "kinds", "user"]),
        names=st.sets(st.sampled_from([*RECORDS, *BLOBS, *VECTORS])),
        mode=st.sampled_from(["merge", "merge", "replace"]),
        on_conflict=st.sampled_from(["fail", "skip", "overwrite"]),
    )
    def restore_part(self, which: int, part: str, names: set[str], mode: Mode, on_conflict: OnConflict) -> None:
        """What was meant goes over what the receiving store has, as the mode says."""
        id_ = sorted(self.made)[which % len(self.made)]
        selection, is_meant = meant(part)
        there = {name: Item(b"%d" % number) for number, name in enumerate(sorted(names))}
        state, as_of = self.made[id_].state, self.made[id_].manifest.as_of
        told = {name: item for name, item in state.items() if name in live(state, as_of) and is_meant(name)}
        try:
            content, _, _ = self.run(
                self.restored(id_, there=there, selection=selection, mode=mode, on_conflict=on_conflict, until=as_of)
            )
        except AlreadyExists:
            assert (mode, on_conflict) == ("merge", "fail") and set(told) & set(there)
            return
        except StorycoreError:
            assert self.damaged and self.is_suspect(id_)
            return
        assert not (mode == "merge" and on_conflict == "fail" and set(told) & set(there))
        expected = over(there, told, is_meant, mode=mode, keeps=on_conflict == "skip")
        assert content == live(expected, as_of)

    @precondition(lambda self: self.made and not self.damaged)
    @rule(
        which=st.integers(0, 1000),
        part=st.sampled_from(["", "ports", "kinds", "user"]),
        mode=st.sampled_from(["merge", "replace"]),
        skips=st.booleans(),
    )
    def go_back(self, which: int, part: str, mode: Mode, skips: bool) -> None:
        """The store itself takes an earlier state, or a part of it; backups go on behind that."""
        self.clock.advance(2)
        id_ = sorted(self.made)[which % len(self.made)]
        selection, is_meant = meant(part)
        now, on_conflict = self.clock.now(), "skip" if skips else "overwrite"
        self.run(self.backups.restore(id_, selection=selection, mode=mode, on_conflict=on_conflict))  # type: ignore[arg-type]  # one of the two
        state = self.made[id_].state
        told = {name: item for name, item in state.items() if name in live(state, now) and is_meant(name)}
        present = {name: item for name, item in self.state.items() if name in live(self.state, now)}
        self.note(over(present, told, is_meant, mode=mode, keeps=skips))
        assert self.run(self.ports.content()) == live(self.state, now)

    @precondition(lambda self: self.made and not self.damaged)
    @rule()
    def ask_for_the_latest(self) -> None:
        """It is the newest true one."""
        newest = max(self.made.values(), key=lambda made: (made.manifest.as_of, made.manifest.id))
        assert self.run(self.backups.show()).id == newest.manifest.id

    @invariant()
    def is_listed(self) -> None:
        """The list shows the backups that there are."""
        if hasattr(self, "backups"):
            self.met()

    def require(self, id_: str, *, must: bool) -> None:
        """A restore gives the state exactly; or, where it need not, an error."""
        made = self.made[id_]
        try:
            content, _, _ = self.run(self.restored(id_))
        except StorycoreError:
            assert not must
            return
        assert content == live(made.state, made.manifest.as_of)

    async def restored(
        self,
        id_: str,
        at: datetime | None = None,
        *,
        there: Mapping[str, Item] | None = None,
        until: datetime | None = None,
        **how: Any,
    ) -> tuple[dict[str, bytes], datetime, str]:
        """What a restore gives, at its own moment, which that is, and from which backup.

        Args:
            there: what the receiving store has already.
            until: where its clock stands.
        """
        async with AsyncExitStack() as stack:
            clock = ManualClock(START if until is None else until)
            ports = await opened(stack, Environment(clock=clock))
            for name, item in ({} if there is None else there).items():
                await ports.put(name, item)
            done = await self.backups.restore(id_, at=at, into=ports.sources, **how)
            clock.advance((done.as_of - clock.now()).total_seconds())
            return await ports.content(), done.as_of, done.backup

    def attempt(self, doing: Callable[[], Awaitable[T]], crash: Crash) -> T | None:
        """Do something that ends at a write into the archive, or does not; ``None``: it ended."""

        async def done() -> T:
            return await doing()

        self.faults.plan(() if crash is None else from_call(*crash))
        try:
            return self.run(done())
        except Unavailable:
            assert crash is not None
            self.backups = self.service(self.generation)
            return None
        except StorycoreError:
            assert self.damaged
            return None
        finally:
            self.faults.plan(())
            self.met()

    def met(self) -> None:
        """Bring the model to what the archive lists: a new backup holds the present state."""
        listing = self.run(self.backups.list())
        assert self.damaged or not set(listing.damaged) - self.planted
        there = {each.id: each for each in listing.manifests if each.id not in self.planted}
        self.made = {id_: made for id_, made in self.made.items() if id_ in there or id_ in listing.damaged}
        for id_, manifest in there.items():
            if id_ not in self.made:
                self.made[id_] = Made(manifest, dict(self.state))

    def chain(self, id_: str) -> set[str]:
        """The ids that a backup needs."""
        found, next_ = set[str](), id_
        while next_:
            found.add(next_)
            made = self.made.get(next_)
            next_ = "" if made is None else made.manifest.parent or ""
        return found

    def is_suspect(self, id_: str) -> bool:
        """Whether the damage may concern a backup."""
        if self.damaged.startswith("backups/owners/"):
            return True
        return any(each in self.damaged for each in self.chain(id_))

    def teardown(self) -> None:
        """At the end every backup is looked at once more."""
        try:
            for id_ in self.made:
                self.require(id_, must=not self.damaged or not self.is_suspect(id_))
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()


def without(state: State, owner: str) -> State:
    """What is left of a state without one owner's."""
    return {name: item for name, item in state.items() if THINGS[name].owner != owner}


def meant(part: str) -> tuple[Selection, Callable[[str], bool]]:
    """A selection, and which things it means."""
    if part == "ports":
        return Selection(ports=frozenset({"entities", "events"})), lambda name: name in (*RECORDS, *EVENTS)
    if part == "kinds":
        kinds = frozenset({"note", "pics", "two", "done"})
        return Selection(kinds=kinds), lambda name: THINGS[name].kind in kinds
    if part == "user":
        return Selection(user="ada"), lambda name: THINGS[name].owner == "ada"
    return Selection(), lambda name: True


def over(there: State, told: State, is_meant: Callable[[str], bool], *, mode: Mode, keeps: bool) -> State:
    """What a restore makes of a store; a log keeps each event that it has, and adds what it lacks."""
    if mode == "replace":
        there = {name: item for name, item in there.items() if not is_meant(name) or name in EVENTS}
        return {**there, **{name: item for name, item in told.items() if name not in there}}
    return {**there, **told, **{name: item for name, item in there.items() if keeps or name in EVENTS}}


LONG = int(os.environ.get("STORYCORE_BACKUP_LIVES", "0"))
"""How many lives the long profile has, for example 3000: of 60 steps each, and others each time."""
TestBackupLife = BackupLife.TestCase
TestBackupLife.settings = settings(
    max_examples=LONG or 16,
    stateful_step_count=60 if LONG else 25,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
