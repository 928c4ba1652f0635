"""Arguments that several ports share: text without a key's rules, instants, and several things of one kind."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from storycore.errors import InvalidArgument, InvalidKey

__all__ = ["instant", "is_unicode", "several", "text", "utf8"]


def utf8(value: object, what: str) -> bytes:
    """The UTF-8 form of ``value``.

    Raises:
        InvalidKey: it is not text, or holds NUL or half of a surrogate pair, which not every adapter can keep.
    """
    if not isinstance(value, str):
        raise InvalidKey(f"{what} is {type(value).__name__}, expected str.")
    if "\0" in value:
        raise InvalidKey(f"{what} holds a NUL character; leave it out.")
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise InvalidKey(f"{what} holds half of a surrogate pair at {exc.start}, which is no valid text.") from exc


def text(value: object, what: str, *, shortest: int, longest: int) -> None:
    """Refuse what is not valid text of ``shortest`` to ``longest`` characters."""
    utf8(value, what)
    if isinstance(value, str) and not shortest <= len(value) <= longest:
        raise InvalidKey(f"{what} has {len(value)} characters, expected {shortest} to {longest}.")


def instant(value: object, what: str) -> datetime:
    """``value`` in UTC.

    Raises:
        InvalidArgument: it is no datetime, is naive, or leaves the calendar when moved to UTC.
    """
    if not isinstance(value, datetime):
        raise InvalidArgument(f"{what} is {type(value).__name__}, expected an aware datetime.")
    if value.utcoffset() is None:
        raise InvalidArgument(f"{what} is a naive datetime; give it a time zone, for example tzinfo=UTC.")
    try:
        return value.astimezone(UTC)
    except OverflowError as exc:
        raise InvalidArgument(f"{what} is {value.isoformat()}, which lies outside the calendar in UTC.") from exc


def is_unicode(text: str) -> bool:
    """Whether a text holds whole characters alone, and no half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def several(values: object, what: str) -> tuple[Any, ...]:  # what they are is for the caller to look at
    """``values`` as they are now, each once: a caller may change his list meanwhile, and a generator ends.

    Raises:
        InvalidArgument: it is one thing and not several, as a text is.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidArgument(f"{what} come as a list, not as one {type(values).__name__}; put it into a list.")
    return tuple(values)
