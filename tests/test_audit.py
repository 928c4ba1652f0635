"""The trail records every access by who did it, whatever happens on the way, and hides whose things they were."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import storycore
from storycore.app import Store
from storycore.audit import AuditRecord, acting
from storycore.audit.chain import Chain
from storycore.audit.keys import SettledKey
from storycore.audit.people import People
from storycore.audit.places import Place
from storycore.audit.recorder import Recorder
from storycore.audit.watching import Watching
from storycore.cli.program import run as storycore_command
from storycore.errors import ConfigError, Effect, InvalidArgument, NotFound, StorycoreError, Unavailable
from storycore.jobs import Job
from storycore.layers.acting import Acting, actor
from storycore.layers.around import Around
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.entities import EntityStore, Key, Put, QueryPlan
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import User
from storycore.testing.clock import ManualClock
from storycore.testing.faults import Fault, Faults

KEY = "ab" * 32


@asynccontextmanager
async def opened(plugins: Sequence[object] = (), **audit: object) -> AsyncIterator[Store]:
    """A store in memory with a trail."""
    overrides = {"audit": {"enabled": True, "key": KEY, "actor": "test", **audit}}
    async with storycore.open("memory", overrides=overrides, plugins=plugins) as store:
        yield store


async def recorded(store: Store, **wish: Any) -> list[AuditRecord]:
    """Without what the trail says of itself."""
    return [each async for each in store.audit.records(**wish) if not each.action.startswith("audit.")]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["user:ada", "user:bob", "batch"]),
        st.sampled_from(["put", "get", "delete"]),
        st.sampled_from("ab"),
    ),
    max_size=12,
)


@given(tasks=st.lists(CALLS, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, database=None, derandomize=True)
def test_what_is_recorded_is_what_was_done(tasks: list[list[tuple[str, str, str]]]) -> None:
    """Any calls of any tasks beside each other: each once, by its own actor, with its outcome; one task's in order."""

    async def one(blobs: BlobStore, number: int, calls: list[tuple[str, str, str]]) -> list[tuple[str, ...]]:
        done = []
        for who, call, key in calls:
            outcome = "done"
            with acting(who, reason=f"task {number}"):
                try:
                    if call == "put":
                        await blobs.put(key, b"x", when=ANY)
                    elif call == "get":
                        await blobs.get(key)
                    else:
                        await blobs.delete([key])
                except NotFound:
                    outcome = "NotFound"
            done.append((who, f"blobs.{call}", outcome, f"task {number}"))
            await asyncio.sleep(0)
        return done

    async def run() -> None:
        async with opened() as store:
            expected = await asyncio.gather(*(one(store.blobs, *each) for each in enumerate(tasks)))
            found = await recorded(store)
            names = {}
            for who in ("user:ada", "user:bob", "batch"):
                names |= {each.actor: who async for each in store.audit.records(actor=who)}
            for number, calls in enumerate(expected):
                own = [each for each in found if each.reason == f"task {number}"]
                assert [(names[each.actor], each.action, each.outcome, each.reason) for each in own] == calls
            assert len(found) == sum(map(len, expected))
            assert (await store.audit.verify()).is_whole

    asyncio.run(run())


async def test_an_entity_is_found_by_its_key() -> None:
    """With the kinds and how many; a query also by the partition that was asked, found or not."""
    async with opened() as store:
        entities = cast(EntityStore, store.ports[PortName.ENTITIES])
        key = Key("story#1", "meta")
        await entities.write([Put(key=key, kind="story", body=b"{}", when=ABSENT)])
        await entities.get([key, Key("story#2", "meta")])
        await entities.query(QueryPlan(pk="story#1"))
        await entities.query(QueryPlan(pk="story#3"))
        about = [(each.action, dict(each.kinds)) for each in await recorded(store, key=key)]
        assert about == [(f"entities.{name}", {"story": 1}) for name in ("write", "get", "query")]
        assert [each.action for each in await recorded(store, key="story#3")] == ["entities.query"]
        assert [each.outcome for each in await recorded(store, action="entities.write")] == ["done"]
        with pytest.raises(StorycoreError):
            await entities.write([Put(key=key, kind="story", body=b"{}", when=ABSENT)])
        assert [each.outcome for each in await recorded(store, action="entities.write")] == ["done", "AlreadyExists"]


async def test_writes_alone_when_reads_are_off() -> None:
    """And only of the ports that are named."""
    async with opened(reads=False, ports=["blobs"]) as store:
        await store.blobs.put("a", b"x", when=ANY)
        await store.blobs.head("a")
        await store.users.save(User(email="ada@example.com", username="ada"))
        assert [each.action for each in await recorded(store)] == ["blobs.put"]


