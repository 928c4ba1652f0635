"""Concurrent atomic writes of several records, and the question whether some order of them explains every answer."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from storycore.errors import Effect, Throttled, TransactionConflict, Unavailable, VersionConflict
from storycore.ports.conditions import ABSENT, Matches, Version
from storycore.ports.entities import Check, Delete, EntityStore, Put, Write, Written
from storycore.testing.entity_examples import find, key, put
from storycore.testing.harness import Harness
from storycore.testing.linearizability import is_explained

__all__ = ["EntityTransactions", "Touch", "Transaction", "is_serializable"]

CLIENTS = 4
CALLS = 8
NAMES = ("a", "b", "c")

State: TypeAlias = frozenset[tuple[str, Version]]


@dataclass(frozen=True, slots=True)
class Touch:
    """What a call did with one record.

    Args:
        name: the record's sort key.
        verb: ``get``, ``put``, ``delete`` or ``check``.
        expected: the version that a write demanded; ``None``: that the record be absent.
        seen: the version that a get found or a put issued.
    """

    name: str
    verb: str
    expected: Version | None = None
    seen: Version | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One call of a client: when it began and ended, what it touched, and what came of it.

    Args:
        begin, end: ticks of one counter.
        touches: one for each record; a get touches one.
        refused: position to the version that was said to be stored; empty when the call was done. A position whose
            error names no version has -1.
    """

    begin: int
    end: int
    touches: tuple[Touch, ...]
    refused: Mapping[int, Version | int | None] = field(default_factory=dict)


def is_serializable(history: Sequence[Transaction]) -> bool:
    """Whether the calls can be put in an order in which each took effect at once, between its begin and its end."""
    start: State = frozenset()
    return is_explained(history, start, _follow)


def _follow(call: Transaction, state: State) -> list[State]:
    stored = dict(state)
    if not all(_holds(touch, i, call, stored.get(touch.name)) for i, touch in enumerate(call.touches)):
        return []
    if call.refused:
        return [state]
    for touch in call.touches:
        if touch.verb == "put" and touch.seen is not None:
            stored[touch.name] = touch.seen
        elif touch.verb == "delete":
            stored.pop(touch.name, None)
    return [frozenset(stored.items())]


def _holds(touch: Touch, position: int, call: Transaction, stored: Version | None) -> bool:
    if touch.verb == "get":
        return touch.seen == stored
    if position not in call.refused:
        return touch.expected == stored
    said = call.refused[position]
    return touch.expected != stored and said in (-1, stored)


@pytest.mark.asyncio
class EntityTransactions:
    """The part of the EntityStore suite with several clients, each with atomic writes of several records."""

    @pytest.mark.parametrize("seed", range(6))
    async def test_concurrent_atomic_writes_have_an_order(
        self, store: EntityStore, harness: Harness, seed: int
    ) -> None:
        """Reads and atomic puts, deletes and checks of several records are strictly serializable."""
        ticks = itertools.count()
        history: list[Transaction] = []
        clients = [_Client(store, random.Random(f"{seed}.{i}"), ticks, history) for i in range(CLIENTS)]
        await asyncio.gather(*(client.work() for client in clients))
        harness.count("concurrent transactions checked", len(history))
        assert any(call.refused for call in history), "nobody was ever in another's way"
        assert is_serializable(history)

    async def test_of_two_that_check_each_other_one_is_done(self, store: EntityStore) -> None:
        """Two atomic writes, each of which checks that the other's record is absent, are never both done."""
        for turn in range(10):
            one, other = f"{turn}a", f"{turn}b"
            outcomes = await asyncio.gather(
                store.write([Check(key=key(one), when=ABSENT), put(other)], atomic=True),
                store.write([Check(key=key(other), when=ABSENT), put(one)], atomic=True),
                return_exceptions=True,
            )
            found = [record for record in await store.get([key(one), key(other)]) if record is not None]
            done = [outcome for outcome in outcomes if isinstance(outcome, list)]
            assert len(done) == len(found) <= 1
            refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert all(isinstance(outcome, TransactionConflict | Throttled | Unavailable) for outcome in refusals)


class _Client:
    """Reads records and writes several at once, under the versions that it knows."""

    def __init__(
        self, store: EntityStore, choose: random.Random, ticks: Iterator[int], history: list[Transaction]
    ) -> None:
        self._store = store
        self._choose = choose
        self._ticks = ticks
        self._history = history
        self._known: dict[str, Version | None] = dict.fromkeys(NAMES)

    async def work(self) -> None:
        """Make the calls."""
        for _ in range(CALLS):
            await asyncio.sleep(0)
            names = self._choose.sample(NAMES, self._choose.randint(1, 3))
            for name in names if self._choose.random() < 0.6 else names[:0]:
                await self._get(name)
            await self._write(names)

    async def _get(self, name: str) -> None:
        begin = next(self._ticks)
        found = await find(self._store, name)
        self._known[name] = None if found is None else found.version
        touch = Touch(name, "get", seen=self._known[name])
        self._history.append(Transaction(begin, next(self._ticks), (touch,)))

    async def _write(self, names: Sequence[str]) -> None:
        wanted = [(name, self._choose.choice(("put", "put", "delete", "check", "check"))) for name in names]
        calls = [_call(name, verb, self._known[name]) for name, verb in wanted]
        begin = next(self._ticks)
        try:
            written: Sequence[Written | None] = await self._store.write(calls, atomic=True)
            refused: dict[int, Version | int | None] = {}
        except TransactionConflict as conflict:
            written = [None] * len(calls)
            refused = {i: _current(reason) for i, reason in conflict.reasons.items()}
        except (Throttled, Unavailable) as exc:
            assert exc.effect is Effect.NONE, "a call whose effect nobody knows"
            return
        end = next(self._ticks)
        touches = [
            Touch(name, verb, self._known[name], None if each is None else each.version)
            for (name, verb), each in zip(wanted, written, strict=True)
        ]
        self._history.append(Transaction(begin, end, tuple(touches), refused))
        self._learn(touches, refused)

    def _learn(self, touches: Sequence[Touch], refused: Mapping[int, Version | int | None]) -> None:
        for i, touch in enumerate(touches):
            if not refused and touch.verb in ("put", "delete"):
                self._known[touch.name] = touch.seen if touch.verb == "put" else None
            elif i in refused and refused[i] != -1:
                current = refused[i]
                self._known[touch.name] = None if current is None else Version(current)


def _call(name: str, verb: str, known: Version | None) -> Write:
    when = ABSENT if known is None else Matches(known)
    if verb == "put":
        return Put(key=key(name), kind="k", when=when)
    return Delete(key=key(name), when=when) if verb == "delete" else Check(key=key(name), when=when)


def _current(reason: Exception) -> Version | int | None:
    """The version that an error names; -1 where it names none."""
    if not isinstance(reason, VersionConflict):
        return -1
    return reason.current if isinstance(reason.current, int) else None
