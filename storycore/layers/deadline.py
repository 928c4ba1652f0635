"""Deadlines: a moment by which everything that was begun within a block must be done, whichever ports it uses."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, Token, copy_context
from functools import wraps
from typing import Any, ClassVar, TypeVar

from storycore.errors import DeadlineExceeded, Effect, InvalidArgument
from storycore.layers.around import Operation
from storycore.ports.lifecycle import PortName

__all__ = ["Deadline", "Deadlines", "bounded", "leaves_time", "remaining", "timeless"]

T = TypeVar("T")

_MOMENT: ContextVar[float | None] = ContextVar("storycore_deadline", default=None)
"""On the monotonic clock; ``None`` where there is no deadline."""


class Deadline:
    """A block whose operations end in time: ``async with Deadline(2.0)``, or ``with`` where nothing is awaited.

    The deadline travels with the task and into the tasks that it starts; of nested ones the sooner holds.

    Args:
        seconds: from entering the block on; finite, not negative.

    Raises:
        InvalidArgument: no such number.
    """

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise InvalidArgument(f"A deadline is a number of seconds from 0 on, not {seconds!r}.")
        self._seconds = seconds
        self._outer: list[Token[float | None]] = []

    def __enter__(self) -> None:
        moment, outer = time.monotonic() + self._seconds, _MOMENT.get()
        self._outer.append(_MOMENT.set(moment if outer is None else min(moment, outer)))

    def __exit__(self, *exc_info: object) -> None:
        _MOMENT.reset(self._outer.pop())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()


def remaining() -> float | None:
    """Seconds until the deadline of the running code, negative behind it; ``None`` where there is none."""
    moment = _MOMENT.get()
    return None if moment is None else moment - time.monotonic()


def leaves_time(pause: float) -> bool:
    """Whether the deadline of the running code is further off than ``pause`` seconds."""
    left = remaining()
    return left is None or pause < left


def timeless() -> Context:
    """The present context without its deadline: for a task that works for others than the one who starts it."""
    context = copy_context()
    context.run(_MOMENT.set, None)
    return context


async def bounded(what: str, effect: Effect, call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call``, which is cancelled when the deadline passes.

    Args:
        what: is done, for the message.
        effect: what is known about it once it was cancelled.

    Raises:
        DeadlineExceeded: the deadline has passed; before the call was made its effect is none.
    """
    left = remaining()
    if left is None:
        return await call()
    if left <= 0:
        raise DeadlineExceeded(f"{what} was not begun, for its deadline had passed.", effect=Effect.NONE)
    timer = asyncio.timeout(left)
    try:
        async with timer:
            return await call()
    except TimeoutError as exc:
        if not timer.expired():
            raise
        raise DeadlineExceeded(
            f"{what} was not done by its deadline; give the block more seconds, or look at `storycore health`.",
            effect=effect,
        ) from exc


class Deadlines:
    """Lets no operation run beyond its deadline; the effect of a write that was cancelled is unknown.

    What changes a cache is left alone: an invalidation has to happen, however late.
    """

    slot: ClassVar[int] = 5

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation, else ``DeadlineExceeded``."""
        return await self.surround(operation, proceed)()

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call`` bounded by whatever deadline there is when it is made."""
        if operation.port is PortName.CACHE and operation.writes:
            return call
        what = f"{operation.port}.{operation.name}"
        effect, moment = Effect.UNKNOWN if operation.writes else Effect.NONE, _MOMENT.get

        @wraps(call)
        def surrounded(*args: Any, **kwargs: Any) -> Awaitable[T]:  # the operation's own arguments
            if moment() is None:
                return call(*args, **kwargs)
            return bounded(what, effect, lambda: call(*args, **kwargs))

        return surrounded
