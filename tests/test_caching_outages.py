"""Outages of the shared tier: a slow or failing cache costs the application little, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from storycore.caching import BreakerState, Caching, Region
from storycore.caching.guard import Guard
from storycore.errors import DeadlineExceeded, InvalidArgument, TooLarge, Unavailable
from storycore.layers.deadline import Deadline
from storycore.memory.cache import MemoryCache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.cache import Acquired
from storycore.ports.capabilities import Capabilities, Guarantees
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.faults import Fault, Faults, by_chance

_FAILURES_TO_OPEN = 5


async def fails() -> int:
    """A call of a cache that is down."""
    raise Unavailable("The cache is down.")


async def works() -> int:
    """A call that is answered."""
    return 1


async def outcome(guard: Guard, call: Callable[[], Awaitable[int]]) -> str:
    """What a guarded call comes to."""
    try:
        await guard.run(call)
    except Exception as exc:
        return type(exc).__name__
    return "ok"


async def test_the_breaker_opens_after_failures_in_a_row_and_calls_nobody() -> None:
    """A success in between makes up for a part of one; a tier that fails once in ten calls stays in use."""
    guard, calls = Guard(ManualClock(), seconds=None), 0
    for i in range(100):
        await outcome(guard, works if i % 10 else fails)

    async def call() -> int:
        nonlocal calls
        calls += 1
        return await fails()

    for _ in range(_FAILURES_TO_OPEN - 1):
        await outcome(guard, call)
    await guard.run(works)
    assert guard.state is BreakerState.CLOSED
    for _ in range(2):
        await outcome(guard, call)
    assert (guard.state, calls, guard.opened) == (BreakerState.OPEN, _FAILURES_TO_OPEN + 1, 1)
    assert await outcome(guard, call) == "Unavailable"
    assert calls == _FAILURES_TO_OPEN + 1


async def test_a_call_that_swallows_its_end_leaves_the_caller_uncancelled() -> None:
    """What it makes of its cancellation is its outcome; the caller's next timeout is not confused by it."""
    guard = Guard(ManualClock(), seconds=0.001)
    await guard.run(works)

    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 2
        return 1

    task = asyncio.current_task()
    assert task is not None
    assert (await guard.run(stubborn), task.cancelling()) == (2, 0)


async def opened(clock: ManualClock) -> Guard:
    """A guard whose breaker has just opened."""
    guard = Guard(clock, seconds=None)
    for _ in range(_FAILURES_TO_OPEN):
        await outcome(guard, fails)
    return guard


async def test_a_call_from_before_the_outage_does_not_decide() -> None:
    """Only the one that was let through shows whether the tier works again."""
    clock = ManualClock()
    guard, going = Guard(clock, seconds=None), asyncio.Event()
    early = asyncio.create_task(guard.run(going.wait))
    await asyncio.sleep(0)
    for _ in range(_FAILURES_TO_OPEN):
        await outcome(guard, fails)
    clock.advance(0.5)
    probe = asyncio.create_task(guard.run(asyncio.Event().wait))
    await asyncio.sleep(0)
    going.set()
    await early
    assert guard.state is BreakerState.HALF_OPEN
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)


async def test_half_open_lets_one_call_through_whose_outcome_decides() -> None:
    """A failure opens it again, for longer; a success closes it."""
    clock = ManualClock()
    guard = await opened(clock)
    clock.advance(0.5)
    assert str(guard.state) == "half-open"
    assert await outcome(guard, fails) == "Unavailable"
    clock.advance(0.5)
    assert str(guard.state) == "open"
    clock.advance(0.5)
    going = asyncio.Event()

    async def slowly() -> int:
        await going.wait()
        return 1

    probe = asyncio.create_task(guard.run(slowly))
    await asyncio.sleep(0)
    assert await outcome(guard, works) == "Unavailable", "one probe at a time"
    going.set()
    await probe
    assert (guard.state, await outcome(guard, works)) == (BreakerState.CLOSED, "ok")


