"""Which model fields can stand in a key, and how a caller's value becomes one of their key parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from storycore.entities.annotations import plain_types
from storycore.entities.keys import KeyPart
from storycore.errors import InvalidArgument

__all__ = ["KeyType", "key_type_of"]

_PLAIN: tuple[type, ...] = (bool, datetime, date, str, int, UUID)


@dataclass(frozen=True, slots=True)
class KeyType:
    """The one type that a field has in keys.

    Args:
        plain: one of bool, datetime, date, str, int, UUID.
        enum: the enumeration whose members' values are meant, if the field holds one.
    """

    plain: type
    enum: type[Enum] | None = None

    @property
    def has_text_order(self) -> bool:
        """Whether "begins with this text" makes sense for the part."""
        return issubclass(self.plain, (str, date))

    def part(self, field: str, value: object) -> KeyPart:
        """A caller's value as a key part.

        Raises:
            InvalidArgument: the value is not of the field's type.
        """
        if self.enum is not None:
            value = value.value if isinstance(value, self.enum) else self._member_value(field, value)
        if isinstance(value, KeyPart) and (type(value) is self.plain or _plain(type(value)) is self.plain):
            return value
        raise InvalidArgument(
            f"The key part {field!r} must be {self._expected()}, not {type(value).__name__}; hand in such a value."
        )

    def _member_value(self, field: str, value: object) -> object:
        assert self.enum is not None
        try:
            return self.enum(value).value
        except ValueError as exc:
            options = ", ".join(repr(member.value) for member in self.enum)
            raise InvalidArgument(f"The key part {field!r} must be one of {options}.") from exc

    def _expected(self) -> str:
        return self.plain.__name__ if self.enum is None else self.enum.__name__


def key_type_of(annotation: Any) -> KeyType | None:  # annotations are any objects
    """The key type of a field's annotation; ``None`` when the field cannot stand in a key."""
    options = {_key_type(option) for option in plain_types(annotation)}
    return options.pop() if len(options) == 1 else None


def _key_type(option: object) -> KeyType | None:
    if not isinstance(option, type):
        return None
    if issubclass(option, Enum):
        kinds = {_plain(type(member.value)) for member in option}
        plain = kinds.pop() if len(kinds) == 1 else None
        return KeyType(plain, option) if plain else None
    found = _plain(option)
    return KeyType(found) if found else None


def _plain(kind: type) -> type | None:
    return next((plain for plain in _PLAIN if issubclass(kind, plain)), None)
