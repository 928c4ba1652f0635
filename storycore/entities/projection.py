"""Summaries: smaller models that are read from promoted fields alone, without the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from storycore.entities.annotations import admits_none, is_set
from storycore.entities.codec import from_record, plain, problems
from storycore.entities.declaration import Entity
from storycore.entities.scrutiny import LAYOUT_FIELD
from storycore.errors import InvalidArgument
from storycore.ports.entities import EntityStore, Record

__all__ = ["check_projection", "summaries"]

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)


def check_projection(entity: Entity[M], project: type[BaseModel]) -> None:
    """Raise ``InvalidArgument`` unless ``project`` is a model of which every field is promoted."""
    if not (isinstance(project, type) and issubclass(project, BaseModel)):
        raise InvalidArgument(f"A summary is a pydantic model, not {project!r:.100}.")
    missing = sorted(set(project.model_fields) - entity.columns)
    if missing:
        raise InvalidArgument(
            f"{project.__name__} cannot be read from promoted fields: {', '.join(missing)} of the {entity.kind} would "
            "need the body. Promote these fields, or leave them out."
        )


async def summaries(
    entities: Mapping[str, Entity[Any]], project: type[P], records: Sequence[Record], store: EntityStore
) -> list[P | None]:
    """The summaries of records that came without a body, each of one of the entities, which are given by kind.

    A record that another layout wrote is read whole; ``None`` where it has vanished meanwhile.
    """
    found = [_from_fields(entities[record.kind], project, record) for record in records]
    lacking = [position for position, summary in enumerate(found) if summary is None]
    if lacking:
        whole = await store.get([records[position].key for position in lacking], consistent=False)
        for position, record in zip(lacking, whole, strict=True):
            if record is not None and record.kind in entities:
                found[position] = _from_whole(project, from_record(entities[record.kind], record))
    return found


def _from_fields(entity: Entity[M], project: type[P], record: Record) -> P | None:
    if not entity.has_present_form(record.fields.get(LAYOUT_FIELD)):
        return None
    values = {name: _value(entity, name, record) for name in project.model_fields}
    try:
        return project.model_validate_json(orjson.dumps(values), by_alias=False, by_name=True)
    except (ValidationError, TypeError):
        return None


def _value(entity: Entity[M], name: str, record: Record) -> object:
    if name in record.fields:
        return plain(record.fields[name])
    annotation = entity.model.model_fields[name].annotation
    return [] if is_set(annotation) and not admits_none(annotation) else None


def _from_whole(project: type[P], instance: BaseModel) -> P:
    try:
        return project.model_validate({name: getattr(instance, name) for name in project.model_fields}, by_name=True)
    except ValidationError as exc:
        raise InvalidArgument(f"{project.__name__} does not fit what is stored: {problems(exc)}.") from exc
