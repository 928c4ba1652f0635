"""What a port must offer so that its items can be backed up and restored."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, Self

from storycore.backup.entries import Entry, key_mark
from storycore.backup.manifest import Consistency, PortContent

__all__ = ["Contents", "Reached", "Sink", "Source", "Step"]


class Step(NamedTuple):
    """An item on its way into a backup, in two parts, for joining them would copy every body once more.

    Args:
        key: what identifies the item in its port.
        head: how the item begins; ``None``: it is gone.
        body: how it goes on.
        expires_at: when it ends by itself.
        more: as an entry has it.
        is_marked: as an entry has it.
    """

    key: bytes
    head: bytes | None
    body: bytes = b""
    expires_at: datetime | None = None
    more: bytes = b""
    is_marked: bool = False

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The step of an entry that does not end by itself."""
        return cls(entry.key, entry.item, more=entry.more, is_marked=entry.is_marked)

    @property
    def entry(self) -> Entry:
        """The item in one."""
        item = None if self.head is None else self.head + self.body
        return Entry(self.key, item, is_marked=self.is_marked, more=self.more)

    @property
    def mark(self) -> bytes:
        """What stands for the key wherever keys are compared."""
        return self.key if self.is_marked else key_mark(self.key)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a source has read.

    Args:
        as_of: the moment whose state was read.
        consistency: whether it is the state of that one moment.
        position: where the next increment begins; ``None``: it reads everything again and compares.
        facts: what a restore needs to know of the port.
        reason: why it is ``fuzzy``, for people.
    """

    as_of: datetime
    consistency: Consistency
    position: str | None = None
    facts: Mapping[str, str | int] = field(default_factory=dict)
    reason: str = ""


class Sink(Protocol):
    """Takes what a source gives."""

    async def base(self, steps: Iterable[Step]) -> None:
        """Items as they were found; each key once. They are asked for in a thread."""
        ...

    async def change(self, steps: Iterable[Step]) -> None:
        """What changed, in order; over the base, or over the parent backup. They are asked for in a thread."""
        ...

    async def wanted(self, steps: Sequence[Step]) -> list[bool]:
        """For each item whether ``base`` would keep it: not where the parent backup has the same.

        For a source that reads much for an item only where it must; the items need no ``more`` yet.
        """
        ...

    async def content(self, entry: Entry, chunks: AsyncIterable[bytes]) -> bytes:
        """Keep what is too long for an entry; the entry's ``more``, by which ``Contents`` finds it again.

        Args:
            entry: of the item that it belongs to, which says whose it is.
        """
        ...


class Contents(Protocol):
    """Gives what is too long for an entry."""

    def read(self, more: bytes) -> AsyncIterator[bytes]:
        """The content that ``Sink.content`` took, in pieces.

        Raises:
            Corrupt: it is missing or damaged.
        """
        ...


class Source(Protocol):
    """One port of a store, as backups see it."""

    @property
    def name(self) -> str:
        """The port's name."""
        ...

    @property
    def forgets(self) -> bool:
        """Whether an item can be taken out of it again."""
        ...

    async def read(self, sink: Sink) -> Reached:
        """Give all items to the sink, and what changed while they were read."""
        ...

    async def tells(self, parent: PortContent) -> bool:
        """Whether ``read_changes`` can tell all that changed behind a backup, as far as this is known beforehand.

        Else everything is read again, and compared with what the backup holds.
        """
        ...

    async def read_changes(self, sink: Sink, parent: PortContent) -> Reached:
        """Give what changed behind the backup's position.

        Raises:
            FeedGap: the feed no longer reaches so far back; only ``read`` helps.
        """
        ...

    def check(self, facts: Mapping[str, str | int]) -> None:
        """Refuse what this port cannot take, by the facts that ``read`` gave.

        Raises:
            SchemaMismatch: the backup was made from a port that does not go with this one.
        """
        ...

    def is_live(self, entry: Entry) -> bool:
        """Whether an item has not ended by itself, by the clock of this store; one that has is not brought back."""
        ...

    def kind(self, entry: Entry) -> str:
        """Of what kind an item is, for selections and reports."""
        ...

    def scan(self) -> AsyncIterator[list[Entry]]:
        """All live items as entries, for comparisons."""
        ...

    async def held(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The items that the port now holds under these keys, in their order."""
        ...

    async def apply(self, entries: Sequence[Entry], contents: Contents, *, overwrite: bool) -> list[bool]:
        """Write items, and remove those that are gone; each key once.

        Args:
            contents: gives what entries only refer to.
            overwrite: without it an item that is there already stays, and its place in the result is ``False``.
        """
        ...
