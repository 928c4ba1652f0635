"""The loop stays awake for answers that are due, and only for those."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable

import pytest
from storycore_redis._vigil import Vigil

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
