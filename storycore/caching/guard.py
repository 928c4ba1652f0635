"""The guard of the shared tier: a call may take so long and no longer, and a tier that keeps failing is let alone.

The breaker is *closed* while the tier works. When more than a fifth of the calls fail for a while it is *open*: calls
fail at once, so that an outage costs the application nothing. After a pause, which grows, it is *half-open*: one call
is let through, and its outcome decides. That one call is a repeated invalidation if any is pending, for the tiers ask
the outbox before they read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from storycore.errors import DeadlineExceeded, Effect, InvalidArgument, Unavailable
from storycore.layers.deadline import remaining
from storycore.ports.environment import Clock

__all__ = ["BreakerState", "Guard"]

R = TypeVar("R")

_FAILURES: Final = 5.0
"""In a row, until the breaker opens."""
_AMENDS: Final = 0.25
"""What part of a failure a success makes up for."""
_FIRST_PAUSE: Final = timedelta(milliseconds=500)
_LONGEST_PAUSE: Final = timedelta(seconds=10)
_FIRST_CALL_SECONDS: Final = 5.0
"""What the first call of all may take at least, for it also opens the port."""


class BreakerState(StrEnum):
    """Whether calls are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Guard:
    """Breaker and deadline of one tier; used from one event loop.

    Args:
        clock: times the pauses.
        seconds: how long a call may take; ``None``: as long as it does.
    """

    def __init__(self, clock: Clock, *, seconds: float | None) -> None:
        self.opened = 0
        self._clock = clock
        self._seconds = seconds
        self._was_called = False
        self._failures = 0.0
        self._pause = _FIRST_PAUSE
        self._open_until: datetime | None = None
        self._is_probing = False

    @property
    def seconds(self) -> float | None:
        """How long a call may take now."""
        if self._seconds is None or self._was_called:
            return self._seconds
        return max(self._seconds, _FIRST_CALL_SECONDS)

    @property
    def state(self) -> BreakerState:
        """Of the breaker, now."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock.now() < self._open_until else BreakerState.HALF_OPEN

    def relent(self) -> None:
        """End the pause of an open breaker, so that the next call is let through."""
        if self._open_until is not None:
            self._open_until = self._clock.now()

    async def run(self, call: Callable[[], Awaitable[R]], *, in_time: bool = True) -> R:
        """The result of a call.

        Args:
            in_time: whether the call has to end in time.

        Raises:
            Unavailable: the breaker is open; the call was not made.
            DeadlineExceeded: the call took too long and was cancelled.
        """
        self._admit()
        is_probe = self._is_probing
        try:
            found = await (call() if not in_time or self.seconds is None else _bounded(call, self.seconds))
        except BaseException as exc:
            if _is_failure(exc):
                self._fail()
            raise
        else:
            self._succeed(is_probe=is_probe)
            return found
        finally:
            self._was_called = True
            if is_probe:
                self._is_probing = False

    def _admit(self) -> None:
        state = self.state
        if state is BreakerState.OPEN or self._is_probing:
            raise Unavailable(
                "The cache has failed repeatedly and is let alone for a while; see `storycore health`.",
                effect=Effect.NONE,
            )
        self._is_probing = state is BreakerState.HALF_OPEN

    def _fail(self) -> None:
        self._failures += 1
        if self._failures < _FAILURES and self._open_until is None:
            return
        if self.state is not BreakerState.OPEN:
            self.opened += self._open_until is None
            self._open_until = self._clock.now() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _succeed(self, *, is_probe: bool) -> None:
        if self._open_until is None:
            self._failures = max(self._failures - _AMENDS, 0.0)
        elif is_probe:
            self._open_until = None
            self._failures = 0.0
            self._pause = _FIRST_PAUSE


def _is_failure(exc: BaseException) -> bool:
    """Whether an error speaks against the tier: neither a refused value, nor the end of the caller's own time."""
    if isinstance(exc, DeadlineExceeded):
        left = remaining()
        return left is None or left > 0
    return isinstance(exc, Exception) and not isinstance(exc, InvalidArgument)


async def _bounded(call: Callable[[], Awaitable[R]], seconds: float) -> R:
    task = asyncio.current_task()
    if task is None:
        return await call()
    timer = _Timer(task, seconds)
    try:
        return await call()
    except asyncio.CancelledError as exc:
        if not timer.has_rung or task.cancelling() - 1 > timer.cancelling:
            raise
        raise DeadlineExceeded(
            f"The cache did not answer within {seconds * 1000:g} ms; the value is read from its source.",
            effect=Effect.UNKNOWN,
        ) from exc
    finally:
        timer.stop()


class _Timer:
    """Cancels a task in time. When the whole process stood still, the tier gets its time once more."""

    def __init__(self, task: asyncio.Task[object], seconds: float) -> None:
        self.has_rung = False
        self.cancelling = task.cancelling()
        self._task = task
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._is_extended = False
        self._due = self._loop.time() + seconds
        self._handle = self._loop.call_at(self._due, self._ring)

    def stop(self) -> None:
        """Ring no more, and take back the cancellation, whatever has become of it."""
        self._handle.cancel()
        if self.has_rung:
            self._task.uncancel()

    def _ring(self) -> None:
        if not self._is_extended and self._loop.time() - self._due > self._seconds / 2:
            self._is_extended = True
            self._handle = self._loop.call_later(self._seconds, self._ring)
            return
        self.has_rung = True
        self._task.cancel()