async def test_a_cancelled_probe_leaves_the_way_free_for_another() -> None:
    """It has told nothing about the tier."""
    clock = ManualClock()
    guard = await opened(clock)
    clock.advance(1)
    probe = asyncio.create_task(guard.run(asyncio.Event().wait))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.wait([probe])
    assert guard.state is BreakerState.HALF_OPEN
    assert await outcome(guard, works) == "ok"


@pytest.mark.parametrize("error", [TooLarge("big", limit=1, actual=2), InvalidArgument("wrong")])
async def test_a_refused_argument_does_not_speak_against_the_tier(error: Exception) -> None:
    """However often it happens."""
    guard = Guard(ManualClock(), seconds=None)

    async def refuse() -> int:
        raise error

    for _ in range(20):
        await outcome(guard, refuse)
    assert guard.state is BreakerState.CLOSED


async def test_nor_does_the_end_of_the_callers_own_time() -> None:
    """His deadline has passed; the tier may be well."""
    guard = Guard(ManualClock(), seconds=None)

    async def late() -> int:
        raise DeadlineExceeded("The caller's time is over.")

    with Deadline(0):
        for _ in range(20):
            await outcome(guard, late)
    assert guard.state is BreakerState.CLOSED


async def test_a_call_that_takes_too_long_is_cancelled() -> None:
    """Its caller is told ``DeadlineExceeded``, and goes on; the first call of all gets more time, for it opens."""
    guard = Guard(ManualClock(), seconds=0.005)
    assert guard.seconds is not None
    assert guard.seconds >= 1
    await guard.run(works)
    cancelled = asyncio.Event()

    async def hang() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return 1

    with pytest.raises(DeadlineExceeded, match="5 ms"):
        await guard.run(hang)
    assert cancelled.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    """The deadline claims only what is its own."""
    guard = Guard(ManualClock(), seconds=10)
    await guard.run(works)
    task = asyncio.create_task(guard.run(asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class HangingCache(MemoryCache):
    """The reference, shared by processes, whose named operations answer only when they are let go."""

    def __init__(self, env: Environment) -> None:
        super().__init__(MemoryCacheConfig(), env)
        self.hanging: frozenset[str] = frozenset()
        self.go_on = asyncio.Event()
        self.failing: set[str] = set()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantees=Guarantees(multi_process=True))

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        await self._wait("get")
        return await super().get(keys)

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        await self._wait("acquire")
        return await super().acquire(keys, lease=lease, refresh=refresh)

    async def fill(self, fills: Any) -> list[bool]:
        await self._wait("fill")
        return await super().fill(fills)

    async def invalidate(self, keys: Sequence[str]) -> int:
        await self._wait("invalidate")
        return await super().invalidate(keys)

    async def put(self, items: Any) -> None:
        await self._wait("put")
        await super().put(items)

    async def _wait(self, name: str) -> None:
        if name in self.hanging:
            await self.go_on.wait()
        if name in self.failing:
            self.failing.remove(name)
            raise Unavailable("The connection was lost.")


class Bench:
    """A cache with a short patience over a port that hangs, and a source."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.env = Environment(clock=self.clock, random=random.Random(5))
        self.port = HangingCache(self.env)
        self.caching = Caching(self.port, self.env, command_timeout=0.01)
        self.region: Region[int] = self.caching.region("n:{k}", int, ttl=600, jitter=0)
        self.version = 0
        self.loads = 0

    async def load(self, k: int) -> int:
        self.loads += 1
        return self.version

    async def read(self, k: int = 1) -> int | None:
        return await self.region.get_or_load(k=k, load=self.load)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with made.port:
        await made.read(0)
        yield made
        made.port.hanging = frozenset()
        made.port.go_on.set()
        await made.caching.close()


@pytest.mark.parametrize("operation", ["get", "acquire", "fill"])
async def test_a_cache_that_hangs_does_not_hold_up_a_read(bench: Bench, operation: str) -> None:
    """After its time the value is loaded without it."""
    bench.port.hanging = frozenset({operation})
    async with asyncio.timeout(5):
        assert await bench.read() == 0
    assert bench.region.stats().faults == 1


async def test_a_lease_that_comes_too_late_is_given_back(bench: Bench) -> None:
    """Nobody waits for a reader who has gone on without it."""
    bench.port.hanging = frozenset({"acquire"})
    await bench.read()
    bench.port.hanging = frozenset()
    bench.port.go_on.set()
    for _ in range(20):
        await asyncio.sleep(0)
    (got,) = await bench.port.acquire([bench.region.key(k=1)], lease=timedelta(seconds=1))
    assert got.lease is not None


@pytest.mark.parametrize("end", ["fault", "time", "cancellation"])
async def test_a_fill_that_comes_to_nothing_gives_its_lease_back(bench: Bench, end: str) -> None:
    """Else everybody would wait for the lease's end before he loads."""
    if end == "fault":
        bench.port.failing = {"fill"}
    else:
        bench.port.hanging = frozenset({"fill"})
    reading = asyncio.create_task(bench.read())
    if end == "cancellation":
        while not bench.loads > 1:
            await asyncio.sleep(0)
        reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    for _ in range(20):
        await asyncio.sleep(0)
    (got,) = await bench.port.acquire([bench.region.key(k=1)], lease=timedelta(seconds=1))
    assert got.lease is not None


async def test_an_invalidation_that_hangs_is_delivered_later(bench: Bench) -> None:
    """It says so, nothing is served from the tier meanwhile, and a reader waits for the delivery only so long."""
    await bench.read()
    bench.version = 1
    bench.port.hanging = frozenset({"invalidate"})
    assert not await bench.region.invalidate(k=1)
    bench.clock.advance(10)
    async with asyncio.timeout(5):
        assert await bench.read() == 1
    assert bench.caching.stats().pending_invalidations in (0, 1)
    bench.port.hanging = frozenset()
    bench.port.go_on.set()
    for _ in range(20):
        await asyncio.sleep(0)
    bench.clock.advance(10)
    assert await bench.read() == 1
    assert bench.caching.stats().pending_invalidations == 0


async def test_while_the_breaker_is_open_the_tier_is_not_asked_and_afterwards_it_is_used_again(bench: Bench) -> None:
    """A long outage costs each reader his load and no waiting; recovery needs nobody."""
    bench.port.hanging = frozenset({"get"})
    for k in range(10, 10 + 2 * _FAILURES_TO_OPEN):
        await bench.read(k)
    assert bench.caching.stats().breaker is BreakerState.OPEN
    assert bench.caching.stats().outages == 1
    bench.port.hanging = frozenset()
    asked = bench.port.get
    bench.port.get = _refuse  # type: ignore[method-assign]  # whoever asks, fails the test
    await bench.read(20)
    bench.port.get = asked  # type: ignore[method-assign]  # as it was
    bench.clock.advance(1)
    await bench.read(21)
    loads = bench.loads
    bench.caching.clear_l1()
    await bench.read(21)
    assert (bench.loads, bench.caching.stats().breaker) == (loads, BreakerState.CLOSED)


async def test_half_open_serves_no_read_before_pending_invalidations_are_delivered(bench: Bench) -> None:
    """The one call that is let through is the invalidation."""
    await bench.read()
    bench.version = 1
    bench.port.hanging = frozenset({"get", "invalidate", "acquire"})
    assert not await bench.region.invalidate(k=1)
    for k in range(10, 10 + _FAILURES_TO_OPEN):
        await bench.read(k)
    bench.port.hanging = frozenset({"invalidate"})
    bench.caching.clear_l1()
    bench.clock.advance(1)
    assert await bench.read() == 1, "the older value is there and could be read"
    bench.port.hanging = frozenset()
    bench.port.go_on.set()
    for _ in range(20):
        await asyncio.sleep(0)
    bench.clock.advance(30)
    assert await bench.read() == 1


async def test_closing_tries_once_more_although_the_breaker_is_open(bench: Bench) -> None:
    """What is pending is delivered if the tier is there again."""
    await bench.read()
    bench.port.hanging = frozenset({"get"})
    for k in range(10, 10 + 2 * _FAILURES_TO_OPEN):
        await bench.read(k)
    assert bench.caching.stats().breaker is BreakerState.OPEN
    bench.port.hanging = frozenset()
    assert not await bench.region.invalidate(k=1), "the tier is let alone, which takes no time"
    assert bench.caching.stats().pending_invalidations == 1
    await bench.caching.close()
    assert await bench.port.get([bench.region.key(k=1)]) == [None]


@pytest.mark.parametrize("seed", range(6))
async def test_under_faults_of_any_kind_no_read_fails_and_all_heals(seed: int) -> None:
    """Calls fail before or after their effect or are lost, at random; what this process invalidated stays away."""
    luck = random.Random(seed)
    clock = ManualClock()
    env = Environment(clock=clock, random=random.Random(seed))
    faults = Faults(PortName.CACHE)
    async with MemoryCache(MemoryCacheConfig(), env) as port:
        caching = Caching(faults.around(port), env, degraded_ttl=1)
        region = caching.region("n:{k}", int, ttl=30, tags=("t",), max_stale=60, refresh_at=0.5)
        source = dict.fromkeys(range(3), 0)

        async def load(k: int) -> int:
            await asyncio.sleep(0)
            return source[k]

        faults.plan(by_chance(luck, 0.4, Fault.BEFORE, Fault.LOST, Fault.AFTER, Fault.THROTTLED))
        for _ in range(150):
            k = luck.randrange(3)
            step = luck.random()
            if step < 0.3:
                source[k] += 1
                await (region.invalidate(k=k) if luck.random() < 0.5 else caching.invalidate_tags("t"))
            elif step < 0.4:
                clock.advance(luck.choice([0.3, 2, 20]))
            assert await region.get_or_load(k=k, load=load) == source[k]
        faults.plan(())
        clock.advance(60)
        for k in source:
            assert await region.get_or_load(k=k, load=load) == source[k]
        assert caching.stats().pending_invalidations == 0
        assert caching.stats().breaker is BreakerState.CLOSED
        await caching.close()
        other = Caching(port, env).region("n:{k}", int, ttl=30, tags=("t",))
        for k in source:
            assert await other.get_or_load(k=k, load=load) == source[k]


async def _refuse(keys: Sequence[str]) -> list[bytes | None]:
    raise AssertionError("the tier was asked while the breaker is open")


async def test_a_delivery_that_fails_late_is_followed_by_another_without_any_reader(bench: Bench) -> None:
    """The background goes on though it woke while a reader's delivery was under way, which then failed."""
    await bench.read()
    bench.port.hanging = frozenset({"invalidate"})
    assert not await bench.region.invalidate(k=1)
    bench.clock.advance(10)
    await bench.read()
    outbox = bench.caching._tiers.shared.outbox
    assert outbox._sending.locked()
    await asyncio.wait([outbox._drain] if outbox._drain else [], timeout=0.3)
    bench.port.failing = {"invalidate"}
    bench.port.go_on.set()
    async with asyncio.timeout(2):
        while bench.caching.stats().pending_invalidations or outbox._sending.locked():
            await asyncio.sleep(0.01)


async def test_a_put_that_is_cancelled_leaves_no_older_value(bench: Bench) -> None:
    """It may not have arrived; so the key is invalidated, as after one that failed."""
    await bench.read()
    bench.version = 1
    bench.port.hanging = frozenset({"put"})
    putting = asyncio.create_task(bench.region.put(1, k=1))
    await asyncio.sleep(0)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert bench.caching.stats().pending_invalidations == 1
    bench.clock.advance(10)
    assert await bench.read() == 1
