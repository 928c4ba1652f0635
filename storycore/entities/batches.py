"""Writes of any number: cut into calls of bounded size, with one outcome per item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from storycore.errors import ConditionFailed, InvalidArgument, NotFound, PartialFailure, StorycoreError
from storycore.ports.entities import EntityStore, Write, Written

__all__ = ["Outcome", "write_all"]

_WRITES_PER_CALL = 200

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
    if len({write.key for write in writes}) < len(writes):
        raise InvalidArgument("A batch holds two instances with the same key; keep one of them.")
    outcomes: list[Outcome] = []
    for start in range(0, len(writes), _WRITES_PER_CALL):
        try:
            outcomes += await _write_some(store, writes[start : start + _WRITES_PER_CALL])
        except StorycoreError as exc:
            if not outcomes:
                raise
            return outcomes + [exc] * (len(writes) - start)
    return outcomes


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
