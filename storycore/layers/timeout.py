"""A time limit for each attempt; it sits inside the retry layer, so that a hanging call is retried too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from storycore.errors import DeadlineExceeded, Effect
from storycore.layers.around import Operation

__all__ = ["Timeout", "TimeoutSettings"]

T = TypeVar("T")


class TimeoutSettings(BaseModel):
    """Settings of the layer ``timeout``.

    Args:
        read_seconds: for operations that change nothing.
        write_seconds: for the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    read_seconds: float = Field(default=5.0, gt=0)
    write_seconds: float = Field(default=30.0, gt=0)


class Timeout:
    """Cancels an operation that takes too long; the effect of a cancelled write is unknown."""

    slot: ClassVar[int] = 50

    def __init__(self, settings: TimeoutSettings) -> None:
        self._settings = settings

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation within its limit, else ``DeadlineExceeded``."""
        limit = self._settings.write_seconds if operation.writes else self._settings.read_seconds
        timer = asyncio.timeout(limit)
        try:
            async with timer:
                return await proceed()
        except TimeoutError as exc:
            if not timer.expired():
                raise
            raise DeadlineExceeded(
                f"{operation.port}.{operation.name} did not finish within {limit:g} s; "
                "raise the limit of the layer 'timeout' or look at `storycore health`.",
                effect=Effect.UNKNOWN if operation.writes else Effect.NONE,
            ) from exc
