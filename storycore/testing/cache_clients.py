"""Clients of one cache and their source: what each read may give, and what was wrong with what it gave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from storycore.caching import BreakerState, Caching, Fetched, Region
from storycore.errors import DeadlineExceeded
from storycore.ports.environment import Environment
from storycore.testing.cache_wires import LeaseBook, Wire
from storycore.testing.virtual_time import VirtualLoop

__all__ = ["KEYS", "LEASE", "Client", "How", "LoadFailed", "Source", "value_of"]

KEYS: Final = (0, 1)
TTL: Final = 20.0
NEGATIVE_TTL: Final = 3.0
MAX_STALE: Final = 10.0
LEASE: Final = 5.0
HARD_TIMEOUT: Final = 4.0
MEMORY_TTL: Final = 5.0
"""How long a copy lives at most of which changes are not told, as ``Caching`` says."""
LAG: Final = HARD_TIMEOUT + 1.0
"""How far a client may lag that cannot reach the cache: a load that began before, and its short copy."""


class LoadFailed(Exception):
    """The source raises."""


class How(StrEnum):
    """How a load goes."""

    QUICK = "quick"
    LATER = "later"
    """It reads the source at once and returns a while later."""
    LATE = "late"
    """It waits, reads the source, and returns a while later."""
    FAILS = "fails"
    HANGS = "hangs"
    UNKEPT = "unkept"
    """It asks for its value not to be kept."""


_PAUSES: Final = {How.LATER: (0.0, 0.02), How.FAILS: (0.0, 0.02), How.LATE: (0.02, 0.5), How.UNKEPT: (0.0, 0.01)}


def value_of(k: int, version: int) -> int | None:
    """What the source holds in a version: every fourth says that there is nothing; the first of all is falsy."""
    return None if version % 4 == 3 else version + 1000 * k


@dataclass
class Source:
    """Numbers that are written, and how they are loaded.

    Args:
        loop: tells the time.
        wires: of all clients, through which leases may get lost.
        book: of leases; while somebody has one, an older value stands in for the others.

    ``arrived`` has the moment at which each version of a key was last loaded or put, ``unrest`` the moment until
    which older values may stand in for a key, since its loads fail or take long, or nobody knows who has its lease.
    """

    loop: VirtualLoop
    wires: list[Wire]
    book: LeaseBook
    versions: dict[int, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    arrived: dict[tuple[int, int], float] = field(default_factory=dict)
    unrest: dict[int, float] = field(default_factory=lambda: dict.fromkeys(KEYS, -1.0))
    loads: int = 0
    under_way: int = 0

    async def load(self, k: int, how: How) -> int | Fetched[int] | None:
        """The present value, or what the source does instead."""
        self.loads += 1
        self.under_way += 1
        self.stir(k)
        try:
            before, after = _PAUSES.get(how, (0.0, 0.0))
            await asyncio.sleep(before)
            version = self.versions[k]
            await asyncio.sleep(after)
            if how is How.HANGS:
                await asyncio.Event().wait()
            if how is How.FAILS:
                raise LoadFailed(f"{k}")
            self.arrived[k, version] = self.loop.time()
            found = value_of(k, version)
            return Fetched(found, keep=False) if how is How.UNKEPT else found
        finally:
            self.under_way -= 1
            self.stir(k)

    def stir(self, *keys: int) -> None:
        """Note that something keeps the keys from being loaded as usual."""
        for k in keys or KEYS:
            self.unrest[k] = self.loop.time() + LEASE

    def may_serve(self, k: int, version: int, since: float) -> bool:
        """Whether a version may have been served by a cache at ``since`` or later."""
        arrived = self.arrived.get((k, version))
        if arrived is None:
            return False
        if value_of(k, version) is None:
            return arrived + NEGATIVE_TTL > since
        lost = max((wire.last_trouble + LEASE for wire in self.wires), default=0)
        grace = MAX_STALE if self.under_way or max(self.unrest[k], lost, self._leased(k)) >= since else 0.0
        return arrived + TTL + grace > since

    def _leased(self, k: int) -> float:
        """Until when at most the last lease on a key has lived."""
        granted = self.book.last_grant.get(f"default:n:{k}")
        if granted is None:
            return -1.0
        ago: timedelta = self.book.clock.now() - granted
        return self.loop.time() - ago.total_seconds() + LEASE


@dataclass(eq=False)
class _Read:
    """A read under way: when it began, and the oldest version that it may give."""

    task: asyncio.Task[Any]
    k: int
    floor: int
    begun: float


class Client:
    """One process: a cache of its own over its wire, and what it has to know.

    Args:
        wire: to the shared cache.
        source: of the values.
        loop: of everything.
        env: clock and randomness.
        options: of the cache.
        policy: of the region.

    ``problems`` says what was wrong.
    """

    def __init__(
        self,
        wire: Wire,
        source: Source,
        loop: VirtualLoop,
        env: Environment,
        options: dict[str, Any],
        policy: dict[str, Any],
    ) -> None:
        self.wire = wire
        self.problems: list[str] = []
        self.caching = Caching(wire, env, command_timeout=0.05, degraded_ttl=1, **options)
        self.region: Region[int] = self.caching.region(
            "n:{k}",
            int,
            ttl=TTL,
            jitter=0.1,
            negative_ttl=NEGATIVE_TTL,
            lease=LEASE,
            hard_timeout=HARD_TIMEOUT,
            **policy,
        )
        self.reads: list[_Read] = []
        self.calls: dict[asyncio.Task[Any], None] = {}
        self.is_alive = True
        self._source = source
        self._loop = loop
        self._memory_ttl = 0.0 if options.get("l1_ttl") == 0 else MEMORY_TTL
        self._floors: list[tuple[float, int, int]] = []
        self._cut_off = -1e9
        self._limit = options.get("l1_max_bytes")
        self._allowed_errors: dict[int, float] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits here."""
        return not any(not read.task.done() for read in self.reads) and not self.wire.is_busy and not self.calls

    def begin_read(self, k: int, how: How) -> asyncio.Task[Any]:
        """Read, and judge what it gives once it is there."""

        async def load(k: int) -> Any:
            if how in (How.FAILS, How.HANGS):
                self._allowed_errors[k] = 1e18
            try:
                return await self._source.load(k, how)
            finally:
                if how in (How.FAILS, How.HANGS):
                    self._allowed_errors[k] = self._loop.time()

        task = self._loop.create_task(self.region.get_or_load(k=k, load=load))
        read = _Read(task, k, self.floor(k), self._loop.time())
        self.reads.append(read)
        task.add_done_callback(lambda _: self._judge(read))
        return task

    def begin_read_all(self) -> asyncio.Task[Any]:
        """Read all keys in one call, in one load."""

        async def load_many(missing: Any) -> list[Any]:
            return list(await asyncio.gather(*(self._source.load(one["k"], How.LATER) for one in missing)))

        begun, floors = self._loop.time(), {k: self.floor(k) for k in KEYS}

        async def read() -> None:
            found = await self.region.get_or_load_many([{"k": k} for k in KEYS], load_many=load_many)
            for k, value in zip(KEYS, found, strict=True):
                self._judge_value(k, value, floors[k], begun)

        return self.begin(read())

    def begin(self, call: Any) -> asyncio.Task[Any]:
        """Run a call that may not fail beside all else."""
        task: asyncio.Task[Any] = self._loop.create_task(call)
        self.calls[task] = None
        task.add_done_callback(self._ended)
        return task

    def floor(self, k: int) -> int:
        """The oldest version that a read that begins now may give."""
        now = self._loop.time()
        return max((version for at, key, version in self._floors if key == k and at <= now), default=0)

    def bind(self, k: int, version: int) -> None:
        """From now on nothing older will do."""
        self._floors.append((self._loop.time(), k, version))

    def bind_as_other(self, k: int, version: int) -> None:
        """As ``bind``, as soon as what another client has invalidated can no longer be in this one's memory."""
        now = self._loop.time()
        self.note_outage()
        if now - max(self.wire.last_trouble, self._cut_off) < LAG:
            self._floors.append((now + LAG, k, version))
        elif self._memory_ttl == 0:
            self.bind(k, version)
        elif self.wire.heard_since + MEMORY_TTL < now:
            self.wire.announce(lambda: self._bind_unless_cut_off(k, version, now))
        else:
            self._floors.append((now + self._memory_ttl, k, version))

    def note_outage(self) -> None:
        """Take note of whether the cache is let alone now."""
        if self.caching.stats().breaker is not BreakerState.CLOSED:
            self._cut_off = self._loop.time()

    def look_over(self) -> None:
        """Judge what can be seen from outside."""
        held = self.caching.stats().memory_bytes
        if self._limit is not None and held > self._limit:
            self.problems.append(f"P9: {held} bytes are held in memory, of {self._limit}")

    def _bind_unless_cut_off(self, k: int, version: int, since: float) -> None:
        at = since + LAG if self.wire.last_trouble >= since else self._loop.time()
        self._floors.append((at, k, version))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.calls.pop(task, None)
        if not task.cancelled() and task.exception() is not None and self.is_alive:
            self.problems.append(f"a call raised {task.exception()!r}")

    def _judge(self, read: _Read) -> None:
        self.reads.remove(read)
        if not self.is_alive or read.task.cancelled():
            return
        error = read.task.exception()
        if error is None:
            self._judge_value(read.k, read.task.result(), read.floor, read.begun)
        elif not (
            isinstance(error, LoadFailed | DeadlineExceeded) and self._allowed_errors.get(read.k, -1) >= read.begun
        ):
            self.problems.append(f"a read of {read.k} raised {error!r}, which no load has raised since it began")

    def _judge_value(self, k: int, found: int | None, floor: int, begun: float) -> None:
        newest = self._source.versions[k]
        fit = [version for version in range(floor, newest + 1) if value_of(k, version) == found]
        if not fit:
            self.problems.append(f"P2: {found} of {k} was served, which is none of the versions {floor} to {newest}")
        elif not any(self._source.may_serve(k, version, begun) for version in fit):
            self.problems.append(f"P10: {found} of {k} was served after its time")
