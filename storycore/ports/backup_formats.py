"""Formats of exports: how the records of a backup lie in a folder that another program reads, or has written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from storycore.ports.entities import Key, Record

__all__ = ["BackupFormat", "Export", "ExportFacts", "ExportPart", "ExportPlace", "Exported"]

Exported: TypeAlias = Record | Key
"""A record that is there; or the key of one that is gone, which only an export of changes tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """What an export is of.

    Args:
        id: 14 digits, ``-`` and 8 hexadecimal digits. The same for the same state and selection: written again, it
            takes the place of what is there.
        as_of: the moment whose state it is, aware.
        store: the namespace of the store.
    """

    id: str
    as_of: datetime
    store: str


@dataclass(frozen=True, slots=True)
class ExportPart:
    """A part of an export that is read by itself: in most formats a file.

    Args:
        name: in its place.
        items: how many items it holds by the manifest.
        proof: by which ``read`` knows that it is whole.
    """

    name: str
    items: int
    proof: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An export as its manifest describes it.

    Args:
        name: what tells it from others in the same place, for people.
        as_of: the moment whose state it is; of changes, the moment up to which they reach.
        parts: what ``read`` reads; their items are records and what the format keeps besides.
        is_whole: whether it holds all records; ``False``: only what changed since an earlier moment.
    """

    name: str
    as_of: datetime
    parts: Sequence[ExportPart]
    is_whole: bool = True

    @property
    def items(self) -> int:
        """How many items all parts hold by the manifest."""
        return sum(part.items for part in self.parts)


class ExportPlace(Protocol):
    """A folder on a disk or the beginning of a blob store, which holds files under names with slashes."""

    async def put(self, name: str, data: bytes) -> None:
        """Write a file, over one that is there; it is there whole or not at all."""
        ...

    def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """A file's content in pieces.

        Raises:
            NotFound: there is no such file.
        """
        ...

    async def names(self, prefix: str = "") -> list[str]:
        """The names that begin so, ascending."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """Remove files, as far as they are there."""
        ...


class BackupFormat(Protocol):
    """One layout of exports. Does no I/O but through the place that it is given, and knows no store.

    Promised by every format: what ``write`` was given, ``find`` and ``read`` give again, in any order, but for the
    records' versions; and nothing that was flipped, cut off or removed is read as if it were whole.
    """

    async def write(self, place: ExportPlace, pages: AsyncIterator[Sequence[Record]], facts: ExportFacts) -> Export:
        """Write an export. Until it returns, ``find`` does not find it; interrupted, it can be written again.

        Args:
            pages: records, each key once and none above 400 KiB; those that are expired too.
        """
        ...

    async def find(self, place: ExportPlace, name: str | None = None) -> Export:
        """The export that lies in a place.

        Args:
            name: which of several.

        Raises:
            NotFound: there is none that is finished, or none of that name.
            InvalidArgument: there are several, and no name was given; or it is in a variety that cannot be read.
            Corrupt: its manifest is damaged, or files that it names are missing; the error names them.
        """
        ...

    def read(self, place: ExportPlace, export: Export, part: ExportPart) -> AsyncGenerator[Sequence[Exported], None]:
        """What a part holds, in pages of at most a few MiB. Nothing is given before the part has proved whole.

        Raises:
            Corrupt: it is missing or damaged; the error names it and says how many items are lost.
            SchemaMismatch: it holds what storycore did not write.
        """
        ...
