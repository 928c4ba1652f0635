"""Leases: of all who want to do a thing one does it, with what he remembers of it in the same record.

The record is written under its version, so of two who believe that it is their turn one is refused, and what a late one
wants to keep is refused with it. The time in it only tells the others how long to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import orjson

from storycore.errors import ConditionFailed, Corrupt, InvalidArgument, StorycoreError
from storycore.layers.deadline import timeless
from storycore.ports.conditions import ABSENT, Condition, Matches, Version
from storycore.ports.entities import EntityStore, Key, Put, Record, Write
from storycore.ports.environment import Environment

__all__ = ["OWN_KINDS", "Held", "Kept", "Lease", "LeaseLostError", "held_of"]

S = TypeVar("S")

OWN_KINDS = frozenset({"change_group", "job_state", "job_run"})
"""The kinds of records in which a store remembers what it does itself; another store must not take them over."""

_BEATS_PER_LEASE = 3
_ATTEMPTS = 3


class LeaseLostError(Exception):
    """It is another's turn now; what was not saved, he does again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Generic[S]):
    """What a lease's record holds.

    Args:
        state: what is remembered from turn to turn.
        owner: whose turn it is; ``""``: nobody's.
        until: the end of his lease.
    """

    state: S
    owner: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Kept(Generic[S]):
    """What is to be remembered, and what is written with it in one step or not at all."""

    state: S
    also: Sequence[Write] = ()


