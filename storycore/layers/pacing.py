"""Pacing: calls to a service that counts them leave at the rate that it allows, before it has to refuse one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storycore.errors import Throttled
from storycore.layers.around import Operation
from storycore.layers.deadline import leaves_time

__all__ = ["PaceSettings", "Pacing"]

T = TypeVar("T")

_BURST_SECONDS = 1.0
"""How much of a rate may leave at once after a rest."""
_NO_TIME = 1e-6
"""Seconds that nobody sleeps for: what rounding leaves of a pause."""
_TEXTS_AT = {"embed": 0, "rerank": 1}
"""Which argument of an operation holds its texts."""


class PaceSettings(BaseModel):
    """Settings of the layer ``pace``; one of them at least.

    Args:
        requests_per_minute: calls of the port.
        texts_per_minute: texts that are embedded or reranked; any other call counts as one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    texts_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _something_is_limited(self) -> Self:
        if self.requests_per_minute is None and self.texts_per_minute is None:
            raise ValueError("give requests_per_minute or texts_per_minute")
        return self


class _Bucket:
    """A rate, as the moment at which everything that was taken is paid for.

    Args:
        per_minute: how many may be taken.
    """

    def __init__(self, per_minute: float) -> None:
        self._seconds_each = 60.0 / per_minute
        self._burst = max(1.0, _BURST_SECONDS / self._seconds_each)
        self._paid_at = 0.0

    def wait(self, count: int, now: float, *, ahead: int = 0) -> float:
        """Seconds until ``count`` may be taken; more than a burst waits until all is paid for, and is owed then.

        Args:
            ahead: how many others will take before.
        """
        credit = (self._burst - min(count, self._burst)) * self._seconds_each
        paid_at = max(self._paid_at, now) + ahead * self._seconds_each if ahead else self._paid_at
        return paid_at - credit - now

    def take(self, count: int, now: float) -> None:
        """Take ``count``."""
        self._paid_at = max(self._paid_at, now) + count * self._seconds_each


class Pacing:
    """Lets calls go in the order in which they came, at a rate that all callers share.

    A second's worth may leave at once. When the service throttles a call and says for how long, nobody goes before
    that; the refusal is raised, and whether to repeat is left to the layer ``retry``, outside, each of whose attempts
    is paced. A call that would have to wait beyond its caller's deadline is ``Throttled`` at once. Who is cancelled
    while he waits has taken nothing.
    """

    slot: ClassVar[int] = 45

    def __init__(self, settings: PaceSettings) -> None:
        self._requests = None if settings.requests_per_minute is None else _Bucket(settings.requests_per_minute)
        self._texts = None if settings.texts_per_minute is None else _Bucket(settings.texts_per_minute)
        self._order = asyncio.Lock()
        self._calls_ahead = self._texts_ahead = 0
        self._rest_until = 0.0

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run an operation whose texts are not known, which counts as one."""
        return await self._paced(operation, 1, proceed)

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call`` at its pace."""
        place = _TEXTS_AT.get(operation.name)

        @wraps(call)
        async def paced(*args: Any, **kwargs: Any) -> T:  # the operation's own arguments
            count = 1 if place is None else len(args[place] if len(args) > place else kwargs["texts"])
            return await self._paced(operation, count, lambda: call(*args, **kwargs))

        return paced

    async def _paced(self, operation: Operation, count: int, proceed: Callable[[], Awaitable[T]]) -> T:
        await self._turn(operation, count)
        try:
            return await proceed()
        except Throttled as exc:
            if exc.retry_after_seconds is not None:
                until = asyncio.get_running_loop().time() + exc.retry_after_seconds
                self._rest_until = max(self._rest_until, until)
            raise

    async def _turn(self, operation: Operation, count: int) -> None:
        now = asyncio.get_running_loop().time
        _require_time(operation, self._pause(count, now(), calls=self._calls_ahead, texts=self._texts_ahead))
        self._calls_ahead += 1
        self._texts_ahead += count
        try:
            async with self._order:
                while (pause := self._pause(count, now())) > _NO_TIME:
                    _require_time(operation, pause)
                    await asyncio.sleep(pause)
                self._take(count, now())
        finally:
            self._calls_ahead -= 1
            self._texts_ahead -= count

    def _pause(self, count: int, now: float, *, calls: int = 0, texts: int = 0) -> float:
        """Seconds until it is the turn of a call with ``count`` texts, behind so many calls with so many texts."""
        by_calls = 0.0 if self._requests is None else self._requests.wait(1, now, ahead=calls)
        by_texts = 0.0 if self._texts is None else self._texts.wait(count, now, ahead=texts)
        return max(by_calls, by_texts, self._rest_until - now)

    def _take(self, count: int, now: float) -> None:
        if self._requests is not None:
            self._requests.take(1, now)
        if self._texts is not None:
            self._texts.take(count, now)


def _require_time(operation: Operation, pause: float) -> None:
    if pause > _NO_TIME and not leaves_time(pause):
        raise Throttled(
            f"{operation.port}.{operation.name} would have to wait {pause:.3g} s for its turn, beyond its "
            "deadline; give the block more seconds, or raise the rate of the layer 'pace'.",
            retry_after_seconds=pause,
        )
