"""What stands above the port neither loses nor doubles when calls fail before or after they took effect."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from storycore.entities import Key, Repository, entity, part
from storycore.errors import ConditionFailed, Effect, StorycoreError
from storycore.layers.retry import Retrying, RetrySettings
from storycore.ports.entities import EntityStore
from storycore.ports.lifecycle import PortName
from storycore.testing.faults import Fault, Faults, by_chance
from storycore.testing.harness import Harness


class Jar(BaseModel):
    jar_id: str
    coins: int = 0
    label: str = ""
    tags: frozenset[str] = frozenset()


JAR = entity(Jar, kind="jar", key=Key(pk=("jar", part.jar_id), sk=("jar",)), counters=("coins",), promoted=("tags",))
KNOWN = (Fault.BEFORE, Fault.THROTTLED)
UNKNOWN = (Fault.LOST, Fault.AFTER)


@pytest.fixture
def faults() -> Faults:
    return Faults(PortName.ENTITIES, operations={"write"})


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.ENTITIES, "memory", {}, tmp_path)


@pytest.fixture
async def store(harness: Harness, faults: Faults) -> AsyncIterator[EntityStore]:
    """The store behind faults, and retries around them."""
    retrying = Retrying(RetrySettings(attempts=20, base_seconds=1e-6, cap_seconds=1e-6), random.Random(7))
    async with harness.make() as inner:
        yield faults.around(inner, retrying)


@pytest.fixture
def jars(store: EntityStore, harness: Harness) -> Repository[Jar]:
    return Repository(JAR, store, harness.env, cursor_key=b"k" * 16)


@pytest.mark.parametrize("seed", range(5))
async def test_faults_that_are_known_are_not_noticed(jars: Repository[Jar], faults: Faults, seed: int) -> None:
    """What was surely not done is repeated, and everything is done once."""
    await jars.create(Jar(jar_id="a"))
    faults.plan(by_chance(random.Random(seed), 0.4, *KNOWN))
    await asyncio.gather(*(jars.count("a", {"coins": 1}) for _ in range(40)))
    await jars.create(Jar(jar_id="b"))
    assert ((await jars.get("a")).coins, await jars.get("b")) == (40, Jar(jar_id="b"))
    assert len(faults.injected) > 10


@pytest.mark.parametrize("seed", range(5))
async def test_an_addition_of_unknown_effect_is_not_repeated(jars: Repository[Jar], faults: Faults, seed: int) -> None:
    """The caller hears that it is unknown; what is stored is exactly what was done."""
    await jars.create(Jar(jar_id="a"))
    faults.plan(by_chance(random.Random(seed), 0.4, *KNOWN, *UNKNOWN))
    outcomes = await asyncio.gather(*(jars.count("a", {"coins": 1}) for _ in range(40)), return_exceptions=True)
    faults.plan([])
    heard = sum(isinstance(outcome, Jar) for outcome in outcomes)
    errors = [outcome for outcome in outcomes if isinstance(outcome, StorycoreError)]
    silent = sum(injected.fault is Fault.AFTER for injected in faults.injected)
    assert (heard + len(errors), {error.effect for error in errors}) == (40, {Effect.UNKNOWN})
    assert (await jars.get("a")).coins == heard + silent


@pytest.mark.parametrize("fault", UNKNOWN, ids=str)
async def test_a_creation_of_unknown_effect_can_be_found_out(
    jars: Repository[Jar], faults: Faults, fault: Fault
) -> None:
    """After the error the instance is there or not, and creating it again tells which."""
    faults.plan([fault])
    with pytest.raises(StorycoreError) as caught:
        await jars.create(Jar(jar_id="a"))
    assert caught.value.effect is Effect.UNKNOWN
    assert (await jars.find("a") is not None) == fault.is_done


@pytest.mark.parametrize("seed", range(5))
async def test_a_stale_instance_never_overwrites(jars: Repository[Jar], faults: Faults, seed: int) -> None:
    """An instance whose write was of unknown effect is put under its old version, so it loses or wins once."""
    jar = await jars.create(Jar(jar_id="a"))
    faults.plan(by_chance(random.Random(seed), 0.5, *UNKNOWN))
    wrote = 0
    for turn in range(20):
        try:
            await jars.put(jar.model_copy(update={"label": f"{turn}"}))
            wrote = turn
        except ConditionFailed:
            pass
        except StorycoreError as exc:
            assert exc.effect is Effect.UNKNOWN
        jar = await jars.get("a", consistent=True)
        assert int(jar.label or 0) in (wrote, turn)
        wrote = int(jar.label or 0)


@pytest.mark.parametrize("seed", range(5))
async def test_modify_changes_once_for_each_that_answers(jars: Repository[Jar], faults: Faults, seed: int) -> None:
    """A change that runs again while others are faster is not done twice, whatever fails in between."""
    await jars.create(Jar(jar_id="a", label=""))
    faults.plan(by_chance(random.Random(seed), 0.4, *KNOWN, *UNKNOWN))
    names = [chr(ord("a") + n) for n in range(16)]

    async def append(name: str) -> str | None:
        try:
            await jars.modify("a", lambda jar: {"label": jar.label + name})
        except StorycoreError as exc:
            return None if exc.effect is Effect.UNKNOWN or isinstance(exc, ConditionFailed) else repr(exc)
        return name

    heard = await asyncio.gather(*map(append, names))
    faults.plan([])
    label = (await jars.get("a")).label
    assert len(set(label)) == len(label), "something was done twice"
    assert {name for name in heard if name is not None} <= set(label) <= set(names)


@pytest.mark.parametrize("fault", [Fault.CANCELLED_BEFORE, Fault.CANCELLED_AFTER], ids=str)
async def test_a_cancelled_caller_leaves_a_whole_instance(jars: Repository[Jar], faults: Faults, fault: Fault) -> None:
    """The write is done whole or not at all, and the next one goes on from there."""
    await jars.create(Jar(jar_id="a", coins=1, label="old"))
    faults.plan([fault])
    task = asyncio.create_task(jars.patch("a", set={"label": "new", "tags": frozenset({"t"})}))
    await asyncio.wait([task])
    assert task.cancelled()
    new, old = Jar(jar_id="a", coins=1, label="new", tags=frozenset({"t"})), Jar(jar_id="a", coins=1, label="old")
    assert await jars.get("a") == (new if fault.is_done else old)
    assert (await jars.count("a", {"coins": 1})).coins == 2
