"""One service of backups through a whole life: what was committed and not damaged restores to what it was made from."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.retention import Retention
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.blobs import BlobSource
from storycore.backup.sources.entities import EntitySource
from storycore.errors import StorycoreError, Unavailable
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
from storycore.testing.faults import Fault, Faults, from_call

T = TypeVar("T")

START = datetime(2026, 11, 22, 2, tzinfo=UTC)
OWNERS = {"e0": "ada", "e1": "ada", "e2": "bob", "e3": "", "ada.jpg": "ada", "bob.jpg": "bob", "any.jpg": ""}
RECORDS = [name for name in OWNERS if name.startswith("e")]
BLOBS = [name for name in OWNERS if not name.startswith("e")]
FEW = Retention(last=2, daily=1, weekly=0, monthly=0)
CRASHES = st.none() | st.tuples(st.integers(0, 12), st.sampled_from([Fault.BEFORE, Fault.AFTER]))
Crash = tuple[int, Fault] | None


@dataclass(frozen=True)
class Item:
    """What a record or blob holds, and when it ends."""

    content: bytes
    expires_at: datetime | None = None


State = dict[str, Item]


def live(state: State, at: datetime) -> dict[str, bytes]:
    """What there is of a state at a moment."""
    return {name: i.content for name, i in state.items() if i.expires_at is None or i.expires_at > at}


@dataclass
class Made:
    """A backup, as the model knows it."""

    manifest: Manifest
    state: State


class Ports:
    """The entities and blobs of one store."""

    def __init__(self, records: EntityStore, blobs: BlobStore, env: Environment) -> None:
        self.records, self.blobs = records, blobs
        self.sources: list[Source] = [BlobSource(blobs, env), EntitySource(records, env)]

    async def content(self) -> dict[str, bytes]:
        """All there is."""
        page = await self.records.scan(Segment(), limit=100)
        found = {record.key.sk: record.body for record in page.records}
        for info in (await self.blobs.entries()).blobs:
            async with await self.blobs.get(info.key) as reader:
                found[info.key] = await reader.read()
        return found


async def opened(stack: AsyncExitStack, env: Environment) -> Ports:
    """An empty store."""
    records: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    return Ports(await stack.enter_async_context(records), await stack.enter_async_context(blobs), env)


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    async with AsyncExitStack() as stack:
        yield (await opened(stack, Environment(clock=ManualClock(manifest.as_of)))).sources


class BackupLife(RuleBasedStateMachine):
    """Writes, backups, recordings, prunes, rotations, erasures, crashes and one damage, beside a plain model."""

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

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """Run something to its end."""
        return self.runner.run(doing)

    @initialize()
    def begin(self) -> None:
        """A store with something of everybody's, backed up and recorded."""

        async def enter() -> tuple[Ports, BlobStore]:
            archive: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), self.env))
            return await opened(self.stack, self.env), await self.stack.enter_async_context(archive)

        self.ports, self.archive = self.run(enter())
        self.faults = Faults(PortName.BLOBS, operations={"put", "delete", "copy"})
        self.backups = self.service(0)
        for name in OWNERS:
            self.write(name, None) if name in RECORDS else self.upload(name, is_long=True)
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

    @rule(name=st.sampled_from(RECORDS), lives=st.none() | st.integers(1, 300))
    def write(self, name: str, lives: int | None) -> None:
        """A record, perhaps one that ends by itself."""
        self.clock.advance(2)
        owner, expires_at = OWNERS[name], None if lives is None else self.clock.now() + timedelta(seconds=lives)
        body = f"{name} {next(self.numbers)}".encode()
        fields = {"user_id": owner} if owner else {}
        self.run(
            self.ports.records.write(
                [Put(key=Key("p", name), kind="note", body=body, fields=fields, expires_at=expires_at)]
            )
        )
        self.note({**self.state, name: Item(body, expires_at)})

    @rule(name=st.sampled_from(BLOBS), is_long=st.booleans())
    def upload(self, name: str, is_long: bool) -> None:
        """A blob whose content goes into its entry, or is an object of its own."""
        self.clock.advance(2)
        content = f"{name} {next(self.numbers)} ".encode() * (6000 if is_long else 1)
        metadata = {"user-id": OWNERS[name]} if OWNERS[name] else {}
        self.run(self.ports.blobs.put(name, content, when=ANY, metadata=metadata))
        self.note({**self.state, name: Item(content)})

    @rule(name=st.sampled_from(sorted(OWNERS)))
    def remove(self, name: str) -> None:
        """Of a record or a blob."""
        self.clock.advance(2)
        self.run(self.removed([name]))
        self.note({each: item for each, item in self.state.items() if each != name})

    @rule(seconds=st.sampled_from([3, 100, 40_000]))
    def wait(self, seconds: int) -> None:
        """Time passes, up to half a day."""
        self.clock.advance(seconds)

    async def removed(self, names: Sequence[str]) -> None:
        if records := [Delete(key=Key("p", name)) for name in names if name in RECORDS]:
            await self.ports.records.write(records)
        await self.ports.blobs.delete([name for name in names if name in BLOBS])

    def note(self, state: State) -> None:
        """The model's state from now on."""
        self.state = state
        self.moments.append((self.clock.now(), state))

    # what happens to the backups

    @rule(full=st.booleans(), crash=CRASHES)
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
            assert self.damaged or not done.gap
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
    @rule(owner=st.sampled_from(["ada", "bob"]), crash=CRASHES)
    def erase(self, owner: str, crash: Crash) -> None:
        """Removed from the store, and from everything that was ever made of it."""
        self.clock.advance(2)
        self.run(self.removed([name for name in OWNERS if OWNERS[name] == owner]))
        self.note(without(self.state, owner))
        if self.attempt(lambda: self.backups.erase(owner), crash) is None:
            self.attempt(lambda: self.backups.erase(owner), None)
        self.moments = [(at, without(state, owner)) for at, state in self.moments]
        for made in self.made.values():
            made.state = without(made.state, owner)

    @rule()
    def begin_anew(self) -> None:
        """Another process goes on."""
        self.backups = self.service(self.generation)

    @precondition(lambda self: self.made and not self.damaged)
    @rule(which=st.integers(0, 1000), how=st.sampled_from(["gone", "flipped", "short"]))
    def damage(self, which: int, how: str) -> None:
        """One object of the archive, once; every backup that needs it says so, and names it."""
        names = [each for each in self.run(self.names()) if not each.endswith("verified.json")]
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
    @rule(share=st.floats(0, 1))
    def look_back(self, share: float) -> None:
        """Any second between the oldest backup and the last recording is as it was."""
        oldest = min(made.manifest.as_of for made in self.made.values())
        assert self.until is not None
        if self.until <= oldest:
            return
        at = oldest + timedelta(seconds=int((self.until - oldest).total_seconds() * share))
        try:
            content, done = self.run(self.restored("latest", at))
        except StorycoreError:
            assert self.damaged
            return
        assert self.damaged or done == at
        state = [state for moment, state in self.moments if moment <= done][-1]
        expected = {name: held for name, held in live(state, done).items() if name in RECORDS}
        assert {name: held for name, held in content.items() if name in RECORDS} == expected

    @invariant()
    def is_listed(self) -> None:
        """The list shows the backups that there are."""
        if hasattr(self, "backups"):
            self.met()

    def require(self, id_: str, *, must: bool) -> None:
        """A restore gives the state exactly; or, where it need not, an error."""
        made = self.made[id_]
        try:
            content, _ = self.run(self.restored(id_))
        except StorycoreError:
            assert not must
            return
        assert content == live(made.state, made.manifest.as_of)

    async def restored(self, id_: str, at: datetime | None = None) -> tuple[dict[str, bytes], datetime]:
        """What a restore gives, at its own moment, and which that is."""
        async with AsyncExitStack() as stack:
            clock = ManualClock(START)
            ports = await opened(stack, Environment(clock=clock))
            done = await self.backups.restore(id_, at=at, into=ports.sources)
            clock.advance((done.as_of - START).total_seconds())
            return await ports.content(), done.as_of

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
        assert self.damaged or not listing.damaged
        there = {each.id: each for each in listing.manifests}
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
    return {name: item for name, item in state.items() if OWNERS[name] != owner}


TestBackupLife = BackupLife.TestCase
TestBackupLife.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
