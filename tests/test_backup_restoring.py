"""What is restored is what was backed up: the state at one moment, whatever was written meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.making import make_backup
from storycore.backup.manifest import Manifest
from storycore.backup.restoring import Selection, plan_restore, restore
from storycore.backup.sources.entities import EntitySource
from storycore.errors import AlreadyExists, ConditionFailed, InvalidArgument
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import Delete, EntityStore, Key, Put, Record, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness

KEYS = Passphrase("correct horse", 10)
ALL = Selection()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))


@pytest.fixture
def env(clock: ManualClock) -> Environment:
    return Environment(clock=clock)


@pytest.fixture
async def archive(env: Environment) -> AsyncIterator[Archive]:
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with blobs:
        yield Archive(blobs, KEYS, env)


@asynccontextmanager
async def opened(adapter: str, path: Path, clock: ManualClock) -> AsyncIterator[EntityStore]:
    """An empty entity store that goes by ``clock``."""
    path.mkdir(parents=True, exist_ok=True)
    options = {"path": str(path / "entities.db")} if adapter == "sqlite" else {}
    harness = Harness(PortName.ENTITIES, adapter, options, path)
    harness.clock = clock
    store: EntityStore = await harness.started()
    async with store:
        yield store


def put(name: str, kind: str = "note", body: bytes = b"{}", **more: object) -> Put:
    """A put under one of a few keys."""
    return Put(key=Key(f"p{name[-1]}", name), kind=kind, body=body, **more)  # type: ignore[arg-type]  # Put's own


async def state(store: EntityStore) -> dict[Key, tuple[object, ...]]:
    """All live records but for their versions."""
    found: dict[Key, tuple[object, ...]] = {}
    after = None
    while True:
        page = await store.scan(Segment(), after=after)
        found.update({record.key: _plain(record) for record in page.records})
        if (after := page.next) is None:
            return found


def _plain(record: Record) -> tuple[object, ...]:
    return record.kind, record.expires_at, dict(record.index_keys), dict(record.fields), record.body


async def backup(archive: Archive, store: EntityStore, env: Environment, parent: Manifest | None = None) -> Manifest:
    """Of the entities alone."""
    chain = () if parent is None else await archive.chain(parent.id)
    return await make_backup(archive, [EntitySource(store, env)], kind="manual", store="s", chain=chain)


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "wait", "backup"]),
        st.integers(0, 9),
        st.sampled_from(["note", "story"]),
        st.binary(max_size=12),
        st.none() | st.integers(1, 100),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(WRITES, st.sampled_from(["memory", "sqlite"]), st.sampled_from(["memory", "sqlite"]))
async def test_every_backup_of_a_history_brings_its_state_back(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int, str, bytes, int | None]], one: str, two: str
) -> None:
    """Full and increments over deletes, re-created keys and expiry, between any two adapters; the digests agree."""
    path, clock = tmp_path_factory.mktemp("history"), ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))
    env = Environment(clock=clock)
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    made: list[tuple[Manifest, dict[Key, tuple[object, ...]], datetime]] = []
    async with blobs, opened(one, path / "source", clock) as source:
        archive = Archive(blobs, KEYS, env)
        for step, number, kind, body, ttl in [*history, ("backup", 0, "", b"", None)]:
            name = f"n{number}"
            if step == "put":
                expires = None if ttl is None else clock.now() + timedelta(seconds=ttl)
                await source.write([put(name, kind, body, fields={"n": number}, expires_at=expires)])
            elif step == "delete":
                await source.write([Delete(key=put(name).key)])
            elif step == "wait":
                clock.advance(timedelta(seconds=number * 10))
            else:
                manifest = await backup(archive, source, env, made[-1][0] if made else None)
                made.append((manifest, await state(source), clock.now()))
        for number, (manifest, expected, at) in enumerate(made):
            then = ManualClock(at)
            async with opened(two, path / f"target{number}", then) as target:
                chain = await archive.chain(manifest.id)
                await restore(archive, chain, [EntitySource(target, Environment(clock=then))], ALL)
                assert expected == await state(target)
                again = await backup(archive, target, Environment(clock=then))
                port, same = manifest.ports["entities"], again.ports["entities"]
                assert (port.items, port.digest) == (same.items, same.digest) == (len(expected), port.digest)


@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
async def test_a_backup_under_writers_holds_one_state(
    adapter: str, tmp_path: Path, clock: ManualClock, archive: Archive, env: Environment
) -> None:
    """Pairs of records that are always written together are restored together, and as they were at one moment."""
    async with opened(adapter, tmp_path / "source", clock) as source:
        for n in range(40):
            await source.write([put(f"a{n}", body=b"0"), put(f"b{n}", body=b"0")], atomic=True)
        stop = asyncio.Event()

        async def write() -> None:
            chance, turn = random.Random(1), 0
            while not stop.is_set():
                turn += 1
                n, body = chance.randrange(40), str(turn).encode()
                clock.advance(0.0001)
                await source.write([put(f"a{n}", body=body), put(f"b{n}", body=body)], atomic=True)
                await asyncio.sleep(0.0005)

        writers = [asyncio.create_task(write()) for _ in range(2)]
        full = await backup(archive, source, env)
        increment = await backup(archive, source, env, full)
        stop.set()
        await asyncio.gather(*writers)
        for manifest in (full, increment):
            async with opened("memory", tmp_path / manifest.id, clock) as target:
                await restore(archive, await archive.chain(manifest.id), [EntitySource(target, env)], ALL)
                found = await state(target)
                again = await backup(archive, target, env)
                assert again.ports["entities"].digest == manifest.ports["entities"].digest
            bodies = {key.sk: values[-1] for key, values in found.items()}
            assert len(bodies) == 80
            assert all(bodies[f"a{n}"] == bodies[f"b{n}"] for n in range(40))
            assert manifest.ports["entities"].consistency == "point"


async def test_a_part_is_restored_and_nothing_else_is_touched(
    tmp_path: Path, clock: ManualClock, archive: Archive, env: Environment
) -> None:
    """A kind, or what a predicate names: in every mode the rest of the target stays as it is."""
    async with opened("memory", tmp_path / "a", clock) as source, opened("memory", tmp_path / "b", clock) as target:
        await source.write([put("n1", "note"), put("n2", "story"), put("n3", "story", b"old")])
        chain = [await backup(archive, source, env)]
        await target.write([put("n3", "story", b"new"), put("n4", "story"), put("n5", "note")])
        there, to = await state(target), [EntitySource(target, env)]
        stories = Selection(kinds=frozenset({"story"}))
        planned = (await plan_restore(archive, chain, to, stories))["entities"]
        assert (planned.added, planned.replaced, planned.removed) == ({"story": 1}, {"story": 1}, {"story": 1})
        with pytest.raises(ConditionFailed, match="not empty"):
            await restore(archive, chain, to, stories)
        with pytest.raises(AlreadyExists, match="'skip' or 'overwrite'"):
            await restore(archive, chain, to, Selection(where=lambda _, e: b"n3" in e.key), mode="merge")
        assert there == await state(target)
        await restore(archive, chain, to, stories, mode="merge", on_conflict="skip")
        assert set(await state(target)) == {*there, put("n2").key}
        assert (await state(target))[put("n3").key] == there[put("n3").key]
        await restore(archive, chain, to, stories, mode="replace")
        found = await state(target)
        assert set(found) == {put(name).key for name in ("n2", "n3", "n5")}
        assert found[put("n3").key][-1] == b"old"


async def test_an_interrupted_restore_is_completed_by_another(
    tmp_path: Path, clock: ManualClock, archive: Archive, env: Environment
) -> None:
    """What the first one left is no reason to refuse; anything else in the target is."""
    async with opened("memory", tmp_path / "a", clock) as source, opened("memory", tmp_path / "b", clock) as target:
        await source.write([put(f"n{n}") for n in range(9)])
        chain = [await backup(archive, source, env)]
        await target.write([put("n3"), put("n4")])
        await restore(archive, chain, [EntitySource(target, env)], ALL)
        assert await state(source) == await state(target)
        await target.write([put("n4", body=b"another")])
        with pytest.raises(ConditionFailed):
            await restore(archive, chain, [EntitySource(target, env)], ALL)


async def test_a_port_that_a_backup_does_not_hold_is_named(
    tmp_path: Path, clock: ManualClock, archive: Archive, env: Environment
) -> None:
    """The error says what it does hold."""
    async with opened("memory", tmp_path, clock) as store:
        chain = [await backup(archive, store, env)]
        with pytest.raises(InvalidArgument, match="holds entities"):
            await restore(archive, chain, [EntitySource(store, env)], Selection(ports=frozenset({"vectors"})))


@pytest.mark.parametrize("turn", range(12))
async def test_a_cancelled_backup_waits_for_its_thread(
    tmp_path: Path, clock: ManualClock, archive: Archive, env: Environment, turn: int
) -> None:
    """Wherever it is cancelled, nothing that still runs in a thread meets a closed file; the next one is whole."""
    async with opened("memory", tmp_path, clock) as source:
        for start in range(0, 3000, 100):
            await source.write([put(f"n{n}") for n in range(start, start + 100)])
        running = asyncio.create_task(backup(archive, source, env))
        await asyncio.sleep(turn * 0.004)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        manifest = await backup(archive, source, env)
        assert manifest.ports["entities"].items == 3000
