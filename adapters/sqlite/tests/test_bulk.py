"""Many puts in one call do what each of them does alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from storycore_sqlite._bulk import LEAST_PUTS
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities

from storycore.errors import PartialFailure, StorycoreError
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition, Matches, Version
from storycore.ports.entities import Change, Key, Put, QueryPlan, Written
from storycore.ports.environment import Environment
from storycore.testing.clock import ManualClock

KEYS = [Key(f"p{number % 5}", f"s{number:02}") for number in range(40)]


class Pair:
    """Two stores with one clock: one takes puts in one call, the other one by one."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.together, self.apart = (
            open_entities(SqliteConfig(path=folder / f"{name}.db"), Environment(clock=self.clock)) for name in "ab"
        )

    async def put(self, puts: Sequence[Put]) -> tuple[list[object], list[object]]:
        """What became of each put in both stores."""
        try:
            done: Sequence[object] = await self.together.write(puts)
        except PartialFailure as exc:
            done = exc.outcomes
        return [_told(each) for each in done], [_told(await _alone(self.apart, put)) for put in puts]


async def _alone(store: SqliteEntityStore, put: Put) -> Written | StorycoreError:
    try:
        return (await store.write([put]))[0]
    except StorycoreError as exc:
        return exc


def _told(outcome: object) -> object:
    return (type(outcome), outcome.message) if isinstance(outcome, StorycoreError) else outcome


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both open."""
    both = Pair(tmp_path)
    for store in (both.together, both.apart):
        await store.ensure()
    async with both.together, both.apart:
        yield both


def _put(chance: Random, key: Key, clock: ManualClock) -> Put:
    conditions: list[Condition] = [ANY, ANY, ANY, ABSENT, PRESENT, Matches(Version(chance.randint(1, 60)))]
    slots = chance.sample(range(1, 9), chance.choice([0, 0, 1, 3]))
    return Put(
        key=key,
        kind=chance.choice(["story", "user"]),
        expires_at=chance.choice([None, clock.now() + timedelta(seconds=chance.randint(1, 20))]),
        index_keys={slot: Key(f"g{slot}", chance.choice("abc")) for slot in slots},
        fields={"n": chance.randint(0, 9)} if chance.random() < 0.5 else {},
        body=chance.randbytes(chance.randint(0, 30)),
        when=chance.choice(conditions),
    )


@pytest.mark.parametrize("seed", range(6))
async def test_many_puts_do_what_each_does_alone(pair: Pair, seed: int) -> None:
    """Outcomes with versions, records, indexes and the feed are those of single puts, over live and expired records."""
    chance = Random(seed)
    for _ in range(6):
        puts = [_put(chance, key, pair.clock) for key in chance.sample(KEYS, chance.randint(LEAST_PUTS, len(KEYS)))]
        together, apart = await pair.put(puts)
        assert apart == together
        pair.clock.advance(timedelta(seconds=7))
    assert await pair.apart.get(KEYS) == await pair.together.get(KEYS)
    plans = [QueryPlan(pk=f"g{slot}", slot=slot) for slot in range(1, 9)]
    assert [await pair.apart.query(plan) for plan in plans] == [await pair.together.query(plan) for plan in plans]
    fed = [[(c.at, c.action, c.key, c.record) for c in await _feed(store)] for store in (pair.apart, pair.together)]
    assert fed[0] == fed[1]


async def _feed(store: SqliteEntityStore) -> Sequence[Change]:
    return (await store.changes(limit=1000)).changes


async def test_a_call_of_more_keys_than_one_question_has_room_for(pair: Pair) -> None:
    """What is stored is looked up in several questions, and each put meets its own record."""
    keys = [Key("p", f"{number:04}") for number in range(1000)]
    first = await pair.together.write([Put(key=key, kind="story") for key in keys[::2]])
    done = await pair.together.write([Put(key=key, kind="story", body=key.sk.encode()) for key in keys])
    assert [number % 2 == 1 for number in range(1000)] == [each.created for each in done]
    assert list(range(501, 1501)) == [each.version for each in done]
    assert len(first) == 500
    found = await pair.together.get(keys)
    assert [key.sk.encode() for key in keys] == [each.body for each in found if each is not None]
