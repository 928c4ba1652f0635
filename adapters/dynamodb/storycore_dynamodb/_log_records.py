"""The records of a log of events: its head, chunks of events in their order, and a marker for each id.

- The head is one record: the last offset, where the log begins, and whether somebody is writing a long call.
- A chunk holds some events that follow each other. Its sort key is its last offset, so that the first chunk behind an
  offset is found by a query. Partitions are cut by offset, for one partition of DynamoDB bears 3000 reads a second.
- A marker says that an id was given, and its offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from storycore.errors import Corrupt
from storycore.ports.conditions import ABSENT, ANY, Condition, Matches, Version
from storycore.ports.entities import Delete, Key, Put, Record
from storycore.ports.events import Event, Offset, StoredEvent
from storycore.ports.instants import micros, moment

__all__ = [
    "CHUNK_EVENTS",
    "HEAD_KEY",
    "MOST_CHUNKS",
    "MOST_WRITES",
    "PARTITION_EVENTS",
    "Chunk",
    "Head",
    "chunk_of",
    "chunks_of",
    "first_sort_key",
    "marker",
    "marker_key",
    "marker_offset",
    "packed_event",
    "partition",
    "without_marker",
]

HEAD_KEY: Final = Key("head", "head")
PARTITION_EVENTS: Final = 2**20
"""How many offsets share a partition key."""
CHUNK_EVENTS: Final = 90
"""Events of one chunk at most: with their markers and the head they fit into one transaction of 100 writes."""
MOST_WRITES: Final = 98
"""Of a transaction's 100; the head is one of the others."""
MOST_CHUNKS: Final = 8
"""Of a transaction: 300 KiB each are well below its 4 MiB."""
_CHUNK_BYTES: Final = 300 * 1024
"""A chunk is closed when the next event would make it longer; one event may be longer by itself."""
_DIGITS: Final = 19
"""Of the largest offset: below 2**63."""


@dataclass(frozen=True, slots=True)
class Head:
    """The state of the log.

    Args:
        last: the last offset that readers see; 0 in an empty log.
        first: no event has a lower offset; 0 where nothing was trimmed.
        writing: the last offset of a long call that is being written and not seen yet; 0: there is none.
        version: of the record; ``None``: there is no record yet.
    """

    last: int = 0
    first: int = 0
    writing: int = 0
    version: Version | None = field(default=None, compare=False)

    @classmethod
    def of(cls, record: Record | None) -> Head:
        """The head as it is stored."""
        if record is None:
            return cls()
        last, first, writing = (int(str(record.fields.get(name, 0))) for name in ("last", "first", "writing"))
        return cls(last, first, writing, record.version)

    def put(self, over: Head) -> Put:
        """The write that makes this the head, if ``over`` still is."""
        when: Condition = ABSENT if over.version is None else Matches(over.version)
        fields = {"last": self.last, "first": self.first, "writing": self.writing}
        return Put(key=HEAD_KEY, kind="head", fields=fields, when=when)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events that follow each other.

    Args:
        key: its address, by the last offset that it was written with.
        events: in order.
        version: of the record; ``None``: not written yet.
    """

    key: Key
    events: Sequence[StoredEvent]
    version: Version | None = None

    def put(self) -> Put:
        """The write that stores it, over what it was read as."""
        body = b"[%s]" % b",".join(packed_event(stored) for stored in self.events)
        when: Condition = ABSENT if self.version is None else Matches(self.version)
        return Put(key=self.key, kind="chunk", body=body, when=when)

    def delete(self) -> Delete:
        """The write that removes it, if it is as it was read."""
        return Delete(key=self.key, when=ANY if self.version is None else Matches(self.version))


def chunks_of(events: Sequence[StoredEvent]) -> Iterator[Chunk]:
    """Events in chunks that fit into records and, with their markers, into transactions."""
    held: list[StoredEvent] = []
    held_bytes = 0
    for stored in events:
        size = len(packed_event(stored)) + 1
        if held and (len(held) == CHUNK_EVENTS or held_bytes + size > _CHUNK_BYTES):
            yield _chunk(held)
            held, held_bytes = [], 0
        held.append(stored)
        held_bytes += size
    if held:
        yield _chunk(held)


def chunk_of(record: Record) -> Chunk:
    """A chunk from its record.

    Raises:
        Corrupt: the record is none.
    """
    try:
        rows = orjson.loads(record.body)
        events = [
            StoredEvent(Offset(offset), Event(id=id_, type=type_, at=moment(at), subject=subject, data=data))
            for offset, id_, type_, at, subject, data in rows
        ]
    except (ValueError, TypeError, OverflowError) as exc:
        raise Corrupt(f"The events under {record.key.pk}/{record.key.sk} cannot be read; restore a backup.") from exc
    return Chunk(record.key, events, record.version)


def packed_event(stored: StoredEvent) -> bytes:
    """One event of a chunk's body."""
    event = stored.event
    return orjson.dumps([stored.offset, event.id, event.type, micros(event.at), event.subject, event.data])


def partition(offset: int) -> str:
    """The partition of the chunk whose last offset this is."""
    return f"log-{offset // PARTITION_EVENTS:013d}"


def first_sort_key(after: int) -> str:
    """Where the chunks begin that have an event behind an offset."""
    return _sort_key(after + 1)


def marker(stored: StoredEvent) -> Put:
    """The write that keeps an id from being given again."""
    return Put(key=marker_key(stored.event.id), kind="id", fields={"offset": stored.offset}, when=ABSENT)


def without_marker(stored: StoredEvent) -> Delete:
    """The write that lets an id be given again."""
    return Delete(key=marker_key(stored.event.id))


def marker_key(id_: str) -> Key:
    """Where the marker of an id lies."""
    return Key(f"id-{id_}", "id")


def marker_offset(record: Record) -> Offset:
    """The offset under which an id was kept first."""
    return Offset(int(str(record.fields["offset"])))


def _chunk(events: Sequence[StoredEvent]) -> Chunk:
    last = events[-1].offset
    return Chunk(Key(partition(last), _sort_key(last)), tuple(events))


def _sort_key(offset: int) -> str:
    return f"{offset:0{_DIGITS}d}"
