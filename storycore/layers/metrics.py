"""Counting: how often each operation ran, failed, and how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, TypeVar

from storycore.errors import ConditionFailed, InvalidArgument, NotFound
from storycore.layers.around import Operation

__all__ = ["Metrics", "OperationCount"]

T = TypeVar("T")

_ANSWERS = (ConditionFailed, InvalidArgument, NotFound, asyncio.CancelledError)
"""Errors that are the caller's, of a port that serves."""


@dataclass(slots=True)
class OperationCount:
    """What was counted of one operation; durations in seconds of wall time."""

    calls: int = 0
    errors: int = 0
    total_seconds: float = 0.0
    longest_seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """The counts as plain values, durations in milliseconds."""
        return {
            "calls": self.calls,
            "errors": self.errors,
            "mean_ms": round(self.total_seconds / self.calls * 1000, 3) if self.calls else 0.0,
            "longest_ms": round(self.longest_seconds * 1000, 3),
        }


class Metrics:
    """Counts the operations of all ports it is put around."""

    slot: ClassVar[int] = 10

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], OperationCount] = {}
        self.last_errors: dict[str, str] = {}
        """Port to the class of its last failure, which no refusal is; a message might tell what is private."""

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation and count it; a cancelled call counts as an error."""
        return await self.surround(operation, proceed)()

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call`` with counting around it."""
        count = self.counts.setdefault((str(operation.port), operation.name), OperationCount())
        clock = time.perf_counter

        @wraps(call)
        async def counted(*args: Any, **kwargs: Any) -> T:  # the operation's own arguments
            begun = clock()
            try:
                return await call(*args, **kwargs)
            except BaseException as exc:
                count.errors += 1
                if not isinstance(exc, _ANSWERS):
                    self.last_errors[str(operation.port)] = type(exc).__name__
                raise
            finally:
                took = clock() - begun
                count.calls += 1
                count.total_seconds += took
                if took > count.longest_seconds:
                    count.longest_seconds = took

        return counted

    def as_dict(self) -> dict[str, dict[str, dict[str, float]]]:
        """Port to operation to counts; only what has been called."""
        result: dict[str, dict[str, dict[str, float]]] = {}
        for (port, name), count in sorted(self.counts.items()):
            if count.calls:
                result.setdefault(port, {})[name] = count.as_dict()
        return result
