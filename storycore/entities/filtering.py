"""Filters over instances: the shared filter language, read against a model's fields."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from pydantic import BaseModel

from storycore.errors import InvalidFilter
from storycore.ports.filters import And, Filter, Not, Or, evaluate
from storycore.suggestions import did_you_mean

__all__ = ["check_filter", "matches"]


def check_filter(where: Filter, *models: type[BaseModel]) -> None:
    """Raise ``InvalidFilter`` when a filter names a field that none of the models can have."""
    if any(model.model_config.get("extra") == "allow" for model in models):
        return
    known = {name: None for model in models for name in model.model_fields}
    for name in _fields(where):
        if name not in known:
            title = " or ".join(model.__name__ for model in models)
            raise InvalidFilter(f"{title} has no field {name!r}. {did_you_mean(name, known)}")


def matches(where: Filter, instance: BaseModel) -> bool:
    """Whether an instance matches; dates and enumerations are compared as their JSON values, a field it lacks never."""
    names = set(_fields(where))
    values: dict[str, object] = instance.model_dump(mode="json", include=names, by_alias=False)
    for name in names:
        value = getattr(instance, name, None)
        if isinstance(value, Decimal):
            values[name] = float(value)
    return evaluate(where, values)


def _fields(where: Filter) -> Iterator[str]:
    match where:
        case And(terms) | Or(terms):
            for term in terms:
                yield from _fields(term)
        case Not(term):
            yield from _fields(term)
        case _:
            yield where.field
