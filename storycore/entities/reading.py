"""Reading records as models: whole or as summaries, and in exact pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from pydantic import BaseModel

from storycore.entities.codec import from_record
from storycore.entities.cursors import CursorSeal, QueryIdentity
from storycore.entities.declaration import Entity
from storycore.entities.filtering import check_filter, matches
from storycore.entities.projection import check_projection, summaries
from storycore.ports.entities import EntityStore, Position, Record, RecordPage
from storycore.ports.filters import Filter
from storycore.ports.pages import Cursor, Page, Pages

__all__ = ["Source", "Walk", "projected", "whole"]

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)

_LONGEST_READ = 1000
_SHORTEST_FILTERED_READ = 100
_ITERATION_PAGE = 100


@dataclass(frozen=True, slots=True)
class Source(Generic[M]):
    """Where instances come from, and as which model.

    Args:
        entity: the declaration; of another model where summaries are read.
        store: where the records are.
        seal: makes and opens cursors.
        model: of the results.
        decode: records to results; ``None`` for one that vanished meanwhile.
        bodies: whether the records' bodies are needed.
    """

    entity: Entity[Any]  # M, or the model that M is a summary of
    store: EntityStore
    seal: CursorSeal
    model: type[M]
    decode: Callable[[Sequence[Record]], Awaitable[Sequence[M | None]]]
    bodies: bool = True


def whole(entity: Entity[M], store: EntityStore, seal: CursorSeal) -> Source[M]:
    """A source of instances as they are declared."""

    async def decode(records: Sequence[Record]) -> Sequence[M | None]:
        return [from_record(entity, record) for record in records]

    return Source(entity, store, seal, entity.model, decode)


def projected(source: Source[M], project: type[P]) -> Source[P]:
    """A source of summaries of the same instances.

    Raises:
        InvalidArgument: a field of ``project`` is not promoted.
    """
    check_projection(source.entity, project)

    async def decode(records: Sequence[Record]) -> Sequence[P | None]:
        return await summaries(source.entity, project, records, source.store)

    return Source(source.entity, source.store, source.seal, project, decode, bodies=False)


Read: TypeAlias = Callable[[Position | None, int], Awaitable[RecordPage]]
"""Reads at most so many records behind a position."""


@dataclass(frozen=True, slots=True)
class Walk(Generic[M]):
    """One listing, with everything that stays the same from page to page.

    Args:
        source: gives the results.
        identity: what a cursor is bound to.
        slot: of the index that is walked, if it is one.
        read: reads records of the listing.
    """

    source: Source[M]
    identity: QueryIdentity
    slot: int | None
    read: Read

    def checked(self) -> Walk[M]:
        """The same walk, if its filter fits the results' model; else ``InvalidFilter``."""
        if self.identity.where is not None:
            check_filter(self.identity.where, self.source.model)
        return self

    def pages(self) -> Pages[M]:
        """The whole listing, read as it is walked."""
        return Pages(lambda cursor: self.page(_ITERATION_PAGE, cursor))

    async def page(self, limit: int, cursor: Cursor | None) -> Page[M]:
        """Read until one more than ``limit`` has been seen, or nothing is left."""
        after = None if cursor is None else self.source.seal.open(self.identity, cursor)
        items: list[M] = []
        last: Position | None = None
        while True:
            found = await self.read(after, self._read_length(limit + 1 - len(items)))
            for record, item in await self._accepted(found.records):
                if last is not None and len(items) == limit:
                    return Page(items, self.source.seal.seal(self.identity, last))
                items.append(item)
                last = Position(record.key, None if self.slot is None else record.index_keys[self.slot])
            if found.next is None:
                return Page(items)
            after = found.next

    def _read_length(self, wanted: int) -> int:
        least = 1 if self.identity.where is None else _SHORTEST_FILTERED_READ
        return min(_LONGEST_READ, max(wanted, least))

    async def _accepted(self, records: Sequence[Record]) -> list[tuple[Record, M]]:
        own = [record for record in records if record.kind == self.source.entity.kind]
        decoded = await self.source.decode(own)
        return [(r, item) for r, item in zip(own, decoded, strict=True) if item is not None and self._is_wanted(item)]

    def _is_wanted(self, item: M) -> bool:
        where: Filter | None = self.identity.where
        return where is None or matches(where, item)
