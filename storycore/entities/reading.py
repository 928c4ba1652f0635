"""Reading records as what was asked for: whole instances, summaries, or the records themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from storycore.entities.codec import from_record
from storycore.entities.cursors import CursorSeal
from storycore.entities.declaration import Entity
from storycore.entities.projection import check_projection, summaries
from storycore.ports.entities import EntityStore, Record

__all__ = ["Source", "as_records", "mixed", "projected", "whole"]

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Source(Generic[R]):
    """Where results come from, and as what.

    Args:
        entities: the declarations by kind; records of other kinds are passed over.
        store: where the records are.
        seal: makes and opens cursors.
        models: of the results, by whose fields they can be filtered; none where results are records.
        decode: records to results; ``None`` for one that vanished meanwhile.
        bodies: whether the records' bodies are needed.
    """

    entities: Mapping[str, Entity[Any]]  # of models that results are instances or summaries of
    store: EntityStore
    seal: CursorSeal
    models: tuple[type[BaseModel], ...]
    decode: Callable[[Sequence[Record]], Awaitable[Sequence[R | None]]]
    bodies: bool = True

    @property
    def kind(self) -> str:
        """The kinds in one text, the same in whichever order they were given."""
        return "+".join(sorted(self.entities))


def whole(entity: Entity[M], store: EntityStore, seal: CursorSeal) -> Source[M]:
    """A source of instances as they are declared."""

    async def decode(records: Sequence[Record]) -> Sequence[M | None]:
        return [from_record(entity, record) for record in records]

    return Source({entity.kind: entity}, store, seal, (entity.model,), decode)


def mixed(entities: Sequence[Entity[Any]], store: EntityStore, seal: CursorSeal) -> Source[Any]:
    """A source of instances of several models."""
    by_kind = {entity.kind: entity for entity in entities}

    async def decode(records: Sequence[Record]) -> Sequence[BaseModel | None]:
        return [from_record(by_kind[record.kind], record) for record in records]

    return Source(by_kind, store, seal, tuple(entity.model for entity in entities), decode)


def projected(source: Source[Any], project: type[P]) -> Source[P]:
    """A source of summaries of the same instances.

    Raises:
        InvalidArgument: a field of ``project`` is not promoted.
    """
    for entity in source.entities.values():
        check_projection(entity, project)

    async def decode(records: Sequence[Record]) -> Sequence[P | None]:
        return await summaries(source.entities, project, records, source.store)

    return Source(source.entities, source.store, source.seal, (project,), decode, bodies=False)


def as_records(source: Source[Any], *, bodies: bool) -> Source[Record]:
    """A source of the records themselves, which nothing has validated."""

    async def decode(records: Sequence[Record]) -> Sequence[Record | None]:
        return records

    return replace(source, models=(), decode=decode, bodies=bodies)
