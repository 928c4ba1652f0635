"""Chains as they are read back: batch by batch, from an object of a store or from the lines of an export."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from storycore.audit.keys import AuditKey
from storycore.audit.places import Batch, Mark, Place, millis
from storycore.audit.records import AuditRecord, read_line
from storycore.errors import Corrupt
from storycore.ports.instants import moment

__all__ = ["Lines", "in_order", "read"]

Lines: TypeAlias = Sequence[tuple[bytes, AuditRecord | None]]
"""Lines with their records; ``None``: the line does not bear its hash."""


async def read(place: Place, batch: Batch, key: AuditKey) -> Lines:
    """The lines of a batch; none where it is not there any more."""
    content = await place.content(batch.name)
    return [] if content is None else await asyncio.to_thread(_lines, content, key)


async def in_order(
    place: Place, key: AuditKey, *, since: datetime | None, until: datetime | None
) -> AsyncIterator[AuditRecord]:
    """The records of all chains by their moments; those of one chain in its order.

    Args:
        since, until: only records with ``since <= at < until``.

    Raises:
        Corrupt: a record does not bear its hash.
    """
    pruned, _ = await place.pruned(key)
    waiting = [chain for chain in await place.chains() if until is None or _begun(chain) < until]
    waiting.reverse()
    heads: list[tuple[datetime, str, int, AuditRecord, AsyncIterator[AuditRecord]]] = []
    while waiting or heads:
        while waiting and (not heads or _begun(waiting[-1]) <= heads[0][0]):
            chain = waiting.pop()
            start = pruned.get(chain, Mark()).seq
            await _push(heads, _records(place, chain, key, start=start, since=since))
        if not heads:
            continue
        _, _, _, record, rest = heapq.heappop(heads)
        if until is None or record.at < until:
            if since is None or record.at >= since:
                yield record
            await _push(heads, rest)


async def _push(
    heads: list[tuple[datetime, str, int, AuditRecord, AsyncIterator[AuditRecord]]], rest: AsyncIterator[AuditRecord]
) -> None:
    async for record in rest:
        heapq.heappush(heads, (record.at, record.chain, record.seq, record, rest))
        return


async def _records(
    place: Place, chain: str, key: AuditKey, *, start: int, since: datetime | None
) -> AsyncIterator[AuditRecord]:
    """The records of a chain behind ``start``: a batch before it was pruned, and is kept by a lock, or was put back."""
    earliest = None if since is None else millis(since)
    for batch in await place.batches(chain):
        if 0 < batch.first <= start:
            continue
        if earliest is not None and batch.first and batch.until < earliest:
            continue
        for _, record in await read(place, batch, key):
            if record is None:
                raise Corrupt(
                    f"A record in {batch.name} of the audit trail was changed; `storycore audit verify` says which."
                )
            yield record


def _lines(content: bytes, key: AuditKey) -> Lines:
    if not content:
        return [(b"", None)]
    *whole, rest = content.split(b"\n")
    found = [(line, read_line(line, key)) for line in whole]
    return [*found, (rest, None)] if rest else found  # a line that was cut off has no end


def _begun(chain: str) -> datetime:
    """When a chain began, to the second; as its name says."""
    try:
        return datetime.strptime(chain.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return moment(0)
