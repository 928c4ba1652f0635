"""Finding the way to entities from words on a command line: which kind, which index, which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from storycore.errors import InvalidArgument
from storycore.suggestions import did_you_mean

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.entities import Entity, Repository

__all__ = ["chosen_index", "is_by_time", "parts_from", "repository_of"]


def repository_of(store: Store, kind: str) -> Repository[Any]:
    """The repository of a kind; its plural will do.

    Raises:
        InvalidArgument: no such kind is known; the nearest is suggested.
    """
    kinds = store.kinds()
    plurals = {_plural(each): each for each in kinds}
    name = plurals.get(kind, kind)
    if name not in kinds:
        raise InvalidArgument(f"There is no kind {kind!r}. {did_you_mean(kind, kinds)}")
    return store.repository(name)


def parts_from(entity: Entity[Any], given: Sequence[str], named: Mapping[str, str | None]) -> dict[str, Any]:
    """Values of key parts from ``NAME=VALUE`` texts and from options, converted to the types of the model.

    Raises:
        InvalidArgument: a text has no ``=``, names no field, or holds a value that the field cannot have.
    """
    texts = {name: value for name, value in named.items() if value is not None}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f"{text!r} is not NAME=VALUE.")
        texts[name] = value
    return {name: _value(entity, name, text) for name, text in texts.items()}


def chosen_index(entity: Entity[Any], parts: Mapping[str, object]) -> str | None:
    """The first index that lists exactly what the parts ask for; ``None``: a scan, when nothing is asked for.

    Raises:
        InvalidArgument: no index fits; the message says what each one needs.
    """
    for name, pattern in entity.indexes.items():
        partition = _partition(pattern)
        order = [field for field in pattern.arguments if field not in partition]
        leading = order[: len(parts) - len(partition)]
        if set(parts) == {*partition, *leading}:
            return name
    if not parts:
        return None
    ways = "; ".join(f"{name} ({', '.join(pattern.arguments)})" for name, pattern in entity.indexes.items())
    raise InvalidArgument(f"No index of {entity.kind} lists by {', '.join(parts)}. There are: {ways or 'none'}.")


def is_by_time(entity: Entity[Any], index: str, parts: Mapping[str, object]) -> bool:
    """Whether an index lists by a time, behind the parts that are given."""
    pattern = entity.indexes[index]
    order = [field for field in pattern.arguments if field not in parts]
    return bool(order) and issubclass(pattern.types[order[0]].plain, datetime)


def _partition(pattern: Any) -> list[str]:  # a compiled access pattern
    return [part.field for part in pattern.pk if hasattr(part, "field")]


def _value(entity: Entity[Any], name: str, text: str) -> object:
    fields = entity.model.model_fields
    if name not in fields:
        raise InvalidArgument(f"A {entity.kind} has no field {name!r}. {did_you_mean(name, fields)}")
    try:
        value: object = TypeAdapter(fields[name].annotation).validate_python(text)
    except ValidationError as exc:
        raise InvalidArgument(f"{name}: {exc.errors()[0]['msg']}, not {text!r}.") from exc
    return value


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
