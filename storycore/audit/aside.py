"""Aside: what is done on the trail's own account, which is no access."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, ClassVar, TypeVar

from storycore.layers.acting import put_back
from storycore.layers.around import Operation

__all__ = ["ASIDE", "Aside"]

T = TypeVar("T")

ASIDE: ContextVar[bool] = ContextVar("storycore_audit_aside", default=False)
"""Whether what runs is part of an access that is recorded already, or none at all."""


class Aside:
    """Around a port: its operations are no accesses."""

    slot: ClassVar[int] = 0

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation unrecorded."""
        return await self.surround(operation, proceed)()

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call`` unrecorded."""

        @wraps(call)
        async def unrecorded(*args: Any, **kwargs: Any) -> T:  # the operation's own arguments
            token = ASIDE.set(True)
            try:
                return await call(*args, **kwargs)
            finally:
                put_back(ASIDE, token)

        return unrecorded
