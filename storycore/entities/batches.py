"""Writes of any number: cut into calls of bounded size, with one outcome per item."""

from __future__ import annotations

from collections.abc import Sequence

from storycore.errors import InvalidArgument, PartialFailure, StorycoreError
from storycore.ports.entities import EntityStore, Write, Written

__all__ = ["write_all"]

_WRITES_PER_CALL = 200

Outcome = Written | StorycoreError


async def write_all(store: EntityStore, writes: Sequence[Write]) -> list[Outcome]:
    """Write each on its own; the outcomes are in the order of ``writes``.

    Raises:
        InvalidArgument: a key occurs twice; nothing was written.
    """
    if len({write.key for write in writes}) < len(writes):
        raise InvalidArgument("A batch holds two instances with the same key; keep one of them.")
    outcomes: list[Outcome] = []
    for start in range(0, len(writes), _WRITES_PER_CALL):
        outcomes += await _write_some(store, writes[start : start + _WRITES_PER_CALL])
    return outcomes


async def _write_some(store: EntityStore, writes: Sequence[Write]) -> list[Outcome]:
    try:
        return list(await store.write(writes))
    except PartialFailure as exc:
        return [o if isinstance(o, Written | StorycoreError) else exc for o in exc.outcomes]
    except InvalidArgument as exc:
        return [exc] if len(writes) == 1 else [o for write in writes for o in await _write_some(store, [write])]
    except StorycoreError as exc:
        return [exc] * len(writes)
