"""Keys and names: what every production store can hold, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from storycore.errors import InvalidArgument, InvalidKey
from storycore.ports.entities import Key

__all__ = ["RESERVED", "byte_length", "check_key", "check_key_part", "check_sequence", "check_whole_number", "is_plain"]

PK_BYTES = 2048
SK_BYTES = 1024

RESERVED = "\0storycore"
"""Partitions that begin so are the adapters' own: tokens, marks of their layout."""


def byte_length(text: str, *, what: str) -> int:
    """The length in UTF-8 bytes.

    Raises:
        InvalidKey: a lone surrogate, which is no character and cannot be stored.
    """
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidKey(
            f"The {what} holds a lone surrogate at character {exc.start}; only whole characters can be stored."
        ) from exc


def check_key(key: object, *, what: str = "key") -> None:
    """Raise ``InvalidKey`` unless both parts are text of 1 to 2048 and 1 to 1024 UTF-8 bytes."""
    if is_plain(key):
        return
    if not isinstance(key, Key):
        raise InvalidKey(f"The {what} is a {type(key).__name__}; give a Key(pk, sk).")
    check_key_part(key.pk, PK_BYTES, what=f"{what}'s pk")
    if key.pk.startswith(RESERVED):
        raise InvalidKey(f"The {what}'s pk begins with {RESERVED!r}, which adapters keep for themselves; rename it.")
    check_key_part(key.sk, SK_BYTES, what=f"{what}'s sk")


def is_plain(key: object) -> bool:
    """Whether this is a valid key of ASCII text, as most are; answers in a third of the time."""
    if type(key) is not Key:
        return False
    pk, sk = key.pk, key.sk
    if type(pk) is not str or type(sk) is not str:
        return False
    return pk >= "\1" and pk.isascii() and sk.isascii() and len(pk) <= PK_BYTES and 0 < len(sk) <= SK_BYTES


def check_key_part(part: object, limit: int, *, what: str) -> None:
    """Raise ``InvalidKey`` unless ``part`` is text of 1 to ``limit`` UTF-8 bytes."""
    if not isinstance(part, str):
        raise InvalidKey(f"The {what} is a {type(part).__name__}; give text.")
    length = byte_length(part, what=what)
    if length == 0:
        raise InvalidKey(f"The {what} is empty; keys need at least one character.")
    if length > limit:
        raise InvalidKey(f"The {what} has {length} bytes, at most {limit} are allowed; shorten or hash it.")


def check_sequence(value: object, *, what: str) -> None:
    """Raise ``InvalidArgument`` unless ``value`` is a list or another sequence, which text is not."""
    if not isinstance(value, list | tuple) and (not isinstance(value, Sequence) or isinstance(value, str | bytes)):
        raise InvalidArgument(f"The {what} come as a sequence, not as one {type(value).__name__}; put them in a list.")


def check_whole_number(value: object, low: int, high: int, *, what: str) -> None:
    """Raise ``InvalidArgument`` unless ``value`` is an int between ``low`` and ``high``, both inclusive."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"The {what} is a {type(value).__name__}; give a whole number.")
    if not low <= value <= high:
        raise InvalidArgument(f"The {what} is {value}; it is {low} to {high}.")
