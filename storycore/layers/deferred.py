"""A port that is built and opened when it is first used, so that nobody waits for what is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from storycore.errors import Unavailable
from storycore.layers.around import OPERATIONS
from storycore.layers.checks.forward import Forward
from storycore.ports.lifecycle import Port, PortName, Provision

__all__ = ["Deferred"]


class Deferred(Forward[Port]):
    """Stands for a port; the first operation builds and opens it.

    Args:
        port: which port.
        build: makes the port, not yet open; imports the vendor library.
    """

    def __init__(self, port: PortName, build: Callable[[], Port]) -> None:
        self._build = build
        self._built: Port | None = None
        self._is_open = False
        self._closed = False
        self._opening = asyncio.Lock()
        self.port = port
        self._wait_for_use()

    @property
    def inner(self) -> Port:  # type: ignore[override]  # built on first sight instead of handed in
        """The port itself, built on first sight."""
        return self._needed()

    @property
    def is_built(self) -> bool:
        """Whether anybody has needed the port yet."""
        return self._built is not None

    async def open(self) -> None:
        """Open the port; a second call does nothing."""
        async with self._opening:
            if self._closed:
                raise Unavailable(f"The store is closed, so {self.port} cannot be used; open the store again.")
            if not self._is_open:
                await self.inner.open()
                self._is_open = True
                self._stand_aside()

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Create what is missing."""
        return await self.inner.ensure(dry_run=dry_run)

    async def close(self) -> None:
        """Close the port if it was ever built; one that is just opening is closed once it is open."""
        self._closed = True
        async with self._opening:
            self._is_open = False
            self._wait_for_use()
            if self._built is not None:
                await self._built.close()

    def __getattr__(self, name: str) -> Any:  # what a port has beside operations
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._needed(), name)

    def _needed(self) -> Port:
        """The port. No property: an AttributeError of the builder would ask ``__getattr__`` for it, for ever."""
        if self._built is None:
            self._built = self._build()
        return self._built

    def _wait_for_use(self) -> None:
        for name in OPERATIONS[self.port]:
            setattr(self, name, self._operation(name))

    def _stand_aside(self) -> None:
        """While the port is open its operations are the port's own: no call pays for the waiting that is over."""
        for name in OPERATIONS[self.port]:
            setattr(self, name, getattr(self.inner, name))

    def _operation(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:  # the operation's own arguments and result
            if not self._is_open:
                await self.open()
            return await getattr(self.inner, name)(*args, **kwargs)

        return call
