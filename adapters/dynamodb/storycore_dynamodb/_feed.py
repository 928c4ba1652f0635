"""The change feed over the table's stream: reads the shards that come next, fairly, and keeps each key's order.

The service keeps changes for 24 hours (DynamoDB Streams: data retention). A reader that comes later hears ``FeedGap``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from storycore.errors import FeedGap, NotProvisioned
from storycore.ports.entities import Change, ChangePage, FeedPosition
from storycore_dynamodb._reader import Call, Read, ShardReader, sequence_of
from storycore_dynamodb._shards import DONE, Place, Shard, behind, forward, shard_of, table_mark
from storycore_dynamodb._told import change_of

__all__ = ["StreamFeed"]

_AT_ONCE: Final = 8
_LONG_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Stream:
    """The table's present stream, and its shards as they were listed last."""

    arn: str
    label: str
    shards: Mapping[str, Shard]
    reader: ShardReader

    @property
    def table(self) -> str:
        """What marks the positions of this table."""
        return table_mark(self.arn.removesuffix(f"/stream/{self.label}"))


class StreamFeed:
    """The changes of one table.

    Args:
        table: its name.
        call: the way to the service.
    """

    def __init__(self, table: str, call: Call) -> None:
        self._name = table
        self._call = call
        self._stream: _Stream | None = None
        self._turn = 0

    async def changes(self, after: FeedPosition | None, *, limit: int) -> ChangePage:
        """The changes behind a position; ``None``: the oldest that are kept. An empty page is the present end.

        A page that met every shard's end is marked as the end, too.

        Raises:
            FeedGap: changes behind the position have been trimmed, or the stream was turned off in between.
            InvalidArgument: the position is not one of this table's feed.
            NotProvisioned: the table has no stream.
        """
        stream, place = await self._oldest() if after is None else await self._found(after)
        changes: list[Change] = []
        idle: set[str] = set()
        while len(changes) < limit and (chosen := self._chosen(place, idle, limit - len(changes))):
            reads = (stream.reader.read(stream.shards[shard], place.marks[shard], n) for shard, n in chosen.items())
            for shard, read in zip(chosen, await asyncio.gather(*reads), strict=True):
                place = _told(place, shard, read, changes)
                if not read.records:
                    idle.add(shard)
            stream, place = await self._forward(place)
        is_end = all(mark == DONE or shard in idle for shard, mark in place.marks.items())
        return ChangePage(changes, FeedPosition(place.text()), is_end)

    async def end(self, now: datetime) -> FeedPosition:
        """The place behind every change that was told before a moment.

        Raises:
            NotProvisioned: the table has no stream.
        """
        position = None
        while True:
            page = await self.changes(position, limit=_LONG_PAGE)
            if page.is_end or not page.changes or page.changes[-1].at > now:
                return page.next
            position = page.next

    def _chosen(self, place: Place, idle: set[str], room: int) -> dict[str, int]:
        """The shards to read now, and how much of each; when not all have room, they take turns."""
        ready = [shard for shard, mark in place.marks.items() if mark != DONE and shard not in idle]
        if not ready:
            return {}
        self._turn += 1
        turn = self._turn % len(ready)
        chosen = (ready[turn:] + ready[:turn])[: min(room, _AT_ONCE)]
        share, rest = divmod(room, len(chosen))
        return {shard: share + (i < rest) for i, shard in enumerate(chosen)}

    async def _oldest(self) -> tuple[_Stream, Place]:
        """The place before everything that is kept."""
        stream = await self._look()
        roots = [shard for shard in stream.shards.values() if shard.parent not in stream.shards]
        marks = await asyncio.gather(*(stream.reader.oldest(shard) for shard in roots))
        place = Place(stream.table, stream.label, dict(zip((shard.id for shard in roots), marks, strict=True)))
        return stream, place

    async def _found(self, after: FeedPosition) -> tuple[_Stream, Place]:
        """The place behind a position."""
        stream = self._stream or await self._look()
        return await self._forward(Place.from_text(after, table=stream.table))

    async def _forward(self, place: Place) -> tuple[_Stream, Place]:
        """The place with the shards in it that come next; the stream is looked at again where it may have changed."""
        stream = self._stream
        if stream is None or not _is_enough(stream, place):
            stream = await self._look()
        if stream.label != place.stream:
            raise FeedGap(
                f"The stream of the table {self._name!r} was turned off and on again since that position; "
                "start with a full scan."
            )
        return stream, forward(place, stream.shards.values())

    async def _look(self) -> _Stream:
        """Ask which stream the table has, and which shards."""
        table = (await self._call("DescribeTable", {"TableName": self._name}))["Table"]
        if not table.get("StreamSpecification", {}).get("StreamEnabled"):
            raise NotProvisioned(
                f"The table {self._name!r} has no stream; turn it on with `storycore init` or ensure()."
            )
        arn, label = table["LatestStreamArn"], table["LatestStreamLabel"]
        known = self._stream is not None and self._stream.arn == arn
        reader = self._stream.reader if self._stream is not None and known else ShardReader(arn, self._call)
        self._stream = _Stream(arn, label, await self._shards(arn), reader)
        return self._stream

    async def _shards(self, arn: str) -> dict[str, Shard]:
        shards: dict[str, Shard] = {}
        request: dict[str, object] = {"StreamArn": arn}
        while True:
            found = (await self._call("DescribeStream", request))["StreamDescription"]
            shards.update((described["ShardId"], shard_of(described)) for described in found["Shards"])
            if not (last := found.get("LastEvaluatedShardId")):
                return shards
            request = {"StreamArn": arn, "ExclusiveStartShardId": last}


def _is_enough(stream: _Stream, place: Place) -> bool:
    """Whether what was listed last tells all that is needed to go on from a place."""
    return (
        stream.label == place.stream
        and bool(place.marks)
        and all(mark != DONE and shard in stream.shards for shard, mark in place.marks.items())
    )


def _told(place: Place, shard: str, read: Read, changes: list[Change]) -> Place:
    """Add what was read to the changes; returns the place behind it."""
    for record in read.records:
        place = place.moved(shard, behind(sequence_of(record)))
        change = change_of(record, FeedPosition(place.text()))
        if change is not None:
            changes.append(change)
    return place.moved(shard, DONE) if read.ended else place
