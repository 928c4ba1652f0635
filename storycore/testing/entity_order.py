"""What an entity store promises about order, asked with keys that try to break it."""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar

import pytest

from storycore.ports.entities import EntityStore, Key, Position, Put, QueryPlan, Record
from storycore.testing.entity_examples import ORDERED, P, put, walk

__all__ = ["EntityOrder"]

ODD = ["\0", "\0\0", "\0\1", "\1", "\1\1", "\1\2", "\2", "a", "a\0", "a\0a", "a\1", "a\1\2", "aa", "b", "\U0010ffff"]
"""Text that is taken apart wrongly where keys are joined without care."""

PREFIXES = {"a": "b", "a\0": "a\1", "\1": "\2", "\0": "\1", "é": "ê", "\ud7ff": "\ue000", "\U0010ffff": None}
"""A prefix, and the least text that is greater than all that begin with it, where there is one."""


@pytest.mark.asyncio
class EntityOrder:
    """The part of the EntityStore suite in which sort keys are hostile.

    Args:
        index_lag_seconds: how long an index of the tested adapter may lag behind a write.
    """

    index_lag_seconds: ClassVar[float] = 0.0

    @pytest.mark.parametrize("seed", range(3))
    async def test_index_order_holds_for_odd_keys(self, store: EntityStore, seed: int) -> None:
        """Index sort key, pk and sk are compared one after the other, whatever characters they hold."""
        places = _places(random.Random(seed))
        await store.write([_listed(place) for place in places])
        await asyncio.sleep(self.index_lag_seconds)
        for limit in (1, 7, 1000):
            for reverse in (False, True):
                found = await walk(store, QueryPlan(pk="x", slot=1, limit=limit, reverse=reverse))
                assert sorted(places, reverse=reverse) == [_place(record) for record in found]

    async def test_index_bounds_hold_for_odd_keys(self, store: EntityStore) -> None:
        """A range of an index holds exactly the records whose index sort key lies in it."""
        places = _places(random.Random(11))
        await store.write([_listed(place) for place in places])
        await asyncio.sleep(self.index_lag_seconds)
        for low, high in zip(ODD, [*ODD[3:], None, None, None], strict=True):
            found = await walk(store, QueryPlan(pk="x", slot=1, low=low, high=high))
            expected = [place for place in sorted(places) if low <= place[0] and (high is None or place[0] < high)]
            assert expected == [_place(record) for record in found], (low, high)

    async def test_an_index_goes_on_behind_any_odd_place(self, store: EntityStore) -> None:
        """Behind the place of each record come exactly the later ones, in both directions."""
        places = sorted(_places(random.Random(12)))
        await store.write([_listed(place) for place in places])
        await asyncio.sleep(self.index_lag_seconds)
        for i, (at, pk, sk) in enumerate(places):
            after = Position(Key(pk, sk), Key("x", at))
            for reverse, behind in ((False, places[i + 1 :]), (True, places[:i][::-1])):
                found = await walk(store, QueryPlan(pk="x", slot=1, after=after, reverse=reverse, limit=1000))
                assert behind == [_place(record) for record in found]

    @pytest.mark.parametrize("slot", [None, 1])
    async def test_a_prefix_is_a_range(self, store: EntityStore, slot: int | None) -> None:
        """From a prefix to its successor lies exactly what begins with it, also around the surrogates' gap."""
        names = sorted({*ORDERED, *(prefix + end for prefix in PREFIXES for end in ("", "\0", "z", "\U0010ffff"))})
        await store.write([put(name, index_keys={1: Key(P, name)}) for name in names])
        await asyncio.sleep(self.index_lag_seconds)
        for prefix, successor in PREFIXES.items():
            found = await walk(store, QueryPlan(pk=P, slot=slot, low=prefix, high=successor))
            assert [name for name in names if name.startswith(prefix)] == [record.key.sk for record in found]

    async def test_partitions_with_odd_names_are_apart(self, store: EntityStore) -> None:
        """Partitions of the table and of an index never mix, whatever they are called."""
        await store.write([put("a", pk=name, index_keys={1: Key(name, "same")}) for name in ODD])
        await asyncio.sleep(self.index_lag_seconds)
        for name in ODD:
            for slot in (None, 1):
                found = await walk(store, QueryPlan(pk=name, slot=slot))
                assert [Key(name, "a")] == [record.key for record in found]


def _places(choose: random.Random) -> list[tuple[str, str, str]]:
    """Different places in an index: index sort key, pk, sk; many differ in one of them only."""
    pairs = {(choose.choice(ODD), choose.choice(ODD)): choose.choice(ODD) for _ in range(60)}
    return [(at, pk, sk) for (pk, sk), at in pairs.items()]


def _listed(place: tuple[str, str, str]) -> Put:
    at, pk, sk = place
    return put(sk, pk=pk, index_keys={1: Key("x", at)})


def _place(record: Record) -> tuple[str, str, str]:
    return record.index_keys[1].sk, record.key.pk, record.key.sk
