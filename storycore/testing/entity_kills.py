"""What an entity store promises about crashes: a process is killed at random moments, again and again, while it writes.

``STORYCORE_KILL_ROUNDS`` in the environment sets the number of kills, for a long run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import ClassVar, Final

import pytest

from storycore.ports.entities import Delete, EntityStore, Key, Patch, Put, QueryPlan, Record, Write
from storycore.testing.entity_durability import durable
from storycore.testing.entity_examples import P, content, key, put, walk, walk_changes
from storycore.testing.harness import Harness
from storycore.testing.processes import Child, Line, child

__all__ = ["EntityKills"]

HERE: Final = "storycore.testing.entity_kills"
WRITERS: Final = tuple("uvw")
ROUNDS_IN_ONE_PLACE: Final = 20
_KINDS: Final = 4
_ATOMIC: Final = 2
_LONGEST_SECONDS: Final = 0.01


@pytest.mark.asyncio
class EntityKills:
    """The part of the EntityStore suite that kills.

    Args:
        kill_rounds: how often a writing process is killed; ``None``: 5 times, or once for an adapter that brings a
            server, where starting a process again takes long.
        index_lag_seconds: how long an index of the tested adapter may lag behind a write.
        feed_lag_seconds: how long its feed may.
    """

    kill_rounds: ClassVar[int | None] = None
    index_lag_seconds: ClassVar[float] = 0.0
    feed_lag_seconds: ClassVar[float] = 0.0

    async def test_what_was_acknowledged_survives_a_kill(self, harness: Harness) -> None:
        """No acknowledged write is lost, nothing is there by half, and indexes and feed tell of exactly what is."""
        await (await durable(harness)).close()
        choose = random.Random(7)
        rounds = int(os.environ.get("STORYCORE_KILL_ROUNDS", 0)) or harness.fitting(self.kill_rounds, 5)
        for first in range(0, rounds, ROUNDS_IN_ONE_PLACE):
            place = await _begun(harness)
            done = dict.fromkeys(WRITERS, 0)
            for _ in range(min(ROUNDS_IN_ONE_PLACE, rounds - first)):
                acknowledged = await _killed(place, done, choose)
                harness.count("kills")
                harness.count("writes acknowledged before kills", sum(acknowledged.values()) - sum(done.values()))
                done = await self._verified(place, acknowledged)

    async def _verified(self, place: Harness, acknowledged: dict[str, int]) -> dict[str, int]:
        """Open the place again and compare what is there with what was acknowledged; how many steps are done."""
        store = await place.started()
        assert (await store.health(deep=True)).ok
        records = await _at_rest(store)
        done = {writer: _steps_done(writer, acknowledged[writer], records) for writer in WRITERS}
        await self._agree(store, records)
        await store.close()
        return done

    async def _agree(self, store: EntityStore, records: Sequence[Record]) -> None:
        """The index lists the same records, and the feed, replayed, leads to them."""
        await asyncio.sleep(max(self.index_lag_seconds, self.feed_lag_seconds))
        listed = [record for record in records if record.index_keys]
        assert listed == await walk(store, QueryPlan(pk="x", slot=1, limit=1000))
        if store.capabilities.has("entities.changes"):
            told: dict[Key, Record | None] = {}
            for change in await walk_changes(store, limit=1000):
                told[change.key] = change.record
            assert {record.key: record for record in records} == {k: r for k, r in told.items() if r is not None}


async def _begun(harness: Harness) -> Harness:
    """A place with a counter for each writer."""
    place = harness.fresh()
    store = await place.started()
    await store.write([put(f"{writer} count", fields={"n": 0}) for writer in WRITERS])
    await store.close()
    return place


async def _killed(place: Harness, done: dict[str, int], choose: random.Random) -> dict[str, int]:
    """Let a process write on, and kill it; the number of steps that each writer has acknowledged."""
    acknowledged = dict(done)
    async with child(place, f"{HERE}:_write_for_ever", done) as process:
        for _ in range(choose.randint(1, 40)):
            _note(acknowledged, await process.hear())
        await asyncio.sleep(choose.random() * _LONGEST_SECONDS)
        await process.kill()
        await _hear_the_rest(process, acknowledged)
    return acknowledged


async def _hear_the_rest(process: Child, acknowledged: dict[str, int]) -> None:
    while (line := await process.hear()) is not None:
        _note(acknowledged, line)


def _note(acknowledged: dict[str, int], line: tuple[str, int]) -> None:
    writer, step = line
    acknowledged[writer] = step + 1


async def _write_for_ever(store: EntityStore, line: Line, done: dict[str, int]) -> None:
    """Several writers at once, each reporting a step once its call has returned."""
    await asyncio.gather(*(_write_on(store, line, writer, step) for writer, step in done.items()))


async def _write_on(store: EntityStore, line: Line, writer: str, step: int) -> None:
    while True:
        await store.write(_writes(writer, step), atomic=step % _KINDS == _ATOMIC)
        line.say([writer, step])
        step += 1


def _writes(writer: str, step: int) -> list[Write]:
    """What a writer does: a single put, a batch, an atomic write with a counter, a delete, and so on."""
    turn, kind = divmod(step, _KINDS)
    if kind == 0:
        return [_put(f"{writer} single {turn:06}")]
    if kind == 1:
        return [_put(f"{writer} batch {turn:06}{part}") for part in "abc"]
    if kind == _ATOMIC:
        group: list[Write] = [_put(f"{writer} group {turn:06}{part}") for part in "abc"]
        return [*group, Patch(key=key(f"{writer} count"), add={"n": 1})]
    return [Delete(key=key(f"{writer} single {turn - 1:06}"))]


def _put(name: str) -> Put:
    return put(name, index_keys={1: Key("x", name)}, fields={"of": name}, body=name.encode() * 200)


async def _at_rest(store: EntityStore) -> list[Record]:
    """All records, once what the killed process had asked of a service is done."""
    before: list[Record] | None = None
    while True:
        records = await walk(store, QueryPlan(pk=P, limit=1000))
        if records == before:
            return records
        before = records
        await asyncio.sleep(0.01)


def _steps_done(writer: str, acknowledged: int, records: Sequence[Record]) -> int:
    """Check what is there of a writer against what was acknowledged; how many steps are done as a whole."""
    found = {record.key.sk: record for record in records if record.key.sk.startswith(f"{writer} ")}
    counter = found.pop(f"{writer} count")
    for name, record in found.items():
        assert content(_put(name)) == content(record), "a record is there by half"
    sure, next_writes = _names(writer, acknowledged), {w.key.sk for w in _writes(writer, acknowledged)}
    undecided = next_writes - {f"{writer} count"}
    differing = sure ^ set(found)
    assert differing <= undecided, f"lost or from nowhere: {sorted(differing - undecided)}"
    if acknowledged % _KINDS == _ATOMIC:
        assert differing in (set(), undecided), f"an atomic write is there by half: {sorted(differing)}"
    groups = sum(1 for name in found if name.startswith(f"{writer} group ")) // 3
    assert groups == counter.fields["n"], "a counter disagrees with what it counts"
    return acknowledged + (differing == undecided)


def _names(writer: str, steps: int) -> set[str]:
    """The names of a writer's records after so many steps."""
    names: set[str] = set()
    for step in range(steps):
        for each in _writes(writer, step):
            (names.discard if isinstance(each, Delete) else names.add)(each.key.sk)
    return names - {f"{writer} count"}
