"""Health: three levels, all parts at once and in bounded time, and probes that leave nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.errors import ConfigError, InvalidArgument, Unavailable
from storycore.health import Checkup, State
from storycore.health.probes import PROBES
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import Key, Record, Write, Written
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Health, PortName
from storycore.story import User

WITHOUT_MODEL = {"embedder": "memory://", "vectors": "memory://"}


class Watched(MemoryEntityStore):
    """The reference store; counts questions, answers when it is let, and can be made read-only."""

    def __init__(self) -> None:
        super().__init__(Environment())
        self.answers = asyncio.Event()
        self.answers.set()
        self.reads = self.waiting = 0
        self.is_read_only = False

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        self.reads += 1
        self.waiting += 1
        try:
            await self.answers.wait()
        finally:
            self.waiting -= 1
        return await super().get(keys, consistent=consistent)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        if self.is_read_only:
            raise Unavailable("This replica takes no writes; connect to the primary.")
        return await super().write(writes, atomic=atomic, token=token)


async def no_jobs() -> Health | None:
    """A store that has none."""
    return None


def checkup(store: Watched, **given: Any) -> Checkup:
    """A checkup of this one port."""
    settings: dict[str, Any] = {
        "required": frozenset({"entities"}),
        "read_only": frozenset(),
        "jobs": no_jobs,
        "plugged": dict,
        "last_errors": {},
        "timeout": 5.0,
        "keep": 0.0,
    }
    return Checkup({PortName.ENTITIES: store}, **{**settings, **given})


def test_every_port_has_a_probe() -> None:
    assert set(PROBES) == set(PortName)


async def test_a_live_store_is_asked_nothing(tmp_path: Path) -> None:
    """Also where nothing could answer: a restart would help nobody."""
    async with storycore.open("local", dir=tmp_path / "absent", overrides=WITHOUT_MODEL) as store:
        report = await store.health("live")
        assert (report.state, list(report)) == (State.OK, ["loop"])
        assert store.metrics.as_dict() == {}
    assert not (tmp_path / "absent").exists()


async def test_a_store_is_ready_when_its_required_ports_are(tmp_path: Path) -> None:
    async with storycore.open("local", dir=tmp_path / "data", overrides=WITHOUT_MODEL) as store:
        report = await store.health("ready")
        assert (report.state, list(report)) == (State.DOWN, ["entities"])
        assert "storycore init" in report["entities"].detail
    async with storycore.open("local", dir=tmp_path / "data", overrides=WITHOUT_MODEL) as store:
        await store.init()
        assert (await store.health("ready")).state is State.OK
        assert "vectors" not in store.metrics.as_dict()


async def test_what_is_required_is_the_profiles_to_say(tmp_path: Path) -> None:
    """The same broken index is nothing for one profile, degrades another, and is the end for a third."""
    async with storycore.open("local", dir=tmp_path, overrides={"embedder": "memory://"}) as store:
        await store.init()
    (tmp_path / "vectors.db").write_bytes(b"this is no database" * 1000)
    found = {}
    for required in ("entities", "entities, vectors"):
        overrides = {"embedder": "memory://", "health": {"required": required}}
        async with storycore.open("local", dir=tmp_path, overrides=overrides) as store:
            found[required] = (await store.health("ready")).state, (await store.health()).state
    assert found == {"entities": (State.OK, State.DEGRADED), "entities, vectors": (State.DOWN, State.DOWN)}


async def test_a_port_that_only_reads_is_not_ready() -> None:
    """It would pass a ping."""
    store = Watched()
    await store.open()
    store.is_read_only = True
    report = await checkup(store).look("ready")
    assert (report.state, report["entities"].detail) == (
        State.DOWN,
        "This replica takes no writes; connect to the primary.",
    )
    assert (await checkup(store, read_only=frozenset({"entities"})).look("ready")).state is State.OK


async def test_a_profile_that_only_reads_is_not_written(tmp_path: Path) -> None:
    """The layer ``readonly`` would refuse the probe, which says nothing of the store."""
    async with storycore.open("local", dir=tmp_path, overrides=WITHOUT_MODEL) as store:
        await store.init()
    looking = {**WITHOUT_MODEL, "entities": {"url": f"sqlite:///{tmp_path}/entities.db", "layers": ["readonly"]}}
    async with storycore.open("local", dir=tmp_path, overrides=looking) as store:
        assert (await store.health("ready")).state is State.OK


async def test_a_look_leaves_nothing() -> None:
    """No record and no change, no blob, no namespace, no event."""
    async with storycore.open("memory") as store:
        await store.init()
        for level in ("live", "ready", "detail"):
            assert (await store.health(level)).state is State.OK
        entities = store.ports[PortName.ENTITIES]
        assert (await entities.changes()).changes == ()
        assert (await store.blobs.entries()).blobs == []
        assert dict((await store.vectors.stats()).counts) == {}
        assert (await store.events.read()).events == []


async def test_a_look_takes_no_longer_than_its_time() -> None:
    """Whoever does not answer is told so, and is not asked twice at a time."""
    store = Watched()
    await store.open()
    store.answers.clear()
    hurried = checkup(store, timeout=0.05)
    begun = time.perf_counter()
    report = await hurried.look("detail")
    assert time.perf_counter() - begun < 2
    assert (report.state, report["entities"].detail) == (State.DOWN, "It did not answer within 0.05 s.")
    await asyncio.sleep(0)
    assert store.waiting == 0
    store.answers.set()
    assert (await hurried.look("detail")).state is State.OK


async def test_parts_are_asked_at_once() -> None:
    """Two that wait for each other both answer."""
    here, there = asyncio.Event(), asyncio.Event()

    class Meeting(Watched):
        async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
            here.set()
            await there.wait()
            return await super().get(keys, consistent=consistent)

    async def jobs() -> Health | None:
        there.set()
        await here.wait()
        return Health(ok=True)

    store = Meeting()
    await store.open()
    report = await checkup(store, jobs=jobs).look("ready")
    assert {name: line.ok for name, line in report.items()} == {"entities": True, "jobs": True}


async def test_many_who_ask_at_once_get_one_answer() -> None:
    """And for a while the same again, so that probes cost little; details are always fresh."""
    store = Watched()
    await store.open()
    kept = checkup(store, keep=60.0)
    reports = await asyncio.gather(*(kept.look("ready") for _ in range(20)))
    assert (store.reads, {report.state for report in reports}) == (1, {State.OK})
    await kept.look("ready")
    assert store.reads == 1
    await kept.look("detail")
    assert store.reads == 2


async def test_a_caller_who_goes_takes_nobodys_answer_away() -> None:
    store = Watched()
    await store.open()
    store.answers.clear()
    kept = checkup(store, keep=60.0)
    gone, staying = (asyncio.create_task(kept.look("ready")) for _ in range(2))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    store.answers.set()
    assert (await staying).state is State.OK
    assert store.reads == 1


async def test_jobs_that_fail_degrade_a_ready_store() -> None:
    async def jobs() -> Health | None:
        return Health(ok=False, detail="backup.daily is overdue by 7 h")

    store = Watched()
    await store.open()
    report = await checkup(store, jobs=jobs).look("ready")
    assert (report.state, report["jobs"].detail) == (State.DEGRADED, "backup.daily is overdue by 7 h")


async def test_closing_ends_the_questions() -> None:
    store = Watched()
    await store.open()
    store.answers.clear()
    asked = checkup(store)
    look = asyncio.create_task(asked.look("ready"))
    await asyncio.sleep(0.01)
    assert store.waiting == 1
    await asked.close()
    assert store.waiting == 0
    assert isinstance((await asyncio.gather(look, return_exceptions=True))[0], asyncio.CancelledError)


async def test_a_line_tells_who_is_behind_a_port_and_its_last_failure() -> None:
    """The class alone, and no refusal: those are answers."""
    async with storycore.open("memory") as store:
        await store.init()
        with pytest.raises(storycore.errors.NotFound):
            await store.users.get("nobody")
        facts = (await store.health())["entities"].facts
        assert (facts["adapter"], facts.get("last_error")) == ("memory", None)
    told = await checkup(await opened(), last_errors={"entities": "Throttled"}).look("detail")
    assert told["entities"].facts["last_error"] == "Throttled"


async def opened() -> Watched:
    """The watched store, open."""
    store = Watched()
    await store.open()
    return store


@pytest.mark.parametrize(("level", "deep"), [("redy", False), ("ready", True), ("live", True)])
async def test_a_level_that_is_none_is_refused(level: str, deep: bool) -> None:
    async with storycore.open("memory") as store:
        with pytest.raises(InvalidArgument, match="level"):
            await store.health(level, deep=deep)


async def test_a_port_that_the_profile_does_without_cannot_be_required(tmp_path: Path) -> None:
    overrides = {**WITHOUT_MODEL, "health": {"required": ["reranker"]}}
    async with storycore.open("local", dir=tmp_path, overrides=overrides) as store:
        with pytest.raises(ConfigError, match="has no reranker"):
            await store.health("ready")


async def test_a_probe_removes_nothing_that_is_there() -> None:
    async with storycore.open("memory") as store:
        await store.users.save(User(email="ada@example.com", username="ada"))
        await store.blobs.put("a", b"a", when=ANY)
        await store.health()
        assert len((await store.blobs.entries()).blobs) == 1
        assert (await store.users.by_username("ada")).email == "ada@example.com"
