"""Where a reader of the stream stands: a mark on each shard of the frontier, as pure functions and as one text.

A shard's children hold what was written after the shard was closed, so they are read only once it has been read to
its end; each key lives in one lineage of shards, which keeps its order. The frontier names the shards that come next
in each lineage: what is above them has been read, what is below them has not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final
from zlib import crc32

from storycore.errors import FeedGap, InvalidArgument

__all__ = ["DONE", "OLDEST", "Place", "Shard", "behind", "forward", "not_before", "shard_of", "start_of", "table_mark"]

OLDEST: Final = ""
"""The mark on a shard that is to be read from the oldest change that is kept."""

DONE: Final = "!"
"""The mark on a shard that has been read to its end and has no known children yet."""

_FORMAT: Final = "1"
_TEXT: Final = re.compile(r"1\.([0-9a-f]{8})\.([0-9a-f]{16}/[A-Za-z0-9:.\-]+(?:/[A-Za-z0-9\-]+=(?:@?[0-9]+|!|))*)")


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the stream.

    Args:
        id: its name.
        parent: the shard that it continues; ``None``: it is one of the first.
        first: from which sequence number on it holds changes, where that is known.
        is_closed: whether nothing more will be written into it.
    """

    id: str
    parent: str | None = None
    first: str | None = None
    is_closed: bool = False


def shard_of(described: Mapping[str, Any]) -> Shard:
    """A shard as the service describes it."""
    numbers = described.get("SequenceNumberRange", {})
    return Shard(
        described["ShardId"],
        described.get("ParentShardId"),
        numbers.get("StartingSequenceNumber"),
        is_closed="EndingSequenceNumber" in numbers,
    )


def behind(sequence: str) -> str:
    """The mark on a shard that has been read up to a sequence number."""
    return sequence


def not_before(sequence: str | None) -> str:
    """The mark on a shard of which nothing has been read, and whose first unread change has that number or a later."""
    return OLDEST if sequence is None else f"@{sequence}"


def start_of(mark: str) -> dict[str, str]:
    """Where a mark says to begin, as GetShardIterator takes it."""
    if mark == OLDEST:
        return {"ShardIteratorType": "TRIM_HORIZON"}
    if mark.startswith("@"):
        return {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": mark[1:]}
    return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": mark}


def table_mark(table_arn: str) -> str:
    """What tells the positions of one table from those of others."""
    return sha256(table_arn.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the stream of a table.

    Args:
        table: from ``table_mark``.
        stream: the label of the stream, which is another one when the stream is turned off and on again.
        marks: shard to how far it has been read: ``behind(…)``, ``not_before(…)``, ``OLDEST`` or ``DONE``.
    """

    table: str
    stream: str
    marks: Mapping[str, str]

    def moved(self, shard: str, mark: str) -> Place:
        """The place after more of a shard has been read."""
        return replace(self, marks={**self.marks, shard: mark})

    def text(self) -> str:
        """The place as a text that ``from_text`` reads."""
        marks = (f"/{shard}={mark}" for shard, mark in self.marks.items())
        content = f"{self.table}/{self.stream}{''.join(marks)}"
        return f"{_FORMAT}.{crc32(content.encode()):08x}.{content}"

    @classmethod
    def from_text(cls, text: str, *, table: str) -> Place:
        """The place behind a text.

        Raises:
            InvalidArgument: the text is damaged, or belongs to another table.
        """
        found = _TEXT.fullmatch(text)
        if found is None or f"{crc32(found[2].encode()):08x}" != found[1]:
            raise InvalidArgument(f"{text[:80]!r} is not a position of a change feed; hand in what changes() returned.")
        owner, stream, *marks = found[2].split("/")
        if owner != table:
            raise InvalidArgument("The position belongs to the change feed of another table; start without a position.")
        pairs = (mark.partition("=") for mark in marks)
        return cls(owner, stream, {shard: mark for shard, _, mark in pairs})


def forward(place: Place, shards: Iterable[Shard]) -> Place:
    """The place with the children of finished shards in it, as soon as they are listed.

    Args:
        shards: all that the service lists.

    Raises:
        FeedGap: a shard that was not read to its end is no longer listed, or one is listed whose parent nobody read.
    """
    listed = {shard.id: shard for shard in shards}
    for read, mark in place.marks.items():
        if mark != DONE and read not in listed:
            raise FeedGap(
                f"The stream no longer holds the shard {read}, which was not read to its end; start with a full scan."
            )
    marks = dict(place.marks)
    passed = _passed(place.marks, listed)
    for shard in listed.values():
        if _is_next(shard, listed, place.marks, passed):
            marks[shard.id] = not_before(shard.first)
    followed = {shard.parent for shard in listed.values() if shard.id in marks}
    return replace(place, marks={s: mark for s, mark in marks.items() if mark != DONE or s not in followed})


def _passed(marks: Mapping[str, str], listed: Mapping[str, Shard]) -> set[str]:
    """The shards that have been read to their end: finished ones, and all above those of the frontier."""
    passed = {shard for shard, mark in marks.items() if mark == DONE}
    for shard in marks:
        at = listed.get(shard)
        while at is not None and at.parent is not None and at.parent not in passed:
            passed.add(at.parent)
            at = listed.get(at.parent)
    return passed


def _is_next(shard: Shard, listed: Mapping[str, Shard], marks: Mapping[str, str], passed: set[str]) -> bool:
    """Whether a shard outside the frontier may be read now."""
    if shard.id in marks or shard.id in passed:
        return False
    if shard.parent is None or shard.parent in passed:
        return True
    if shard.parent in listed:
        return False
    raise FeedGap(f"The stream no longer holds the shard {shard.parent}, which was not read; start with a full scan.")
