"""What every checking wrapper passes through unchanged."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from storycore.ports.capabilities import Capabilities
from storycore.ports.lifecycle import AdapterInfo, Health, Port, Provision

__all__ = ["Forward"]

P = TypeVar("P", bound=Port)
N = TypeVar("N")


class Forward(Generic[P]):
    """Delegates the lifecycle to ``inner``; a wrapper derives from it and adds the port's operations."""

    def __init__(self, inner: P) -> None:
        self.inner = inner

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return self.inner.info

    @property
    def capabilities(self) -> Capabilities:
        """What the wrapped instance can do."""
        return self.inner.capabilities

    async def open(self) -> None:
        """Connect."""
        await self.inner.open()

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Create what is missing."""
        return await self.inner.ensure(dry_run=dry_run)

    async def health(self, *, deep: bool = False) -> Health:
        """Probe the store."""
        return await self.inner.health(deep=deep)

    async def close(self) -> None:
        """Release everything."""
        await self.inner.close()

    def native(self, kind: type[N]) -> N:
        """The raw client of type ``kind``."""
        return self.inner.native(kind)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
