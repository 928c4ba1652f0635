"""Keys as names of objects: one key, one name, in the same order.

``plain`` names are the keys themselves. Servers that keep objects in a file system cannot hold all of them: ``a`` and
``a/b`` are a file and a folder of one name there, ``..`` leads upwards, and no part may have more than 255 bytes. For
them there are ``portable`` names, which hold no slash but where a name is cut:

- A byte below the digit ``0`` is written as ``!`` and what keeps its place in the order: ``-`` is ``!-``, ``.`` is
  ``!.``, ``/`` is ``!_``, and any other is ``!(`` and two hexadecimal digits. A backslash, which some servers take for
  a slash, is ``[_``, and for its sake ``[`` is ``[-``. All else stands for itself.
- A name is cut by a slash behind each 180 bytes. Where it is cut depends only on what stands before the cut, so the
  order stays, and no folder has the name of a file. A part that would be empty is ``!``.

Names that begin with the last character there is, U+10FFFF, and ``i`` are the adapter's own; keys that begin with that
character have it and ``k`` before them. So everything of the adapter's own comes behind all keys.
"""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ["LAST", "Names"]

LAST: Final = "\U0010ffff"
"""The greatest character: what begins with a name and it is behind everything else that begins with the name."""

_OWN: Final = LAST + "i/"
_KEY: Final = LAST + "k"
_CUT: Final = 180
_LONGEST_CODE: Final = 4
_MOST_BYTES: Final = 1024
"""S3: object key names."""

_CODES: Final = {"-": "!-", ".": "!.", "/": "!_", "[": "[-", "\\": "[_"}
_MEANING: Final = {code: character for character, code in _CODES.items()}
_TOKEN: Final = re.compile(r"!\(([0-9a-f]{2})|(![-._]|\[[-_])|([^!\[/])", re.DOTALL)


class Names:
    """The names of one place.

    Args:
        prefix: what all names begin with.
        form: how keys are written.
    """

    def __init__(self, prefix: str, form: Literal["plain", "portable"]) -> None:
        self.prefix = prefix
        self._is_plain = form == "plain"

    @property
    def most_key_bytes(self) -> int:
        """A key of so many bytes has a name that is short enough, whatever it holds."""
        left = _MOST_BYTES - len(self.prefix.encode())
        if self._is_plain:
            return left - (len(_KEY.encode()) if self.prefix else 0)
        return (left - len(_KEY.encode()) - _MOST_BYTES // _CUT - 1) // _LONGEST_CODE

    def of(self, key: str) -> str:
        """The name of the object that holds ``key``."""
        if self._is_plain:
            return self.prefix + _guarded(key)
        name = _cut(_guarded(key))
        return self.prefix + (name + "!" if name.endswith("/") else name)

    def beginning(self, part: str) -> str:
        """What the names of all keys begin with that begin with ``part``."""
        if self._is_plain:
            return self.prefix + _guarded(part)
        return self.prefix + _cut(_guarded(part))

    def key(self, name: str) -> str | None:
        """The key, or the beginning of keys, that a name stands for; ``None``: it is none of a key."""
        if not name.startswith(self.prefix):
            return None
        rest = name[len(self.prefix) :]
        key = rest if self._is_plain else _decoded(rest)
        if key is None or not key.startswith(LAST):
            return key
        return key[len(_KEY) :] if key.startswith(_KEY) else None

    def own(self, name: str) -> str:
        """The name of an object of the adapter's own."""
        return self.prefix + _OWN + name

    def folds(self, delimiter: str) -> str | None:
        """What the service may fold names at, where that is the same as folding keys; else ``None``."""
        if self._is_plain:
            return delimiter
        return _code(delimiter) if len(delimiter) == 1 and delimiter < "0" else None


def _guarded(key: str) -> str:
    return _KEY + key if key.startswith(LAST) else key


def _code(character: str) -> str:
    if character in _CODES or character >= "0":
        return _CODES.get(character, character)
    return f"!({ord(character):02x}"


def _cut(key: str) -> str:
    parts, part, size = list[str](), list[str](), 0
    for character in key:
        code = _code(character)
        part.append(code)
        size += len(code.encode())
        if size >= _CUT:
            parts.append("".join(part))
            part, size = [], 0
    return "/".join([*parts, "".join(part)])


def _decoded(name: str) -> str | None:
    *parts, last = name.split("/")
    text = "".join(parts) + ("" if last == "!" else last)
    key, at = list[str](), 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return None
        number, short, plain = token.groups()
        key.append(chr(int(number, 16)) if number else _MEANING[short] if short else plain)
        at = token.end()
    return "".join(key)
