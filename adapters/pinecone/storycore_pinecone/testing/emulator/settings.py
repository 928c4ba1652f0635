"""What tests send to turn the emulator, checked by the defaults of the class that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from .refusals import Refusal

__all__ = ["checked"]


def checked(
    kind: type[Any],  # a dataclass; there is no narrower type for one
    body: Mapping[str, object],
    choices: Mapping[str, Sequence[object]],
) -> dict[str, Any]:
    """The attributes of a dataclass, of the same types as their defaults.

    Args:
        kind: a dataclass with a default for each attribute.
        body: as it came over the wire.
        choices: all values of some attributes.

    Raises:
        Refusal: an attribute is unknown, or a value is not like its default.
    """
    defaults = {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    for name, value in body.items():
        if name not in defaults:
            raise Refusal(400, f"There is no {name!r}; there are {', '.join(defaults)}.")
        if name in choices and value not in choices[name]:
            raise Refusal(400, f"{name} is one of {', '.join(map(repr, choices[name]))}, not {value!r}.")
        if not _is_like(value, defaults[name]):
            raise Refusal(400, f"{name} is like {defaults[name]!r}, not {value!r}.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}


def _is_like(value: object, default: object) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, int) and not isinstance(default, bool):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, type(default))
