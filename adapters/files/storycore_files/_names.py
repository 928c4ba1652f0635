"""Keys as paths: one key, one path, on every file system, never outside the root.

A key's segments (between its slashes) become folders and the last one a file. ``stories/2026/a.json`` is kept in
``stories+/2026+/a.json``. Rules, each of which can be undone:

- Lower-case ASCII letters, digits and ``- _ . , = @`` stand for themselves; an upper-case letter is ``^`` and its lower
  case; every other byte of the UTF-8 form is ``%xx``. So no two names differ in case or in accents alone.
- A folder's name ends in ``+``, which no file's name does: the keys ``a`` and ``a/b`` do not meet.
- An empty segment is ``%``. A dot at either end of a segment, and the first letter of a device name (``con``), is
  written as ``%xx``: no ``..``, nothing hidden, nothing that Windows takes for a device or shortens.
- Behind the 32nd slash the rest of a key is one segment, in which a slash is ``%2f``: programs that walk folders are
  not made for a thousand of them.
- A segment whose name is too long for a file system is cut: folders ending in ``~`` hold its first parts. Where it is
  cut depends only on what stands before the cut, so the order of keys can still be read from the folders.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["FOLDER", "PART", "decoded", "path_of"]

FOLDER: Final = "+"
"""Ends the name of a folder that stands for a whole segment."""
PART: Final = "~"
"""Ends the name of a folder that stands for the beginning of a long segment."""

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.,=@")
_CUT: Final = 180
_LEVELS: Final = 32
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.DOTALL)
_TOKEN: Final = re.compile(r"%([0-9a-f]{2})|\^([a-z])|([a-z0-9_.,=@-])")


def path_of(key: str) -> tuple[str, ...]:
    """The names of the folders and of the file that hold ``key``, from the root down."""
    *folders, last = key.encode().split(b"/", _LEVELS)
    path: list[str] = []
    for segment in folders:
        *parts, rest = _cut(segment)
        path += [_encoded(part) + PART for part in parts]
        path.append(_encoded(rest) + FOLDER)
    *parts, rest = _cut(last)
    return (*path, *(_encoded(part) + PART for part in parts), _encoded(rest))


def decoded(name: str, above: bytes = b"") -> bytes | None:
    """The part of a key that a name stands for; with its slash for a folder of a whole segment.

    Args:
        name: of a file or folder.
        above: the part of the key that the folders above stand for.

    ``None`` for a name that no key has there: something else has put it.
    """
    stem = name[:-1] if name.endswith((FOLDER, PART)) else name
    part = b"" if stem == "%" else _bytes(stem)
    if part is None or _encoded(part) != stem or _cut(part) != ([part, b""] if name.endswith(PART) else [part]):
        return None
    if name.endswith(FOLDER) if above.count(b"/") >= _LEVELS else b"/" in part:
        return None
    return part + b"/" if name.endswith(FOLDER) else part


def _bytes(stem: str) -> bytes | None:
    part, at = bytearray(), 0
    while at < len(stem):
        token = _TOKEN.match(stem, at)
        if token is None:
            return None
        number, upper, plain = token.groups()
        part.append(int(number, 16) if number else ord(plain or upper.upper()))
        at = token.end()
    return bytes(part)


def _encoded(part: bytes) -> str:
    if not part:
        return "%"
    name = "".join(map(_CODES.__getitem__, part))
    if name.startswith(".") or _DEVICE.fullmatch(name):
        name = f"%{part[0]:02x}{name[1:]}"
    return f"{name[:-1]}%2e" if name.endswith(".") else name


def _cut(segment: bytes) -> list[bytes]:
    """The parts of a segment: every part but the last is just long enough to be cut."""
    parts, start, length = [], 0, 0
    for at, byte in enumerate(segment, 1):
        length += len(_CODES[byte])
        if length >= _CUT:
            parts.append(segment[start:at])
            start, length = at, 0
    return [*parts, segment[start:]]


def _code(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    return f"^{chr(byte).lower()}" if ord("A") <= byte <= ord("Z") else f"%{byte:02x}"


_CODES: Final = [_code(byte) for byte in range(256)]
