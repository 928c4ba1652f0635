"""When a request is repeated: how long to pause, how often, and how fast a store may send while it is throttled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

__all__ = ["Budget", "Pace", "Turns", "pause_seconds"]

_LONGEST_PAUSE_SECONDS = 5.0

_SLOWED_TO = 0.7
_GROWTH = 0.4
_SMOOTHING = 0.8
_SLOWEST = 20.0
"""Requests a second; a store that sends no more is not what the service complains of, and its pauses suffice."""

_CATCH_UP_SECONDS = 0.05
"""How late a turn may be taken without putting off the next ones: sleeping is not exact."""

_HALF_SECOND = 0.5


def pause_seconds(attempt: int, *, base_seconds: float, choose: random.Random, asked: float | None = None) -> float:
    """The pause before a repetition: full jitter under a ceiling that doubles.

    Args:
        attempt: how many have failed, from 1.
        base_seconds: the ceiling of the first pause.
        choose: the source of jitter.
        asked: the pause that the service asked for, to which jitter is added.
    """
    ceiling = min(_LONGEST_PAUSE_SECONDS, base_seconds * 2 ** (attempt - 1))
    return (asked or 0.0) + choose.uniform(0.0, ceiling)


class Budget:
    """How many repetitions a store may still afford, so that a service in trouble is not asked ever more.

    Every repetition costs; every success pays a little back (AWS SDKs: standard retry mode, 500 tokens).
    """

    _FULL = 500
    _COST = 5
    _COST_OF_SILENCE = 10

    def __init__(self) -> None:
        self._left = self._FULL

    def take(self, *, silent: bool) -> bool:
        """Pay for a repetition, more after a request that got no answer; ``False`` when nothing is left."""
        cost = self._COST_OF_SILENCE if silent else self._COST
        if cost > self._left:
            return False
        self._left -= cost
        return True

    def succeeded(self) -> None:
        """Count a request that was answered."""
        self._left = min(self._FULL, self._left + 1)


class Pace:
    """How many requests a second are sent: any number until the service throttles, then a rate that recovers.

    After a throttle the rate falls to 70 % of what was measured, and grows back along a cubic curve (AWS SDKs:
    adaptive retry mode).

    Args:
        now: seconds on a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rate: float | None = None
        self._next_at = 0.0
        self._last_most = 0.0
        self._slowed_at = 0.0
        self._measured = 0.0
        self._bucket = 0.0
        self._sent = 0

    @property
    def is_limited(self) -> bool:
        """Whether requests have to take turns at all."""
        return self._rate is not None

    def turn(self) -> float:
        """Take a turn, if it is time for one: 0; else the seconds after which to ask again, and nothing is taken."""
        if self._rate is None:
            return 0.0
        now = self._now()
        if self._next_at > now:
            return self._next_at - now
        self._next_at = max(self._next_at, now - _CATCH_UP_SECONDS) + 1 / self._rate
        return 0.0

    def succeeded(self) -> None:
        """Count an answer; the rate recovers."""
        self._measure()
        if self._rate is not None:
            ceiling = max(2 * self._measured, _SLOWEST)
            self._rate = max(_SLOWEST, min(self._recovered(self._now()), ceiling))

    def throttled(self) -> None:
        """Count a throttle; the rate falls."""
        self._measure()
        sending = self._measured if self._rate is None else min(self._measured, self._rate)
        self._last_most = max(sending, _SLOWEST)
        self._slowed_at = self._now()
        self._rate = max(_SLOWEST, self._last_most * _SLOWED_TO)

    def _recovered(self, now: float) -> float:
        window = (self._last_most * (1 - _SLOWED_TO) / _GROWTH) ** (1 / 3)
        return float(_GROWTH * (now - self._slowed_at - window) ** 3 + self._last_most)

    def _measure(self) -> None:
        """Keep the smoothed number of answers a second, counted in half seconds."""
        bucket = self._now() // _HALF_SECOND * _HALF_SECOND
        self._sent += 1
        if bucket > self._bucket:
            rate = self._sent / (bucket - self._bucket) if self._bucket else float(self._sent)
            self._measured = rate * _SMOOTHING + self._measured * (1 - _SMOOTHING)
            self._sent = 0
            self._bucket = bucket


class Turns:
    """A queue before requests that share a limit of the service, open while nothing was throttled.

    Args:
        now: seconds on a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.pace = Pace(now)
        self._order = asyncio.Lock()

    async def wait(self) -> None:
        """Wait in the order in which requests came, at the pace of the moment; who is cancelled leaves the queue."""
        if self.pace.is_limited:
            async with self._order:
                while (wait := self.pace.turn()) > 0:  # noqa: ASYNC110 - what is waited for is time
                    await asyncio.sleep(wait)
