"""A store that may be looked at: every operation that could change something is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from storycore.errors import AccessDenied
from storycore.layers.around import Operation

__all__ = ["ReadOnly"]

T = TypeVar("T")


class ReadOnly:
    """Refuses operations that write, before any I/O."""

    slot: ClassVar[int] = 20

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run a reading operation; ``AccessDenied`` for any other."""
        if operation.writes:
            raise AccessDenied(
                f"{operation.port}.{operation.name} would write, and the profile puts the layer 'readonly' "
                f"around {operation.port}; use a profile without it."
            )
        return await proceed()