async def test_a_moment_is_found() -> None:
    """From one on, before another; a moment without a time zone is refused."""
    clock = ManualClock()
    overrides = {"audit": {"enabled": True, "key": KEY}}
    async with storycore.open("memory", overrides=overrides, env=Environment(clock=clock)) as store:
        begun = clock.now()
        for _ in range(4):
            await store.blobs.put("a", b"x", when=ANY)
            await store.audit.flush()
            clock.advance(10)
        found = await recorded(store, since=begun + timedelta(seconds=10), until=begun + timedelta(seconds=30))
        assert [(each.at - begun).seconds for each in found] == [10, 20]
        with pytest.raises(InvalidArgument, match="time zone"):
            await recorded(store, since=datetime(2026, 1, 1))  # noqa: DTZ001 - that it is refused is the test


async def test_nothing_private_is_stored() -> None:
    """Neither the name of a user, nor a key, nor a body."""
    async with opened(prefix="trail/") as store:
        with acting("user:ada-lovelace", reason="ticket 7"):
            user = await store.users.save(User(email="ada@example.com", username="countess"))
            await store.blobs.put("diary-of-ada", b"dear diary", when=ANY)
            await store.users.get(user.user_id)
        await store.audit.flush()
        page = await store.blobs.entries("trail/")
        stored = b"".join([await content(store, each.key) for each in page.blobs])
        assert b"ticket 7" in stored
        for word in (b"lovelace", b"countess", b"example.com", b"diary", user.user_id.encode()):
            assert word not in stored, word


async def content(store: Store, name: str) -> bytes:
    async with await store.blobs.get(name) as reader:
        return await reader.read()


async def test_a_user_is_forgotten() -> None:
    """His records stay and verify, nobody finds them any more, and later ones cannot be tied to them."""
    async with opened() as store:
        with acting("user:ada"):
            await store.blobs.put("a", b"x", when=ANY)
        [before] = await recorded(store, actor="user:ada")
        assert await store.audit.forget("ada") is True
        assert await recorded(store, actor="user:ada") == []
        assert before in await recorded(store)
        with acting("user:ada"):
            await store.blobs.put("a", b"x", when=ANY)
        [after] = await recorded(store, actor="user:ada")
        assert after.actor != before.actor
        assert await store.audit.forget("eve") is False
        assert (await store.audit.verify()).is_whole


async def test_what_is_done_to_the_trail_is_in_it(tmp_path: Path) -> None:
    """Exports, prunings, and that somebody was forgotten, with who did it."""
    async with opened() as store:
        await store.blobs.put("a", b"x", when=ANY)
        with acting("root"):
            await store.audit.export(tmp_path / "x")
            await store.audit.forget("ada")
            await store.audit.prune(store.env.clock.now() - timedelta(days=1))
        own = [each async for each in store.audit.records(action="audit")]
        actions = ["audit.opened", "audit.exported", "audit.forgotten", "audit.pruned"]
        assert [each.action for each in own] == actions
        assert {each.actor for each in own[1:]} == {"root"}


async def test_jobs_and_health_have_their_own_names() -> None:
    """What the store does by itself is nobody else's access."""

    async def work() -> None:
        await store.blobs.put("a", b"x", when=ANY)

    async with opened() as store:
        store.jobs.add(Job(name="tidy", cron="0 2 * * *", work=work))
        await store.jobs.run("tidy")
        await store.health()
        actors = Counter(each.actor for each in await recorded(store, action="blobs.put"))
        assert actors == {"job:tidy": 1, "storycore:health": 1}
        assert (await store.health())["audit"].ok


async def test_a_write_of_unknown_effect_is_recorded_as_that() -> None:
    """A refusal has its name, a call whose caller left may have happened."""
    faults = Faults(PortName.BLOBS, operations={"put", "head"})
    async with opened([faults]) as store:
        await store.audit.flush()
        for fault in (Fault.BEFORE, Fault.AFTER, Fault.CANCELLED_AFTER):
            faults.plan([fault])
            task = asyncio.create_task(store.blobs.put("a", b"x", when=ANY))
            await asyncio.gather(task, return_exceptions=True)
        found = [each.outcome for each in await recorded(store, action="blobs.put")]
        assert found == ["Unavailable", "unknown", "unknown"]


