"""Pruning: old records go, and what is left still verifies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storycore.audit.chains import read
from storycore.audit.keys import AuditKey, unsealed
from storycore.audit.places import Batch, Mark, Place
from storycore.audit.verifying import Walk
from storycore.errors import Corrupt

__all__ = ["AuditPruned", "pruned"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AuditPruned:
    """What was removed.

    Args:
        records: how many records.
        chains: how many chains went as a whole.
    """

    records: int
    chains: int


async def pruned(place: Place, key: AuditKey, before: datetime, *, dry_run: bool) -> AuditPruned:
    """Remove all batches whose records are older; how far each chain is gone is sealed before anything goes.

    It can be repeated, and one that was interrupted is ended by the next one.

    Raises:
        Corrupt: what would go is not as it was written, and nothing has gone.
        ConditionFailed: another one prunes.
    """
    marks, when = await place.pruned(key)
    limit = (before - _EPOCH) // timedelta(milliseconds=1)
    records, whole, gone = 0, 0, list[str]()
    for chain in await place.chains():
        batches = await place.batches(chain)
        mark, count, left = await _reached(place, key, chain, marks.get(chain, Mark()), batches, limit)
        records += count
        if mark.seq:
            marks[chain] = mark
            gone += [batch.name for batch in batches if 0 < batch.first <= mark.seq]
        if mark.seq and not left and await _is_closed(place, key, chain, mark):
            whole += 1
            gone.append(place.head_name(chain))
    if gone and not dry_run:
        await place.put_pruned(marks, key, when)
        for start in range(0, len(gone), 1000):
            await place.blobs.delete(gone[start : start + 1000])
    return AuditPruned(records, whole)


async def _reached(
    place: Place, key: AuditKey, chain: str, mark: Mark, batches: Sequence[Batch], limit: int
) -> tuple[Mark, int, bool]:
    """How far a chain goes, how many records that are, and whether some are left."""
    walk = Walk(key, {chain: mark})
    steps = walk.begin(chain)
    for batch in batches:
        if batch.until >= limit and not 0 < batch.first <= mark.seq:
            return mark if steps.hash is None else Mark(steps.seq, steps.hash), walk.records, True
        steps.batch(batch, await read(place, batch, key))
        if walk.findings:
            raise Corrupt(f"{walk.findings[0].detail} Nothing was pruned; `storycore audit verify` tells more.")
    return Mark(steps.seq, steps.hash or ""), walk.records, False


async def _is_closed(place: Place, key: AuditKey, chain: str, mark: Mark) -> bool:
    state = unsealed(key, await place.content(place.head_name(chain)) or b"")
    return state is not None and state.get("closed") is True and state.get("seq") == mark.seq
