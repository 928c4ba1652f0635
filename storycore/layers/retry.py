"""Retrying, decided in one place: only what a repetition can help, and never a write that may have happened."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from storycore.errors import Effect, Retry, StaleRead, StorycoreError, Throttled
from storycore.layers.around import Operation
from storycore.layers.deadline import leaves_time

__all__ = ["RetrySettings", "Retrying"]

T = TypeVar("T")


class RetrySettings(BaseModel):
    """Settings of the layer ``retry``.

    Args:
        attempts: calls in all, the first included.
        base_seconds: the first pause lies between 0 and this; it doubles with every attempt (full jitter).
        cap_seconds: no pause is longer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=4, ge=1, le=20)
    base_seconds: float = Field(default=0.05, gt=0)
    cap_seconds: float = Field(default=5.0, gt=0)


class Retrying:
    """Repeats an operation whose error says that a pause can help.

    A write whose effect is unknown is repeated only when the operation is repeatable; else the error is raised, so that
    the caller reads back. How long a read that came too early is repeated, the read itself says. Nor is there a pause
    that would last beyond the caller's deadline.
    """

    slot: ClassVar[int] = 40

    def __init__(self, settings: RetrySettings, rng: random.Random) -> None:
        self._settings = settings
        self._random = rng

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation, and again after a pause while that can help and attempts are left."""
        for attempt in range(1, self._settings.attempts):
            try:
                return await proceed()
            except StorycoreError as exc:
                if not _worth_repeating(exc, operation):
                    raise
                pause = self._pause(exc, attempt)
                if not leaves_time(pause):
                    raise
                await asyncio.sleep(pause)
        return await proceed()

    def _pause(self, exc: StorycoreError, attempt: int) -> float:
        if isinstance(exc, Throttled) and exc.retry_after_seconds is not None:
            return min(exc.retry_after_seconds, self._settings.cap_seconds)
        ceiling = min(self._settings.cap_seconds, self._settings.base_seconds * 2 ** (attempt - 1))
        return self._random.uniform(0, ceiling)


def _worth_repeating(exc: StorycoreError, operation: Operation) -> bool:
    if exc.retry not in (Retry.BACKOFF, Retry.AFTER) or isinstance(exc, StaleRead):
        return False
    return exc.effect is Effect.NONE or operation.repeatable
