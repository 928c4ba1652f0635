"""Faults on demand: calls of a port that fail before or after they took effect, get lost, or are cancelled.

For the tests of whatever stands above a port. An instance is a layer, and also a plugin that puts itself there::

    faults = Faults(PortName.ENTITIES, operations={"write"})
    async with storycore.open("memory", plugins=[faults]) as store:
        faults.plan([None, Fault.AFTER])  # the write after next is done, and nobody hears of it
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from storycore.errors import Effect, Throttled, Unavailable
from storycore.hooks import hookimpl
from storycore.layers.around import Around, Interceptor, Operation
from storycore.ports.lifecycle import PortName

__all__ = ["Fault", "Faults", "Injected", "by_chance", "from_call"]

T = TypeVar("T")


class Fault(StrEnum):
    """How a call fails."""

    BEFORE = "before"
    """It is not done, and says so: ``Unavailable`` with the effect ``none``."""
    THROTTLED = "throttled"
    """It is not done, and says so: ``Throttled``."""
    LOST = "lost"
    """It is not done, but nobody knows: ``Unavailable``, of a write with the effect ``unknown``."""
    AFTER = "after"
    """It is done, but nobody knows: ``Unavailable``, of a write with the effect ``unknown``."""
    CANCELLED_BEFORE = "cancelled before"
    """Its task is cancelled before it is done."""
    CANCELLED_AFTER = "cancelled after"
    """Its task is cancelled after it was done."""

    @property
    def is_done(self) -> bool:
        """Whether the call takes effect all the same."""
        return self in (Fault.AFTER, Fault.CANCELLED_AFTER)


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that a call met: which operation, and how it failed."""

    operation: str
    fault: Fault


class Faults:
    """A layer that lets the calls of a port fail by a plan.

    Args:
        port: which port.
        operations: the operations that meet faults; ``None``: all.
    """

    slot: ClassVar[int] = 1000

    def __init__(self, port: PortName, *, operations: Collection[str] | None = None) -> None:
        self._port = port
        self._operations = operations
        self._plan: Iterator[Fault | None] = iter(())
        self.injected: list[Injected] = []

    def plan(self, faults: Iterable[Fault | None]) -> None:
        """Give each coming call its fault, ``None`` to let it through; behind the last one all go through.

        What is left of an earlier plan is forgotten.
        """
        self._plan = iter(faults)

    def around(self, port: Any, *above: Interceptor) -> Any:  # whichever port it is, the same comes out
        """The port with these faults around it, and the layers ``above`` around them, outermost first."""
        return Around(self._port, port, [*above, self])

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run the operation, or let it fail as the plan says."""
        is_meant = self._operations is None or operation.name in self._operations
        fault = next(self._plan, None) if is_meant else None
        if fault is None:
            return await proceed()
        self.injected.append(Injected(operation.name, fault))
        if fault.is_done:
            await proceed()
        if fault in (Fault.CANCELLED_BEFORE, Fault.CANCELLED_AFTER):
            await _cancelled()
        raise _error(operation, fault)

    @hookimpl
    def storycore_layers(self, port: PortName, adapter: str) -> list[Interceptor]:
        """Put this layer around its port, next to the adapter."""
        return [self] if port is self._port else []


def by_chance(rng: random.Random, rate: float, *faults: Fault) -> Iterator[Fault | None]:
    """An endless plan in which a call meets one of ``faults`` with the probability ``rate``, 0 to 1."""
    while True:
        yield rng.choice(faults) if rng.random() < rate else None


def from_call(number: int, fault: Fault) -> Iterator[Fault | None]:
    """An endless plan in which ``number`` calls go through and every later one meets ``fault``: the process is gone."""
    yield from itertools.repeat(None, number)
    yield from itertools.repeat(fault)


async def _cancelled() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.cancel()
    await asyncio.sleep(0)


def _error(operation: Operation, fault: Fault) -> Unavailable | Throttled:
    text = f"A fault was planned for this call of {operation.name!r} ({fault}); it is none of the store's own."
    if fault is Fault.THROTTLED:
        return Throttled(text)
    is_unknown = fault is not Fault.BEFORE and operation.writes
    return Unavailable(text, effect=Effect.UNKNOWN if is_unknown else Effect.NONE)
