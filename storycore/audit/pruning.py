"""Pruning: old records go, and what is left still verifies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from storycore.audit.chains import read
from storycore.audit.keys import AuditKey, unsealed
from storycore.audit.places import Batch, Mark, Place, millis
from storycore.audit.verifying import Walk
from storycore.errors import AccessDenied, Corrupt, PartialFailure

__all__ = ["AuditPruned", "pruned"]

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class AuditPruned:
    """What was removed.

    Args:
        records: how many records.
        chains: how many chains went as a whole.
        refused: objects that may not be removed yet, for they are locked, with the reasons. What they hold is pruned:
            nobody is shown it, and the next prune removes them.
    """

    records: int
    chains: int
    refused: Mapping[str, str] = field(default_factory=dict)


async def pruned(place: Place, key: AuditKey, before: datetime, *, dry_run: bool) -> AuditPruned:
    """Remove all batches whose records are older; how far each chain is gone is sealed before anything goes.

    It can be repeated, and one that was interrupted is ended by the next one.

    Raises:
        Corrupt: what would go is not as it was written, and nothing has gone.
        ConditionFailed: another one prunes.
    """
    marks, when = await place.pruned(key)
    limit = millis(before)
    records, gone, whole = 0, list[str](), dict[str, str]()
    for chain in await place.chains():
        batches = await place.batches(chain)
        mark, count, left = await _reached(place, key, chain, marks.get(chain, Mark()), batches, limit)
        records += count
        if mark.seq:
            marks[chain] = mark
            gone += [batch.name for batch in batches if 0 < batch.first <= mark.seq]
        if mark.seq and not left and await _is_closed(place, key, chain, mark):
            whole[place.chain_name(chain)] = place.head_name(chain)
    if dry_run or not (gone or whole):
        return AuditPruned(records, len(whole))
    await place.put_pruned(marks, key, when)
    refused = await _removed(place, gone)
    held = {name.rpartition("/")[0] for name in refused}
    refused |= await _removed(place, [head for chain, head in whole.items() if chain not in held])
    return AuditPruned(records, len(whole.keys() - held), refused)


async def _removed(place: Place, names: Sequence[str]) -> dict[str, str]:
    """Delete objects, and say of which that is refused, and why."""
    refused = dict[str, str]()
    for start in range(0, len(names), _AT_ONCE):
        asked = names[start : start + _AT_ONCE]
        try:
            await place.blobs.delete(asked)
        except PartialFailure as exc:
            if not all(isinstance(each, AccessDenied) for each in exc.errors.values()):
                raise
            refused |= {asked[index]: each.message for index, each in exc.errors.items()}
        except AccessDenied as exc:
            if len(asked) > 1:
                raise
            refused[asked[0]] = exc.message
    return refused


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
