"""Reading single shards of a stream by iterators, which are kept, and renewed when they expire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from storycore.errors import FeedGap, NotProvisioned
from storycore_dynamodb._shards import OLDEST, Shard, behind, not_before, start_of
from storycore_dynamodb._transport import Answer, Refused, Request

__all__ = ["Call", "Read", "ShardReader", "sequence_of"]

Call: TypeAlias = Callable[[str, Request], Awaitable[Answer]]
"""Sends one request of DynamoDB or of DynamoDB Streams, and repeats what can be repeated. An expired iterator and
trimmed data come as ``Refused``, all else as an error of storycore."""

_KEPT: Final = 1000
_EMPTY_ANSWERS: Final = 20


@dataclass(frozen=True, slots=True)
class Read:
    """What a shard gave; no records and no end means that it has nothing more for now."""

    records: list[Mapping[str, Any]]
    ended: bool = False


def sequence_of(record: Mapping[str, Any]) -> str:
    """The sequence number of a record of the stream."""
    number: str = record["dynamodb"]["SequenceNumber"]
    return number


class ShardReader:
    """The shards of one stream.

    Args:
        stream: its ARN.
        call: the way to the service.
    """

    def __init__(self, stream: str, call: Call) -> None:
        self._stream = stream
        self._call = call
        self._iterators: dict[tuple[str, str], str] = {}

    async def read(self, shard: Shard, mark: str, limit: int) -> Read:
        """Up to ``limit`` records behind a mark.

        A closed shard may answer with nothing several times before it comes to its next record (DynamoDB Streams:
        GetRecords), so it is asked again; an open one that answers with nothing has been read to its present end.

        Raises:
            FeedGap: what follows the mark has been trimmed.
        """
        for _ in range(_EMPTY_ANSWERS):
            answer = await self._records(shard.id, mark, limit)
            records = answer["Records"]
            following = answer.get("NextShardIterator")
            if following is None:
                return Read(records, ended=True)
            self._keep(shard.id, behind(sequence_of(records[-1])) if records else mark, following)
            if records or not shard.is_closed:
                return Read(records)
        return Read([])

    async def oldest(self, shard: Shard) -> str:
        """The mark before a shard's oldest change; one that will not hide it when that change is trimmed."""
        mark = not_before(shard.first)
        try:
            await self._iterator(shard.id, mark)
        except FeedGap:
            peeked = await self.read(shard, OLDEST, 1)
            return not_before(sequence_of(peeked.records[0])) if peeked.records else OLDEST
        return mark

    async def _records(self, shard: str, mark: str, limit: int) -> Answer:
        try:
            return await self._call("GetRecords", {"ShardIterator": await self._iterator(shard, mark), "Limit": limit})
        except Refused as exc:
            if exc.code != "ExpiredIteratorException":
                raise _gap(shard) from exc
        self._iterators.pop((shard, mark), None)
        try:
            return await self._call("GetRecords", {"ShardIterator": await self._iterator(shard, mark), "Limit": limit})
        except Refused as exc:
            raise _gap(shard) from exc

    async def _iterator(self, shard: str, mark: str) -> str:
        if (shard, mark) not in self._iterators:
            request = {"StreamArn": self._stream, "ShardId": shard, **start_of(mark)}
            try:
                answer = await self._call("GetShardIterator", request)
            except (Refused, NotProvisioned) as exc:  # trimmed, or the whole shard is gone
                raise _gap(shard) from exc
            self._keep(shard, mark, answer["ShardIterator"])
        return self._iterators[shard, mark]

    def _keep(self, shard: str, mark: str, iterator: str) -> None:
        self._iterators[shard, mark] = iterator
        if len(self._iterators) > _KEPT:
            del self._iterators[next(iter(self._iterators))]


def _gap(shard: str) -> FeedGap:
    return FeedGap(f"The stream no longer holds all changes of the shard {shard}; start with a full scan.")
