"""Receiving: a store into which something is restored, made ready before and told afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from storycore.backup.sources import Source

if TYPE_CHECKING:
    from storycore.backup.service import Backups

__all__ = ["Into", "Receiver", "Restorable"]


class Restorable(Protocol):
    """A store, as far as a restore into it is concerned."""

    @property
    def backups(self) -> Backups:
        """Its own backups, which know its ports."""
        ...


@dataclass(frozen=True, slots=True)
class Receiver:
    """The ports that receive.

    Args:
        sources: in the order in which they are restored.
        ensure: creates what they need.
        settle: called when they have changed: what was cached is outdated.
    """

    sources: Sequence[Source]
    ensure: Callable[[], Awaitable[object]] | None = None
    settle: Callable[[], Awaitable[object]] | None = None

    def instead(self, into: Into) -> Receiver:
        """The receiver that is meant: ``None`` is this one."""
        if into is None:
            return self
        return Receiver(into) if isinstance(into, Sequence) else into.backups.receiver

    @asynccontextmanager
    async def receiving(self, *, create_tables: bool) -> AsyncIterator[Sequence[Source]]:
        """The ports, once what they need is there; however it ends, the store hears of it."""
        if create_tables and self.ensure is not None:
            await self.ensure()
        try:
            yield self.sources
        finally:
            if self.settle is not None:
                await asyncio.shield(self.settle())


Into = Restorable | Sequence[Source] | None
"""Where a restore goes: a store, its ports, or nowhere else than to the store itself."""
