"""The loop stays awake for answers that are due, and only for those; and who asks alone need not wait for its turn."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable

import pytest
from storycore_redis._connection import Connection, Limits
from storycore_redis._vigil import Vigil

from storycore.ports.cache import Cache
from storycore.testing.harness import Harness

LONG = 5.0


class Sleeps(selectors.DefaultSelector):
    """Counts how often the loop went to sleep, and how often it only looked."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0
        self.looked = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As ever."""
        if timeout is None or timeout > 0:
            self.slept += 1
        else:
            self.looked += 1
        return super().select(timeout)


def counted(work: Callable[[Sleeps], Awaitable[None]]) -> None:
    """Run on a loop of its own."""
    sleeps = Sleeps()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(sleeps)) as runner:
        runner.run(_run(work, sleeps))


async def _run(work: Callable[[Sleeps], Awaitable[None]], sleeps: Sleeps) -> None:
    await work(sleeps)


def test_a_loop_that_waits_for_an_answer_does_not_sleep() -> None:
    """It looks for it again and again, and timers of others ring meanwhile."""

    async def work(sleeps: Sleeps) -> None:
        loop = asyncio.get_running_loop()
        vigil = Vigil(loop, LONG)
        await asyncio.sleep(0)
        before = sleeps.slept
        vigil.begin(loop.time())
        await asyncio.sleep(0.005)
        assert sleeps.slept == before
        vigil.heard(loop.time(), is_over=True)
        await asyncio.sleep(0.005)
        assert sleeps.slept > before

    counted(work)


def test_a_vigil_ends_when_its_time_is_over() -> None:
    """An answer that does not come costs no more than was allowed."""

    async def work(sleeps: Sleeps) -> None:
        loop = asyncio.get_running_loop()
        Vigil(loop, 0.001).begin(loop.time())
        await asyncio.sleep(0.005)
        await asyncio.sleep(0.005)
        assert sleeps.slept > 0

    counted(work)


def test_there_is_no_vigil_where_answers_take_longer() -> None:
    """What they take is learnt from each; when they come soon again, so does the vigil."""

    async def work(sleeps: Sleeps) -> None:
        vigil = Vigil(asyncio.get_running_loop(), LONG)
        assert await _stays_awake(vigil, sleeps)
        _answers(vigil, 30, took=2 * LONG)
        assert not await _stays_awake(vigil, sleeps)
        _answers(vigil, 30, took=LONG / 10)
        assert await _stays_awake(vigil, sleeps)

    counted(work)


def test_no_time_is_no_vigil() -> None:
    """Zero switches it off."""

    async def work(sleeps: Sleeps) -> None:
        assert not await _stays_awake(Vigil(asyncio.get_running_loop(), 0.0), sleeps)

    counted(work)


@pytest.mark.parametrize("is_over", [True, False])
def test_a_part_of_an_answer_keeps_the_loop_awake(is_over: bool) -> None:
    """Until nobody waits for more."""

    async def work(sleeps: Sleeps) -> None:
        loop = asyncio.get_running_loop()
        vigil = Vigil(loop, LONG)
        vigil.begin(loop.time())
        vigil.heard(loop.time(), is_over=is_over)
        assert await _sleeps(sleeps) == is_over
        vigil.heard(loop.time(), is_over=True)

    counted(work)


def test_a_read_may_come_back_without_any_sleep(harness: Harness) -> None:
    """The connection keeps the vigil, unless it is told not to."""

    async def work(sleeps: Sleeps) -> None:
        async with await harness.started(awake_us=1000, deadline_ms=0) as store:
            assert 0 in [await _sleeps_of_a_read(store, sleeps) for _ in range(200)]
        async with await harness.started(awake_us=0, deadline_ms=0) as store:
            assert 0 not in [await _sleeps_of_a_read(store, sleeps) for _ in range(20)]

    counted(work)


async def _sleeps_of_a_read(store: Cache, sleeps: Sleeps) -> int:
    before = sleeps.slept
    await store.get(["k"])
    return sleeps.slept - before


class Written(asyncio.Transport):
    """Takes down what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """How many commands it was."""
        self.writes.append(bytes(data).count(b"PING"))


async def test_who_asks_alone_is_sent_at_once_and_many_together() -> None:
    """One command at a time does not wait for the end of the turn; what several ask for is one write."""
    transport = Written()
    made = Connection(Limits(None, 1.0, 100, 0.0), pushed=lambda message: None, lost=lambda connection: None)
    made.connection_made(transport)
    writes = []
    for count in (1, 1, 3, 3, 1, 1):
        answers = [made.send(("PING",)) for _ in range(count)]
        at_once = len(transport.writes)
        await asyncio.sleep(0)
        writes.append((at_once, transport.writes))
        transport.writes = []
        made.data_received(b"+PONG\r\n" * count)
        assert await asyncio.gather(*answers) == [b"PONG"] * count
    assert writes == [(0, [1]), (1, [1]), (1, [1, 2]), (0, [3]), (0, [1]), (1, [1])]
    made.connection_lost(None)


def _answers(vigil: Vigil, count: int, *, took: float) -> None:
    for _ in range(count):
        vigil.begin(1.0)
        vigil.heard(1.0 + took, is_over=True)


async def _stays_awake(vigil: Vigil, sleeps: Sleeps) -> bool:
    now = asyncio.get_running_loop().time()
    vigil.begin(now)
    awake = not await _sleeps(sleeps)
    vigil.heard(now, is_over=True)
    await asyncio.sleep(0)
    return awake


async def _sleeps(sleeps: Sleeps) -> bool:
    before = sleeps.slept
    await asyncio.sleep(0.002)
    return sleeps.slept > before