async def test_a_durable_call_returns_when_its_record_is_stored() -> None:
    """And fails with its effect told when it cannot be; the record is stored later."""
    faults = Faults(PortName.BLOBS, operations={"put"})
    async with opened([faults], durable=True, flush_seconds=60) as store:
        await store.blobs.put("a", b"x", when=ANY)
        names = [each.key for each in (await store.blobs.entries("audit/chains/")).blobs]
        assert len(names) == 1
        faults.plan([None, Fault.BEFORE])
        with pytest.raises(Unavailable, match="record is not in the audit trail") as failure:
            await store.blobs.put("b", b"x", when=ANY)
        assert failure.value.effect is Effect.APPLIED
        assert await store.blobs.head("b") is not None
        actions = ["blobs.put", "blobs.entries", "blobs.put", "blobs.head"]
        assert [each.action for each in await recorded(store)] == actions


class Bench:
    """A recorder with little room over a place that fails on demand."""

    def __init__(self, place: BlobStore, things: BlobStore, *, blocks: bool) -> None:
        self.faults = Faults(PortName.BLOBS, operations={"put"})
        env = Environment(clock=ManualClock())
        self.place = Place(self.faults.around(place), "audit/")
        chain = Chain(self.place, SettledKey(KEY), People(self.place, env.clock), env)
        who = Acting("test")
        self.recorder = Recorder(chain, who, flush_seconds=0.01, blocks=blocks, most=4, patience=0.1)
        layer = Watching(self.recorder, env.clock, who, reads=True, durable=False)
        self.blobs = cast(BlobStore, Around(PortName.BLOBS, things, [layer]))

    async def lines(self) -> list[dict[str, Any]]:
        """What is stored."""
        found = []
        for chain in await self.place.chains():
            for batch in await self.place.batches(chain):
                data = await self.place.content(batch.name) or b""
                found += [json.loads(line) for line in data.splitlines()]
        return found


@asynccontextmanager
async def bench(*, blocks: bool) -> AsyncIterator[Bench]:
    env = Environment()
    stores = [cast(BlobStore, checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))) for _ in range(2)]
    async with stores[0], stores[1]:
        yield Bench(*stores, blocks=blocks)


async def test_calls_wait_and_are_refused_while_nothing_can_be_recorded() -> None:
    """Those that were done are all recorded once the place is back; the refused one was not begun."""
    async with bench(blocks=True) as at:
        at.faults.plan(Fault.BEFORE for _ in range(1000))
        done = 0
        with pytest.raises(Unavailable, match="was not begun") as refused:
            for number in range(10):
                await at.blobs.put(f"n{number}", b"x", when=ANY)
                done += 1
        assert (refused.value.effect, at.recorder.failure is not None) == (Effect.NONE, True)
        with pytest.raises(NotFound):
            await at.blobs.inner.get(f"n{done}")  # type: ignore[attr-defined]  # what is around it
        at.faults.plan([])
        await at.blobs.put("later", b"x", when=ANY)
        await at.recorder.close()
        puts = [line for line in await at.lines() if line["action"] == "blobs.put"]
        assert len(puts) == done + 1


async def test_calls_go_on_unrecorded_where_that_is_wanted() -> None:
    """And the trail tells how many those were."""
    async with bench(blocks=False) as at:
        at.faults.plan(Fault.BEFORE for _ in range(1000))
        for number in range(10):
            await at.blobs.put(f"n{number}", b"x", when=ANY)
        lost = at.recorder.lost
        assert 0 < lost < 10
        at.faults.plan([])
        await at.recorder.close()
        lines = await at.lines()
        assert sum(line["action"] == "blobs.put" for line in lines) == 10 - lost
        assert [line["about"]["count"] for line in lines if line["action"] == "audit.lost"] == [lost]


async def test_what_cannot_be_stored_at_the_end_is_told() -> None:
    """Closing says how many records are lost."""
    async with bench(blocks=True) as at:
        at.faults.plan(Fault.BEFORE for _ in range(1000))
        await at.blobs.put("a", b"x", when=ANY)
        with pytest.raises(Unavailable, match="1 records of the audit trail could not be stored and are lost"):
            await at.recorder.close()


async def test_without_a_trail_the_cure_is_named() -> None:
    """It is off unless a profile turns it on."""
    async with storycore.open("memory") as store:
        with pytest.raises(ConfigError, match=r"audit\.enabled = true"):
            _ = store.audit


@pytest.mark.parametrize(
    ("audit", "said"),
    [
        ({"key": "short"}, "64 hexadecimal digits"),
        ({"key": KEY, "key_file": "x"}, "one key seals the trail"),
        ({"prefix": "no-slash"}, "audit.prefix"),
        ({"ports": ["cache"]}, "audit.ports"),
        ({"on_failure": "ignore"}, "audit.on_failure"),
        ({"flush_second": 1}, "flush_seconds"),
    ],
    ids=["short key", "two keys", "prefix", "port", "mode", "typo"],
)
async def test_settings_that_cannot_be_used_are_named(audit: dict[str, object], said: str) -> None:
    """With the setting and what it may be."""
    with pytest.raises(ConfigError, match=said):
        async with storycore.open("memory", overrides={"audit": {"enabled": True, **audit}}) as store:
            await store.audit.verify()


