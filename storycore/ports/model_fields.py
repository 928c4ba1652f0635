"""Which types of metadata the fields of a pydantic model hold, so that a filter can be checked as it is built."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from storycore.ports.field_types import FieldType, type_of

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["held_types"]

_ALL: Final[frozenset[FieldType]] = frozenset({"number", "string", "bool"})
_NONE: Final[frozenset[FieldType]] = frozenset()
_PLAIN: Final[Mapping[FieldType, tuple[type, ...]]] = {
    "bool": (bool,),
    "number": (int, float, Decimal),
    "string": (str, date, time, UUID),
}
"""Moments and ids are texts, as in JSON."""


def held_types(model: type[BaseModel]) -> Mapping[str, frozenset[FieldType]]:
    """The types that each field of a model may hold; none for a field that no filter compares, as a nested model.

    A list holds what its elements are; a field that may be ``None`` holds what it is otherwise.
    """
    return {name: _types(field.annotation) for name, field in model.model_fields.items()}


def _types(annotation: Any) -> frozenset[FieldType]:  # whatever stands in an annotation
    plain = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    if plain is not None:
        return _types(plain)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _types(arguments[0])
    if origin in (Union, types.UnionType):
        return _any_of(_types(each) for each in arguments)
    if origin is Literal:
        return frozenset(type_of(value) for value in arguments if value is not None)
    if annotation in (Any, object):
        return _ALL
    if isinstance(origin, type):
        return _elements(origin, arguments)
    return _of_class(annotation) if isinstance(annotation, type) else _NONE


def _elements(origin: type, arguments: tuple[Any, ...]) -> frozenset[FieldType]:
    if issubclass(origin, Mapping) or not issubclass(origin, Collection):
        return _NONE
    return _any_of(_types(each) for each in arguments if each is not Ellipsis)


def _of_class(cls: type) -> frozenset[FieldType]:
    if issubclass(cls, Enum):
        return frozenset(type_of(member.value) for member in cls if isinstance(member.value, (str, int, float)))
    for name, classes in _PLAIN.items():
        if issubclass(cls, classes):
            return frozenset({name})
    return _ALL if issubclass(cls, (list, tuple, set, frozenset)) else _NONE


def _any_of(found: Iterable[frozenset[FieldType]]) -> frozenset[FieldType]:
    return frozenset[FieldType]().union(*found)
