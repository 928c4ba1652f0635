"""Key text: values become one string whose byte order is the order of the values, and no two tuples share one.

Parts are joined by ``#``. In text, every character below ``&`` is written as ``%XX``, so that neither the separator
nor anything smaller than it appears inside a part: "a" comes before "a b", and ("a#b", "c") differs from ("a", "b#c").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TypeAlias
from uuid import UUID

from storycore.errors import InvalidKey

__all__ = ["BELOW_ALL", "KeyPart", "Range", "encode", "encode_part", "escape", "starting_with", "successor", "under"]

KeyPart: TypeAlias = str | int | bool | datetime | date | UUID
"""What a key part may be. No float (its text has no order) and no ``None`` (absence is not a value)."""

Range: TypeAlias = tuple[str | None, str | None]
"""Key text from the first (inclusive) to the second (exclusive); ``None``: without bound."""

BELOW_ALL = "!"
"""Less than any key text that is not empty."""

_SEPARATOR = "#"
_BEHIND_SEPARATOR = chr(ord(_SEPARATOR) + 1)
_ESCAPES = {code: f"%{code:02X}" for code in range(ord("&"))}
_SPECIAL = re.compile(f"[\\x00-{chr(ord('&') - 1)}]")
_COMPLEMENT = str.maketrans("0123456789", "9876543210")
_MOST_DIGITS = 999


def encode(parts: Sequence[KeyPart]) -> str:
    """The key text of a tuple: ``encode(a) < encode(b)`` exactly when ``a < b``, for tuples of the same part types.

    Raises:
        InvalidKey: a part cannot stand in a key.
    """
    return _SEPARATOR.join([encode_part(part) for part in parts])


def encode_part(value: KeyPart) -> str:
    """The key text of one value, free of the separator.

    Raises:
        InvalidKey: text that is not valid Unicode, a naive datetime, an integer of over 999 digits, or another type.
    """
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return _encode_int(value)
    if isinstance(value, datetime):
        return _encode_datetime(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return value.hex
    raise InvalidKey(
        f"A value of type {type(value).__name__} cannot be part of a key; "
        "use text, an integer, a bool, a date, an aware datetime or a UUID."
    )


def escape(text: str) -> str:
    """Text as it stands in a key; keeps order, and keeps being a prefix.

    Raises:
        InvalidKey: the text holds half of a surrogate pair.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise InvalidKey(f"The key part {text!r} is not valid Unicode; remove the lone surrogate.") from exc
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


def under(parts: Sequence[KeyPart]) -> Range:
    """The range of all longer keys that begin with these whole parts; of all keys when there are none."""
    if not parts:
        return None, None
    text = encode(parts)
    return text + _SEPARATOR, text + _BEHIND_SEPARATOR


def starting_with(prefix: str) -> Range:
    """The range of all key text that begins with ``prefix``; of all when it is empty."""
    return (prefix, successor(prefix)) if prefix else (None, None)


def successor(prefix: str) -> str | None:
    """The least text above everything that begins with ``prefix``; ``None`` when there is no such text."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = prefix[:-1]
    return None


def _encode_int(value: int) -> str:
    digits = str(abs(value)) if abs(value) < 10**_MOST_DIGITS else ""
    if not digits:
        raise InvalidKey(f"An integer in a key has at most {_MOST_DIGITS} digits.")
    if value >= 0:
        return f"p{len(digits):03d}{digits}"
    return f"n{_MOST_DIGITS - len(digits):03d}{digits.translate(_COMPLEMENT)}"


def _encode_datetime(value: datetime) -> str:
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidKey(f"The datetime {value.isoformat()} in a key has no time zone; use an aware datetime.")
    try:
        moment = value.astimezone(UTC)
    except OverflowError as exc:
        raise InvalidKey(
            f"The datetime {value.isoformat()} cannot be told in UTC; it is outside years 1 to 9999."
        ) from exc
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