class Lease(Generic[S]):
    """The turn of one of any number of owners, as one of them sees it.

    ``state`` is what he remembers; he may replace it during his turn, and every sign of life saves it.

    Args:
        store: keeps the record.
        env: tells the time, by which turns end, and names the owner.
        key: where the record is.
        kind: of the record.
        length: after this time without a sign of life another owner may take the turn; a second or longer.
        decode: from what JSON gives to the state; raises ``ValueError`` or ``TypeError`` where that cannot be.

    Raises:
        InvalidArgument: a length below one second.
    """

    def __init__(
        self,
        store: EntityStore,
        env: Environment,
        *,
        key: Key,
        kind: str,
        length: timedelta,
        decode: Callable[[object], S],
    ) -> None:
        if not isinstance(length, timedelta) or length < timedelta(seconds=1):
            raise InvalidArgument(f"A lease lasts a second or longer, not {length!r}.")
        self.key = key
        self.state: S
        self._store = store
        self._env = env
        self._kind = kind
        self._length = length
        self._decode = decode
        self._owner = env.new_id()
        self._held: Held[S] | None = None
        self._version: Version | None = None
        self._fence: int | None = None
        self._writing = asyncio.Lock()
        self._heart: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    @property
    def is_held(self) -> bool:
        """Whether it is this owner's turn, as far as he knows."""
        return self._held is not None

    @property
    def fence(self) -> int | None:
        """Greater than that of every turn before; ``None`` while it is not this owner's."""
        return None if self._held is None else self._fence

    async def take(self, begin: Callable[[Held[S] | None], Awaitable[Kept[S] | None]]) -> bool:
        """Take the turn if it is nobody else's; ``state`` is then what is remembered.

        Args:
            begin: from what the record holds, or ``None`` where there is none, to what is remembered from now on;
                ``None`` lets the turn be.
        """
        record = await self._read()
        found = None if record is None else held_of(record, self._decode)
        if found is not None and found.owner not in ("", self._owner) and found.until > self._now():
            return False
        kept = await begin(found)
        if kept is None:
            return False
        mine = Held(state=kept.state, owner=self._owner, until=self._now() + self._length)
        when = ABSENT if record is None else Matches(record.version)
        try:
            self._fence = self._version = await self._write(mine, when, kept.also)
        except ConditionFailed:
            return False
        self._held, self.state = mine, mine.state
        self._lost.clear()
        if self._heart is None or self._heart.done():
            self._heart = asyncio.get_running_loop().create_task(self._beat(), context=timeless())
        return True

    async def hold(self) -> None:
        """See to it that the turn lasts; writes only when a third of the lease is over.

        Raises:
            LeaseLostError: the turn is another's.
        """
        if self._held is None:
            raise LeaseLostError
        if self._now() >= self._held.until - self._length * (1 - 1 / _BEATS_PER_LEASE):
            await self.save()

    async def save(self) -> None:
        """Keep ``state`` for good, and renew the lease.

        Raises:
            LeaseLostError: the turn is another's; nothing was saved.
        """
        await self._renew(self._renewed, ())

    async def keep(self, state: S, also: Sequence[Write]) -> None:
        """Keep another state for good, write ``also`` in the same step, and renew the lease.

        Raises:
            LeaseLostError: the turn is another's; nothing was written.
        """
        await self._renew(lambda held: replace(self._renewed(held), state=state), also)
        self.state = state

    async def release(self) -> bool:
        """Save, and let another owner have the turn at once; does nothing without the turn.

        Returns:
            whether ``state`` is saved. Where the store fails, the turn ends with its lease.
        """
        await self._stop_heart()
        if self._held is None:
            return False
        try:
            await self._renew(lambda held: Held(state=self.state, owner="", until=self._now()), ())
        except (StorycoreError, LeaseLostError):
            return False
        finally:
            self._held = None
        return True

    async def reset(self, state: S) -> None:
        """Let the next turn begin with ``state``; whoever has the turn loses it."""
        held = Held(state=state, owner="", until=self._now())
        while True:
            record = await self._read()
            with suppress(ConditionFailed):
                await self._write(held, ABSENT if record is None else Matches(record.version), ())
                return

    async def until_lost(self) -> None:
        """Wait until the turn is found to be another's."""
        await self._lost.wait()

    def _renewed(self, held: Held[S]) -> Held[S]:
        return replace(held, state=self.state, until=self._now() + self._length)

    async def _renew(self, change: Callable[[Held[S]], Held[S]], also: Sequence[Write]) -> None:
        async with self._writing:
            for _ in range(_ATTEMPTS):
                if self._held is None or self._version is None:
                    break
                wanted = change(self._held)
                try:
                    self._version = await self._write(wanted, Matches(self._version), also)
                except ConditionFailed:
                    await self._look_again()
                else:
                    self._held = wanted
                    return
            raise LeaseLostError

    async def _look_again(self) -> None:
        """A write of one's own whose outcome was not heard of may have come between; then the turn goes on."""
        record = await self._read()
        if record is not None and held_of(record, self._decode).owner == self._owner:
            self._version = record.version
        else:
            self._held = None
            self._lost.set()

    async def _beat(self) -> None:
        """Give signs of life while the owner is busy."""
        while self._held is not None:
            await asyncio.sleep(self._length.total_seconds() / _BEATS_PER_LEASE)
            with suppress(StorycoreError, LeaseLostError):  # the owner hears of it when he saves
                await self.save()

    async def _stop_heart(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
            self._heart = None

    async def _read(self) -> Record | None:
        [record] = await self._store.get([self.key], consistent=True)
        return record

    async def _write(self, held: Held[S], when: Condition, also: Sequence[Write]) -> Version:
        body = orjson.dumps([held.state, held.owner, held.until])
        put = Put(key=self.key, kind=self._kind, body=body, when=when)
        written = await self._store.write([put, *also], atomic=bool(also))
        assert written[0].version is not None
        return written[0].version

    def _now(self) -> datetime:
        return self._env.clock.now()


def held_of(record: Record, decode: Callable[[object], S]) -> Held[S]:
    """What the record of a lease holds.

    Raises:
        Corrupt: it cannot be read.
    """
    try:
        state, owner, until = orjson.loads(record.body)
        return Held(state=decode(state), owner=owner, until=datetime.fromisoformat(until))
    except (ValueError, TypeError) as exc:
        raise Corrupt(
            f"The record at {record.key.pk!r}, which says whose turn it is, cannot be read; reset or remove it."
        ) from exc
