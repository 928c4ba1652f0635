"""Concurrent clients of one record, and the question whether some order of their calls explains every answer."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from storycore.errors import AlreadyExists, TransactionConflict, VersionConflict
from storycore.ports.conditions import ABSENT, Matches, Version
from storycore.ports.entities import Delete, EntityStore, Patch, Put
from storycore.testing.entity_examples import find, key, put, write
from storycore.testing.linearizability import is_explained

__all__ = ["Call", "EntityHistories", "is_linearizable"]

CLIENTS = 4
CALLS = 6


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client: when it began and ended, what it did, and what came of it.

    Args:
        begin, end: ticks of one counter.
        verb: ``get``, ``put`` or ``delete``.
        expected: the version that a write demanded; ``None``: that the record be absent.
        done: whether a write was done.
        seen: the version that a get found, a put issued, or ``VersionConflict`` named.
    """

    begin: int
    end: int
    verb: str
    expected: Version | None
    done: bool
    seen: Version | None


def is_linearizable(history: Sequence[Call]) -> bool:
    """Whether the calls can be put in an order in which each took effect between its begin and its end."""
    return is_explained(history, None, _follow)


def _follow(call: Call, state: Version | None) -> list[Version | None]:
    if call.verb == "get":
        return [state] if call.seen == state else []
    if call.done:
        after = call.seen if call.verb == "put" else None
        return [after] if call.expected == state else []
    is_right = state != call.expected and (call.expected is None or call.seen == state)
    return [state] if is_right else []


@pytest.mark.asyncio
class EntityHistories:
    """The part of the EntityStore suite with several clients at once."""

    @pytest.mark.parametrize("seed", range(4))
    async def test_concurrent_calls_have_an_order(self, store: EntityStore, seed: int) -> None:
        """Gets, conditional puts and deletes of one record are linearizable."""
        history = await record_history(store, seed)
        assert is_linearizable(history)

    async def test_of_many_creators_one_wins(self, store: EntityStore) -> None:
        """``ABSENT`` lets exactly one of many concurrent puts through, and its record is the one that stays."""
        writes = [write(store, put("a", fields={"n": n}, when=ABSENT)) for n in range(20)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, list)]
        losers = [outcome for outcome in outcomes if not isinstance(outcome, list)]
        stored = await find(store, "a")
        assert stored is not None
        assert [stored.fields["n"]] == winners
        assert {AlreadyExists} == {type(loser) for loser in losers}

    async def test_no_addition_is_lost(self, store: EntityStore) -> None:
        """Concurrent patches all count, also inside atomic writes."""
        await write(store, put("a"), put("b"))
        both = [Patch(key=key(name), add={"n": 1}) for name in "ab"]
        calls = [_insist(store, both[:1] if i % 2 else both, atomic=i % 3 == 0) for i in range(30)]
        await asyncio.gather(*calls)
        found = await store.get([key("a"), key("b")])
        assert [None if record is None else record.fields["n"] for record in found] == [30, 15]

    async def test_atomic_writes_keep_a_balance(self, store: EntityStore) -> None:
        """Transfers between records, each under the versions it has read, neither make nor lose anything."""
        names = ["a", "b", "c"]
        await write(store, *(put(name, fields={"n": 100}) for name in names))
        await asyncio.gather(*(_transfer(store, random.Random(i).sample(names, 2), i) for i in range(20)))
        total = [record.fields["n"] for record in await store.get([key(name) for name in names]) if record is not None]
        assert sum(n for n in total if isinstance(n, int)) == 300

    async def test_a_cancelled_caller_harms_nobody(self, store: EntityStore) -> None:
        """Writes of others go on, and the cancelled one is done whole or not at all."""
        doomed = [
            asyncio.create_task(write(store, put("x", fields={"n": n}), put("y", fields={"n": n}), atomic=True))
            for n in range(10)
        ]
        others = [asyncio.create_task(write(store, put(f"{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        for task in doomed[::2]:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        await asyncio.gather(*others)
        assert None not in await store.get([key(f"{n}") for n in range(10)])
        x, y = await store.get([key("x"), key("y")])
        assert (x is None or x.fields) == (y is None or y.fields)


async def record_history(store: EntityStore, seed: int) -> list[Call]:
    """Let several clients work on one record, and write down what they saw."""
    ticks = itertools.count()
    history: list[Call] = []
    await asyncio.gather(*(_client(store, random.Random(f"{seed}.{i}"), ticks, history) for i in range(CLIENTS)))
    return history


async def _client(store: EntityStore, choose: random.Random, ticks: Iterator[int], history: list[Call]) -> None:
    known: Version | None = None
    for _ in range(CALLS):
        await asyncio.sleep(0)
        verb = choose.choice(["get", "put"] if known is None else ["get", "put", "put", "delete"])
        begin = next(ticks)
        done, seen = await _do(store, verb, known)
        history.append(Call(begin, next(ticks), verb, known, done, seen))
        known = None if verb == "delete" and done else seen


async def _do(store: EntityStore, verb: str, expected: Version | None) -> tuple[bool, Version | None]:
    if verb == "get":
        found = await find(store, "a")
        return True, None if found is None else found.version
    when = ABSENT if expected is None else Matches(expected)
    change = Put(key=key("a"), kind="k", when=when) if verb == "put" else Delete(key=key("a"), when=when)
    try:
        return True, (await store.write([change]))[0].version
    except VersionConflict as conflict:
        return False, Version(conflict.current) if isinstance(conflict.current, int) else None
    except AlreadyExists:
        return False, None


async def _insist(store: EntityStore, writes: Sequence[Patch], *, atomic: bool) -> None:
    """Repeat an atomic write that loses a race; without ``atomic`` nothing can be refused."""
    while True:
        try:
            await store.write(writes, atomic=atomic)
            return
        except TransactionConflict:
            await asyncio.sleep(0)


async def _transfer(store: EntityStore, names: Sequence[str], amount: int) -> None:
    """Move an amount from one record to another, under the versions that were read."""
    while True:
        found = [record for record in await store.get([key(name) for name in names]) if record is not None]
        amounts = [-amount, amount]
        moved = [
            Patch(key=record.key, add={"n": change}, when=Matches(record.version))
            for record, change in zip(found, amounts, strict=True)
        ]
        try:
            await store.write(moved, atomic=True)
            return
        except TransactionConflict:
            await asyncio.sleep(0)
