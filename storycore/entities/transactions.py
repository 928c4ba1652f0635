"""Transactions: a function whose unit of work is tried again while others are faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from storycore.entities.commits import may_pass
from storycore.entities.unit import Unit
from storycore.entities.writing import pause
from storycore.errors import InvalidArgument, TransactionConflict
from storycore.ports.environment import Environment

__all__ = ["is_worth_another", "run_again"]

T = TypeVar("T")


async def run_again(
    make: Callable[[], Unit], change: Callable[[Unit], Awaitable[T]], env: Environment, *, retries: int
) -> T:
    """Run ``change`` in a unit, and again in a new one while others are faster.

    Args:
        make: makes a unit.
        change: collects writes; it must do nothing else, for it may run several times.
        env: draws the pauses between.
        retries: how often at most it runs again.

    Raises:
        TransactionConflict: others were faster every time, or what is refused would be refused again.
        InvalidArgument: ``change`` is no async function, and nothing was written; or ``retries`` is out of range.
    """
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise InvalidArgument(f"retries is a whole number from 0 on, not {retries!r}.")
    for attempt in range(retries):
        try:
            return await _once(make(), change)
        except TransactionConflict as exc:
            if not is_worth_another(exc):
                raise
        await pause(env, attempt)
    return await _once(make(), change)


def is_worth_another(conflict: TransactionConflict) -> bool:
    """Whether a unit that reads again may succeed: not if all that stands against it is there to stay."""
    return any(map(may_pass, conflict.reasons.values()))


async def _once(unit: Unit, change: Callable[[Unit], Awaitable[T]]) -> T:
    async with unit:
        result = change(unit)
        if not isinstance(result, Awaitable):
            raise InvalidArgument("A transaction is an async function of a unit; write `async def change(u): …`.")
        return await result
