"""Wires between clients and a cache: what is said takes time, is lost or never answered, and changes are told."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from storycore.errors import Effect, Unavailable
from storycore.layers.checks.forward import Forward
from storycore.ports.cache import Acquired, Cache, CacheItem, Changed, Fill, KeyPage, Lease, Listener
from storycore.ports.capabilities import Capabilities, Guarantees, Support
from storycore.ports.environment import Clock
from storycore.testing.virtual_time import VirtualLoop

__all__ = ["LeaseBook", "Trouble", "Wire"]

R = TypeVar("R")

_NOTICED: Final = 0.05
"""A call that takes so many seconds or more is trouble too, for whoever waits no longer than that."""
_STALLED: Final = 2.0
"""After so many seconds without an answer a connection gives a call up."""
_INSTANT: Final = 1e-6
"""A timer may ring so many seconds early."""


class Trouble(StrEnum):
    """What becomes of one call."""

    REFUSED = "refused"
    """It is not done, and says so."""
    UNANSWERED = "unanswered"
    """It is done, and the connection says that nobody knows."""
    LOST = "lost"
    """It is not done, and nothing is heard of it until the connection gives it up."""
    SILENT = "silent"
    """It is done, and nothing is heard of it until the connection gives it up."""
    ODD = "odd"
    """It is not done, and raises what no adapter should."""


@dataclass
class LeaseBook:
    """The leases that live, as far as the wires can tell; shared by all wires of one cache.

    Args:
        clock: by which leases end.
        clash: what is wrong, if two lived at once.
        last_grant: when somebody last got a lease on a key.
    """

    clock: Clock
    clash: str = ""
    last_grant: dict[str, datetime] = field(default_factory=dict)
    _live: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _turn: int = 0
    _ended: dict[str, int] = field(default_factory=dict)

    def turn(self) -> int:
        """What to hand to ``granted`` by whoever is about to ask for leases."""
        self._turn += 1
        return self._turn

    def granted(self, keys: Iterable[str], lease: timedelta, *, asked: int) -> None:
        """Somebody has got leases; those which ended while he asked for them may be dead before he hears of them."""
        now = self.clock.now()
        for key in keys:
            self.last_grant[key] = now
            if self._ended.get(key, 0) >= asked:
                continue
            if key in self._live and now < self._live[key][1]:
                self.clash = f"a second lease on {key!r} was granted while the first one lived"
            self._live[key] = (now, now + lease)

    def ended(self, keys: Iterable[str]) -> None:
        """Leases were used, given back or killed, or are about to be."""
        for key in keys:
            self._live.pop(key, None)
            self._ended[key] = self._turn

    def left(self, since: datetime) -> list[str]:
        """The keys of leases that live and were granted at ``since`` or later."""
        now = self.clock.now()
        return [key for key, (begun, until) in self._live.items() if begun >= since and now < until]


@dataclass(eq=False)
class _News:
    """Something on its way to a listener, behind the answers of the calls that were under way when it happened."""

    act: Callable[[], None]
    due: float
    behind: set[asyncio.Future[Any]]


class Wire(Forward[Cache]):
    """One client's connection to a cache.

    Args:
        inner: the cache, or this client's own instance of it.
        loop: time on the way.
        luck: how long each answer takes.
        book: of leases.
        wires: all wires of the cache; this one adds itself.
        seen: all keys ever used, by any wire.
        tells: whether the client may listen to what others change.

    ``there`` is how long calls take, ``back`` how long answers do at most, ``late`` how long news does, in seconds.
    The coming calls meet ``troubles``, one each. While ``is_down`` nothing gets through.
    """

    def __init__(
        self,
        inner: Cache,
        loop: VirtualLoop,
        luck: random.Random,
        book: LeaseBook,
        wires: list[Wire],
        seen: set[str],
        *,
        tells: bool,
    ) -> None:
        super().__init__(inner)
        self.there = self.back = self.late = 0.0
        self.troubles: deque[Trouble] = deque()
        self.is_down = False
        self.last_trouble = -1e9
        self.heard_since = 1e9
        self._loop = loop
        self._luck = luck
        self._book = book
        self._wires = wires
        self._seen = seen
        self._tells = tells
        self._listener: Listener | None = None
        self._answers: dict[asyncio.Future[Any], None] = {}
        self._carriers: dict[asyncio.Task[None], None] = {}
        self._news: deque[_News] = deque()
        wires.append(self)

    @property
    def capabilities(self) -> Capabilities:
        """Several processes share the cache; this one may be told of changes."""
        features = {"cache.push": Support.NATIVE} if self._tells else {}
        return Capabilities(features=features, guarantees=Guarantees(multi_process=True))

    @property
    def is_busy(self) -> bool:
        """Whether a call or news are under way."""
        return bool(self._carriers or self._news)

    def cut(self) -> None:
        """Lose the connection: what is under way fails, and what was not told yet never is."""
        self._note_trouble()
        for answer in list(self._answers):
            if not answer.done():
                answer.set_exception(_gone())
        missed = [news.act for news in self._news]
        self._news.clear()
        if self._listener is not None:
            self._listener(None)
        for act in missed:
            if not isinstance(act, _Telling):
                act()

    async def end(self) -> None:
        """Die: nothing gets through any more, and what is under way is lost."""
        self.is_down = True
        self._wires.remove(self)
        for carrier in list(self._carriers):
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)
        self._listener = None
        self.cut()

    def announce(self, act: Callable[[], None]) -> None:
        """Do something once all that has happened so far is known to the client; a severed one is told nothing."""
        if self.is_down and isinstance(act, _Telling):
            return
        waiting = {answer for answer in self._answers if not answer.done()}
        self._news.append(_News(act, self._loop.time() + self.late, waiting))
        self._loop.call_later(self.late, self._pump)

    async def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told what the other wires change."""
        await self._call((), lambda: asyncio.sleep(0))
        self._listener = listener
        self.heard_since = self._loop.time()

        def stop() -> None:
            self._listener = None

        return stop

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The live values."""
        return await self._call((), lambda: self.inner.get(keys))

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        """Values, leases, or neither; leases are written down."""

        async def act() -> list[Acquired]:
            asked = self._book.turn()
            found = await self.inner.acquire(keys, lease=lease, refresh=refresh)
            self._book.granted([got.lease.key for got in found if got.lease is not None], lease, asked=asked)
            return found

        return await self._call((), act)

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        """Store under leases."""
        return await self._call([fill.lease.key for fill in fills], lambda: self.inner.fill(fills), ends=True)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back."""
        keys = [lease.key for lease in leases]
        await self._call((), lambda: self.inner.release(leases), ends=True, ended=keys)

    async def put(self, items: Sequence[CacheItem]) -> None:
        """Store at once."""
        await self._call([item.key for item in items], lambda: self.inner.put(items), ends=True)

    async def invalidate(self, keys: Sequence[str]) -> int:
        """Remove values and kill leases."""
        return await self._call(keys, lambda: self.inner.invalidate(keys), ends=True)

    async def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        """Give a new time to live."""
        return await self._call(keys, lambda: self.inner.touch(keys, ttl))

    async def counters(self, names: Sequence[str]) -> list[int]:
        """The counters."""
        return await self._call((), lambda: self.inner.counters(names))

    async def bump(self, names: Sequence[str]) -> list[int]:
        """Add 1 to each."""
        return await self._call((), lambda: self.inner.bump(names), counters=names)

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        """A page of keys."""
        return await self._call((), lambda: self.inner.keys(prefix, after=after, limit=limit))

    async def clear(self, prefix: str = "") -> int:
        """Remove all that begins so."""
        keys = [key for key in self._seen if key.startswith(prefix)]
        return await self._call(keys, lambda: self.inner.clear(prefix), ends=True)

    async def _call(
        self,
        changed: Sequence[str],
        act: Callable[[], Awaitable[R]],
        *,
        ends: bool = False,
        ended: Sequence[str] = (),
        counters: Sequence[str] = (),
    ) -> R:
        """Send a call on its way, which it goes also when its caller leaves, and wait for the answer."""
        self._seen.update(changed)
        answer: asyncio.Future[R] = self._loop.create_future()
        self._answers[answer] = None
        answer.add_done_callback(self._answered)
        names = (changed or ended) if ends else ()
        carrier = self._loop.create_task(self._carry(answer, act, names, Changed(list(changed), list(counters))))
        self._carriers[carrier] = None
        carrier.add_done_callback(lambda done: self._carriers.pop(done, None))
        return await answer

    async def _carry(
        self, answer: asyncio.Future[R], act: Callable[[], Awaitable[R]], ends: Sequence[str], changed: Changed
    ) -> None:
        trouble = self.troubles.popleft() if self.troubles else None
        if trouble is not None or self.is_down or self.there + self.back >= _NOTICED:
            self._note_trouble()
        await asyncio.sleep(self.there)
        if self.is_down or trouble in (Trouble.REFUSED, Trouble.ODD, Trouble.LOST):
            await asyncio.sleep(_STALLED if trouble is Trouble.LOST else 0)
            _settle(answer, KeyError("odd") if trouble is Trouble.ODD else _gone())
            return
        self._book.ended(ends)
        with self._loop.errand():
            try:
                found: Any = await act()
            except Exception as exc:  # the cache's own error is the answer
                found = exc
        self._book.ended(ends)
        self._tell(changed)
        await asyncio.sleep(_STALLED if trouble is Trouble.SILENT else self.back * self._luck.random())
        _settle(answer, _gone() if trouble in (Trouble.SILENT, Trouble.UNANSWERED) else found)

    def _tell(self, changed: Changed) -> None:
        if changed.keys or changed.counters:
            for wire in self._wires:
                if wire is not self:
                    wire.announce(_Telling(wire, changed))

    def hear(self, changed: Changed) -> None:
        """Tell the client what others have changed."""
        if self._listener is not None:
            self._listener(changed)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        self._answers.pop(answer, None)
        if not answer.cancelled():
            answer.exception()
        self._pump()

    def _pump(self) -> None:
        while self._news:
            first = self._news[0]
            if first.due > self._loop.time() + _INSTANT or any(not answer.done() for answer in first.behind):
                return
            self._news.popleft()
            first.act()

    def _note_trouble(self) -> None:
        self.last_trouble = self._loop.time()


@dataclass(frozen=True, slots=True)
class _Telling:
    """News of a change, which goes with the connection."""

    wire: Wire
    changed: Changed

    def __call__(self) -> None:
        self.wire.hear(self.changed)


def _settle(answer: asyncio.Future[Any], found: object) -> None:
    if answer.done():
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def _gone() -> Unavailable:
    return Unavailable("The connection is gone; it is none of the cache's own doing.", effect=Effect.UNKNOWN)
