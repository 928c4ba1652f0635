"""Key templates: ``"story:{user_id}:{story_id}"`` and the key that each set of parameters gets, no two the same."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

from storycore.errors import ConfigError, InvalidArgument
from storycore.ports.cache import MAX_KEY_BYTES

__all__ = ["Template", "bounded_key"]

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*\Z")
_WHOLE_NUMBER = re.compile(r"-?[0-9]+\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = (bool, int, float, UUID, Decimal)
_MOMENTS = (datetime, date, time)


class Template:
    """A text with placeholders: parameters, or attributes of parameters such as ``{user.id}``.

    Args:
        text: between two placeholders there is at least one character that is neither a letter nor a digit; such
            characters are escaped in the values, so that no two sets of values give the same key.

    ``literals`` stand before, between and behind the ``paths`` of the placeholders. A text of letters and digits, but
    not of digits alone, is its own text in a key; with ``keeps_identifiers`` so is every identifier.

    Raises:
        ConfigError: a placeholder is no name, or two placeholders are not kept apart.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _PLACEHOLDER.split(text)
        self.literals: Sequence[str] = pieces[0::2]
        self.paths: Sequence[tuple[str, ...]] = [tuple(path.split(".")) for path in pieces[1::2]]
        self._check(pieces[1::2])
        self.parameters: tuple[str, ...] = tuple(dict.fromkeys(path[0] for path in self.paths))
        separators = {c for literal in self.literals[1:-1] for c in literal if not c.isalnum()}
        self.keeps_identifiers = all(c.isascii() and c != "_" for c in separators)
        self._escaped = re.compile(f"[%\\x00-\\x1f\\ud800-\\udfff{re.escape(''.join(sorted(separators)))}]")

    def key(self, parameters: Mapping[str, object]) -> str:
        """The key for exactly these parameters; different values give different keys.

        Raises:
            InvalidArgument: a parameter is missing or unknown, or its type has no text that could stand in a key.
        """
        if parameters.keys() != set(self.parameters):
            raise InvalidArgument(
                f"The key {self.text!r} takes {_listed(self.parameters)}, got {_listed(sorted(parameters))}."
            )
        return self._join([self.typed(value) for value in self._values(parameters)])

    def plain(self, parameters: Mapping[str, object]) -> str:
        """The text with the values as they are, for tags: callers write the same text by hand to invalidate."""
        return self._join([_text(value, self.text) for value in self._values(parameters)])

    def _values(self, parameters: Mapping[str, object]) -> list[object]:
        return [_follow(parameters, path, self.text) for path in self.paths]

    def _join(self, values: Sequence[str]) -> str:
        return self.literals[0] + "".join(
            value + literal for value, literal in zip(values, self.literals[1:], strict=True)
        )

    def typed(self, value: object) -> str:
        """The text of one value in a key; values of different types that matter have different texts.

        Raises:
            InvalidArgument: its type has no text that could stand in a key.
        """
        if type(value) is int:
            return str(value)
        if isinstance(value, enum.Enum):
            return self.typed(value.value)
        text = _text(value, self.text)
        if value is None or isinstance(value, bool | float):
            return f"%{type(value).__name__[0].lower()}{text}"
        text = self._escaped.sub(_escape, text)
        return f"%s{text}" if isinstance(value, str) and _WHOLE_NUMBER.match(text) else text

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            if not _NAME.match(name):
                raise ConfigError(f"The key template {self.text!r}: {{{name}}} is no parameter name.", path=self.text)
        if any(char in literal for literal in self.literals for char in "{}%"):
            raise ConfigError(f"The key template {self.text!r} has a lone brace or a '%'.", path=self.text)
        if any(literal.isalnum() or not literal for literal in self.literals[1:-1]):
            raise ConfigError(
                f"The key template {self.text!r} does not keep two placeholders apart; put ':' between them.",
                path=self.text,
            )


def bounded_key(prefix: str, key: str) -> str:
    """``prefix``, which is ASCII, and ``key``; one that the port refuses, too long or no text, becomes its digest."""
    whole = prefix + key
    if whole.isascii() and len(whole) <= MAX_KEY_BYTES:
        return whole
    data = key.encode(errors="surrogatepass")
    if len(prefix) + len(data) <= MAX_KEY_BYTES and not _SURROGATE.search(key):
        return whole
    return f"{prefix}%h{blake2b(data, digest_size=32).hexdigest()}"


def _follow(parameters: Mapping[str, object], path: Sequence[str], template: str) -> object:
    value: Any = parameters[path[0]]
    for name in path[1:]:
        try:
            value = getattr(value, name)
        except AttributeError as exc:
            raise InvalidArgument(f"The key {template!r}: {'.'.join(path)} does not exist.") from exc
    return value


def _text(value: object, template: str) -> str:
    if isinstance(value, enum.Enum):
        return _text(value.value, template)
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, _PLAIN):
        return str(value)
    if isinstance(value, _MOMENTS):
        return value.isoformat()
    raise InvalidArgument(
        f"The key {template!r}: a {type(value).__name__} has no text that could stand in a key; "
        "use one of its attributes, for example {user.id}."
    )


def _escape(match: re.Match[str]) -> str:
    return f"%{ord(match.group()):04X}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "no parameters"
