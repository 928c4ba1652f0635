"""Reading type annotations: their alternatives, with the wrappers that Python puts around types taken off."""

from __future__ import annotations

from datetime import date, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, EmailStr, FutureDate, FutureDatetime, PastDate, PastDatetime

__all__ = ["admits_none", "is_set", "plain_types"]

_CONSTRAINED: dict[object, type] = {
    AwareDatetime: datetime,
    PastDatetime: datetime,
    FutureDatetime: datetime,
    PastDate: date,
    FutureDate: date,
    EmailStr: str,
}
"""Pydantic's own types that are no subclasses of what an instance holds."""


def plain_types(annotation: Any) -> frozenset[object]:  # annotations are any objects
    """The alternatives except ``None``; of a literal, the types of its values."""
    return _alternatives(annotation) - {NoneType}


def admits_none(annotation: Any) -> bool:  # annotations are any objects
    """Whether ``None`` is one of the alternatives."""
    return NoneType in _alternatives(annotation)


def is_set(annotation: Any) -> bool:  # annotations are any objects
    """Whether all alternatives except ``None`` are sets."""
    return all(get_origin(option) in (set, frozenset) for option in plain_types(annotation))


def _alternatives(annotation: Any) -> frozenset[object]:  # annotations are any objects
    inner = getattr(annotation, "__supertype__", getattr(annotation, "__value__", None))
    if inner is not None:
        return _alternatives(inner)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin is Literal:
        return frozenset(type(value) for value in get_args(annotation))
    if origin in (Union, UnionType):
        return frozenset().union(*(_alternatives(option) for option in get_args(annotation)))
    return frozenset({NoneType if annotation is None else _CONSTRAINED.get(annotation, annotation)})
