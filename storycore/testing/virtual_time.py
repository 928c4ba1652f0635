"""Time that passes only while everybody waits: an event loop on which seconds and hours cost nothing."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from storycore.testing.clock import ManualClock

__all__ = ["LoopClock", "VirtualLoop"]


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time goes straight to the next timer when nothing else is left to do.

    Where code waits for something outside of the loop, such as a thread or a server, it says so by an ``errand``,
    and time passes as it does elsewhere.

    Raises:
        AssertionError: from whatever runs on the loop: everybody waits, and nothing is left that could wake anybody.
    """

    def __init__(self) -> None:
        self._present = 0.0
        self._errands = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._present

    @contextmanager
    def errand(self) -> Iterator[None]:
        """A block that waits for something outside of the loop."""
        self._errands += 1
        try:
            yield
        finally:
            self._errands -= 1

    def await_events(self, selector: selectors.BaseSelector, timeout: float | None) -> list[Any]:
        """What a selector found, after real time or none."""
        if self._errands:
            begun = time.monotonic()
            found = selector.select(timeout)
            self._present += time.monotonic() - begun
            return found
        found = selector.select(0)
        if not found and timeout is None:
            raise AssertionError("Everybody waits, and nothing is left that could wake anybody.")
        if not found and timeout is not None:
            self._present += timeout
        return found


class LoopClock(ManualClock):
    """The time of a virtual loop, so that what expires and what times out agree."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._start = super().now()

    def now(self) -> datetime:
        """The present."""
        return self._start + timedelta(seconds=self._loop.time())


class _Selector(selectors.BaseSelector):
    """The usual selector, which asks the loop how long it may wait."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._inner = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._loop.await_events(self._inner, timeout)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()
