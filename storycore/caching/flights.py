"""Flights: of many callers that miss the same key at once in this process, one loads and the others join.

A joiner may use the result only if it joined before the flight was *sealed* (its fill was sent), if the shared tier
*accepted* that fill, and if no invalidation dropped the flight meanwhile; otherwise it reads again. So nobody gets a
value that is older than an invalidation which had returned before he asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Generic, TypeVar

from storycore.errors import Effect, Unavailable
from storycore.layers.deadline import bounded, remaining, timeless

__all__ = ["Flight", "Flights"]

R = TypeVar("R")


class Flight(Generic[R]):
    """One load under way, in a task of its own, so that no single caller's cancellation ends it for the others."""

    def __init__(self, tags: Sequence[str]) -> None:
        self.tags = tags
        self.sealed = False
        self.accepted = False
        self.dropped = False
        self.ended = False
        self.has_older = False
        self.goes_on = False
        self.passengers = 0
        self._task: asyncio.Task[R] | None = None

    def start(self, work: Coroutine[object, object, R]) -> asyncio.Task[R]:
        """Begin."""
        self._task = asyncio.create_task(work, context=timeless())
        self._task.add_done_callback(_look_at)
        return self._task

    async def ride(self) -> R:
        """The result; when the last passenger is cancelled, so is the load.

        Raises:
            Unavailable: the cache was closed meanwhile.
            DeadlineExceeded: the passenger's own deadline has passed; the load goes on for the others.
        """
        task = self._task
        if task is None:
            raise RuntimeError("The flight has not been started.")
        self.passengers += 1
        try:
            return await bounded("The load of a cached value", Effect.NONE, lambda: asyncio.shield(task))
        except asyncio.CancelledError as exc:
            if not self.ended or _cancelling():
                raise
            raise Unavailable("The cache was closed during the load; open the store again.") from exc
        finally:
            self._leave(task)

    async def lands_within(self, seconds: float) -> bool:
        """Whether the load ends in so many seconds, or before the passenger's own deadline has passed."""
        task = self._task
        if task is None:
            raise RuntimeError("The flight has not been started.")
        left = remaining()
        self.passengers += 1
        try:
            done, _ = await asyncio.wait([task], timeout=seconds if left is None else max(min(seconds, left), 0))
        except asyncio.CancelledError:
            self._leave(task)
            raise
        self.passengers -= 1
        return bool(done) or (left is not None and left < seconds)

    async def join(self, *, late: bool) -> R | None:
        """The result if this caller, who came later, may use it; else ``None``. The load's error is raised.

        Args:
            late: he came after the flight was sealed.
        """
        try:
            result = await self.ride()
        except asyncio.CancelledError:
            if self._task is not None and self._task.cancelled() and not _cancelling():
                return None
            raise
        return result if self.accepted and not late and not self.dropped else None

    def _leave(self, task: asyncio.Task[R]) -> None:
        """Get off; where nobody is left, the load ends, unless it was told to go on."""
        self.passengers -= 1
        if self.passengers == 0 and not self.goes_on and not task.done():
            task.cancel()

    def end(self) -> asyncio.Task[R] | None:
        """End the load for everybody; the task to wait for."""
        self.ended = True
        if self._task is not None:
            self._task.cancel()
        return self._task


class Flights(Generic[R]):
    """The flights under way by key; used from one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight[R]] = {}
        self._airborne: set[Flight[R]] = set()

    def find(self, key: str) -> Flight[R] | None:
        """The flight that a caller may join now."""
        return self._flights.get(key)

    def begin(
        self, key: str, tags: Sequence[str], work: Callable[[Flight[R]], Coroutine[object, object, R]]
    ) -> Flight[R]:
        """Start a flight; it leaves the list when it ends."""
        flight: Flight[R] = Flight(tags)
        self._flights[key] = flight
        self._airborne.add(flight)
        flight.start(work(flight)).add_done_callback(lambda _: self._land(key, flight))
        return flight

    def drop(self, keys: Iterable[str]) -> None:
        """Let nobody join the flights of these keys any more, nor use what they bring."""
        for key in keys:
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.dropped = True

    def drop_tagged(self, tags: Iterable[str]) -> None:
        """Drop the flights of everything that carries one of the tags."""
        wanted = frozenset(tags)
        self.drop([key for key, flight in self._flights.items() if not wanted.isdisjoint(flight.tags)])

    def drop_all(self) -> None:
        """Drop every flight."""
        self.drop(list(self._flights))

    async def close(self) -> None:
        """Cancel every flight, dropped ones too, and wait until they have ended."""
        tasks = [task for flight in self._airborne if (task := flight.end()) is not None]
        self.drop_all()
        if tasks:
            await asyncio.wait(tasks)

    def _land(self, key: str, flight: Flight[R]) -> None:
        self._airborne.discard(flight)
        if self._flights.get(key) is flight:
            del self._flights[key]


def _look_at(task: asyncio.Task[R]) -> None:
    """Take note of the outcome, which nobody may be left to ask for."""
    if not task.cancelled():
        task.exception()


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