async def test_a_restore_leaves_the_trail_alone(tmp_path: Path) -> None:
    """Also one that replaces everything: the trail is no part of a backup."""
    overrides = {"audit": {"enabled": True, "key": KEY}}
    async with storycore.open("memory", dir=tmp_path, overrides=overrides) as store:
        await store.blobs.put("a", b"before", when=ANY)
        await store.audit.flush()
        backup = await store.backups.create()
        await store.blobs.put("a", b"after", when=ANY)
        await store.audit.flush()
        await store.backups.restore(backup.backup_id, mode="replace")
        assert await content(store, "a") == b"before"
        assert (await store.audit.verify()).is_whole
        assert len(await recorded(store, action="blobs.put", key="a")) >= 3


def test_an_actor_is_a_text() -> None:
    """Not empty, not too long, and one that can be written."""
    for given_actor in ("", "user:", "x" * 513, "\ud800", 7):
        with pytest.raises(InvalidArgument), acting(given_actor):  # type: ignore[arg-type]  # that it is refused is the test
            pass


def test_a_block_may_end_in_another_context() -> None:
    """A task that nobody finishes is ended by the garbage collector, wherever that runs."""

    async def unfinished() -> None:
        with acting("x"):
            await asyncio.sleep(0)

    coroutine = unfinished()
    copy_context().run(coroutine.send, None)
    copy_context().run(coroutine.close)
    assert actor(Acting("nobody")) == Acting("nobody")


CONFIG = """
[profile.watched]
extends = "local"
embedder = "memory://"
vectors = "memory://"
[profile.watched.audit]
enabled = true
actor = "cli"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "storycore.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    capsys.readouterr()
    status = storycore_command([*arguments, "--profile", "watched"])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From making the key to finding what was changed, with exit statuses."""
    assert "audit.key. Keep a copy elsewhere" in command(capsys, "init")[1]
    assert (folder / "storycore-data" / "audit.key").stat().st_mode & 0o777 == 0o600
    assert command(capsys, "get", "user", "nobody")[0] != 0
    listed = json.loads(command(capsys, "audit", "list", "--action", "entities.get", "--json")[1])["records"]
    assert [(each["actor"], each["outcome"]) for each in listed] == [("cli", "done")]
    status, out, _ = command(capsys, "audit", "verify")
    assert (status, "as they were written" in out) == (0, True)
    assert command(capsys, "audit", "export", "--to", "trail.jsonl")[0] == 0
    assert command(capsys, "audit", "verify", "--file", "trail.jsonl")[0] == 0
    held = (folder / "trail.jsonl").read_bytes()
    (folder / "trail.jsonl").write_bytes(held.replace(b'"cli"', b'"eve"', 1))
    status, out, _ = command(capsys, "audit", "verify", "--file", "trail.jsonl", "--json")
    assert (status, json.loads(out)["findings"][0]["kind"]) == (1, "changed")
    assert command(capsys, "audit", "prune", "--before", "2030-01-01T00:00:00Z")[0] == 2
    assert "would go" in command(capsys, "audit", "prune", "--before", "2030-01-01T00:00:00Z", "--dry-run")[1]
    assert "went" in command(capsys, "audit", "prune", "--before", "2030-01-01T00:00:00Z", "--yes")[1]
    assert command(capsys, "audit", "forget", "ada")[0] == 2
    assert "was in no record" in command(capsys, "audit", "forget", "ada", "--yes")[1]
    assert command(capsys, "audit", "verify")[0] == 0


def test_a_key_that_is_gone_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new one would make the old trail look forged."""
    command(capsys, "init")
    command(capsys, "get", "user", "nobody")
    key = folder / "storycore-data" / "audit.key"
    key.unlink()
    status, _, err = command(capsys, "audit", "verify")
    assert (status, "bring it back" in err, key.exists()) == (2, True, False)
    key.write_text("00" * 32)
    assert command(capsys, "audit", "verify")[0] == 1
    key.write_text("nonsense")
    status, _, err = command(capsys, "audit", "verify")
    assert (status, "holds no key" in err) == (2, True)


def test_an_actor_reaches_the_sync_face() -> None:
    """The store's loop runs in another thread, and knows who called."""
    overrides = {"audit": {"enabled": True, "key": KEY}}
    with storycore.open_sync("memory", overrides=overrides) as store:
        with acting("nightly"):
            store.blobs.put("a", b"x", when=ANY)
        assert [each.actor for each in store.audit.records(action="blobs.put")] == ["nightly"]
        assert store.audit.verify().is_whole
