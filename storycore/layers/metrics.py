"""Counting: how often each operation ran, failed, and how long it took."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, TypeVar

from storycore.errors import ConditionFailed, InvalidArgument, NotFound
from storycore.layers.around import Operation

__all__ = ["BOUNDS_SECONDS", "REFUSALS", "Metrics", "OperationCount"]

T = TypeVar("T")

BOUNDS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Durations are counted by the first of these that they do not exceed."""
REFUSALS = (ConditionFailed, InvalidArgument, NotFound)
"""Errors that are answers, of a port that serves."""


@dataclass(slots=True)
class OperationCount:
    """What was counted of one operation; durations in seconds of wall time.

    Args:
        calls: all that have ended.
        errors: those that raised, whatever it was.
        refused: of the errors, those that were answers: a condition that failed, something that is not there.
        cancelled: of the errors, those whose caller left.
        within: calls by ``BOUNDS_SECONDS``; the last count is of those that took longer than all of them.
    """

    calls: int = 0
    errors: int = 0
    refused: int = 0
    cancelled: int = 0
    total_seconds: float = 0.0
    longest_seconds: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_SECONDS) + 1))

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
        clock, within = time.perf_counter, count.within

        @wraps(call)
        async def counted(*args: Any, **kwargs: Any) -> T:  # the operation's own arguments
            begun = clock()
            try:
                return await call(*args, **kwargs)
            except BaseException as exc:
                count.errors += 1
                if isinstance(exc, REFUSALS):
                    count.refused += 1
                elif isinstance(exc, asyncio.CancelledError):
                    count.cancelled += 1
                else:
                    self.last_errors[str(operation.port)] = type(exc).__name__
                raise
            finally:
                took = clock() - begun
                count.calls += 1
                count.total_seconds += took
                within[bisect_left(BOUNDS_SECONDS, took)] += 1
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
