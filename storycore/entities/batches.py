"""Writes of any number: cut into calls of bounded size, with one outcome per item."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from storycore.errors import (
    AccessDenied,
    ConditionFailed,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    NotProvisioned,
    PartialFailure,
    StorageFull,
    StorycoreError,
    Throttled,
    Unavailable,
)
from storycore.ports.entities import EntityStore, Key, Write, Written

__all__ = ["Outcome", "each_alone", "write_all"]

T = TypeVar("T")

_WRITES_PER_CALL = 200
_CALLS_AT_ONCE = 16
_OF_THE_STORE = (AccessDenied, DeadlineExceeded, NotProvisioned, StorageFull, Throttled, Unavailable)
"""Errors that every further call would meet too."""

Outcome: TypeAlias = Written | StorycoreError
"""What became of one write."""


async def write_all(store: EntityStore, writes: Sequence[Write]) -> list[Outcome]:
    """Write each on its own; the outcomes are in the order of ``writes``.

    Once a call fails as a whole, as when the store cannot be reached, no further one is made, and its error is the
    outcome of all that were not written.

    Raises:
        InvalidArgument: a key occurs twice; nothing was written.
        StorycoreError: the first call failed as a whole.
    """
    _refuse_twins([write.key for write in writes])
    outcomes: list[Outcome] = []
    for start in range(0, len(writes), _WRITES_PER_CALL):
        try:
            outcomes += await _write_some(store, writes[start : start + _WRITES_PER_CALL])
        except StorycoreError as exc:
            if not outcomes:
                raise
            return outcomes + [exc] * (len(writes) - start)
    return outcomes


async def each_alone(keys: Sequence[Key], call: Callable[[int], Awaitable[T]]) -> list[T | StorycoreError]:
    """Make one call for each position in ``keys``, 16 at once; the outcomes are in their order.

    Once the store itself fails, no further call is made, and its error is the outcome of the others.

    Raises:
        InvalidArgument: a key occurs twice; nothing was called.
        StorycoreError: the store failed before anything was done.
    """
    _refuse_twins(keys)
    outcomes: list[T | StorycoreError] = []
    for start in range(0, len(keys), _CALLS_AT_ONCE):
        positions = range(start, min(start + _CALLS_AT_ONCE, len(keys)))
        found = await asyncio.gather(*(_outcome(call, position) for position in positions))
        outcomes += found
        failure = next((outcome for outcome in found if isinstance(outcome, _OF_THE_STORE)), None)
        if failure is not None:
            if all(isinstance(outcome, StorycoreError) for outcome in outcomes):
                raise failure
            return outcomes + [failure] * (len(keys) - len(outcomes))
    return outcomes


async def _outcome(call: Callable[[int], Awaitable[T]], position: int) -> T | StorycoreError:
    try:
        return await call(position)
    except StorycoreError as exc:
        return exc


def _refuse_twins(keys: Sequence[Key]) -> None:
    if len(set(keys)) < len(keys):
        raise InvalidArgument("A batch holds two instances with the same key; keep one of them.")


async def _write_some(store: EntityStore, writes: Sequence[Write]) -> list[Outcome]:
    try:
        return list(await store.write(writes))
    except PartialFailure as exc:
        return [outcome if isinstance(outcome, Written | StorycoreError) else exc for outcome in exc.outcomes]
    except (ConditionFailed, NotFound, InvalidArgument) as exc:
        if len(writes) == 1:
            return [exc]
        if not isinstance(exc, InvalidArgument):
            raise
        return [outcome for write in writes for outcome in await _write_some(store, [write])]
