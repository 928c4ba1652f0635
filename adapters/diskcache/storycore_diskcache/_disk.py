"""How diskcache may turn keys and values into rows here: bytes only, and nothing that a row says is executed.

diskcache unpickles what a row marks as pickled (CVE-2025-69872), and opens and deletes whatever file a row names. Both
are refused: such a row is a miss, and is removed.
"""

from __future__ import annotations

import re
from typing import Any

from diskcache import Disk  # type: ignore[import-untyped]  # diskcache ships no types

__all__ = ["BytesDisk", "ForeignRow"]

_RAW, _FILE = 1, 2
_OWN_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val\Z")


class ForeignRow(OSError):
    """The row is none of ours. An ``OSError``, because diskcache takes that for "gone meanwhile"."""


class BytesDisk(Disk):  # type: ignore[misc]  # untyped base
    """Bytes in, bytes out; large values in files of diskcache's own naming, which ``begun`` lists."""

    def __init__(self, directory: str, **settings: Any) -> None:  # diskcache's own arguments
        super().__init__(directory, **settings)
        self.begun: list[str] = []

    def filename(self, key: Any = None, value: Any = None) -> tuple[str, str]:
        """A new file's name, in the directory and whole."""
        name, path = super().filename(key, value)
        self.begun.append(name)
        return name, path

    def put(self, key: Any) -> Any:
        """The key's column and the mark of a raw key."""
        return _bytes(key), True

    def get(self, key: Any, raw: Any) -> bytes:
        """The key of a row."""
        if not raw:
            raise ForeignRow("The key of the row is pickled.")
        return _bytes(key)

    def store(self, value: Any, read: bool, key: Any = None) -> Any:
        """Size, mode, file name and column of a value."""
        if read:
            raise TypeError("Values are bytes, not files.")
        return super().store(_bytes(value), False, key=key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        """The value of a row."""
        if mode == _RAW and filename is None and type(value) is bytes:
            return value
        if mode == _FILE and filename is not None and _is_own(filename) and not read:
            data = super().fetch(mode, filename, value, False)
            return _bytes(data)
        raise ForeignRow(f"The row's mode {mode!r} is not one that storycore writes.")

    def remove(self, file_path: Any) -> None:
        """Delete a value's file, if the name is one that diskcache gives."""
        if isinstance(file_path, str) and _is_own(file_path):
            super().remove(file_path)


def _is_own(filename: str) -> bool:
    return isinstance(filename, str) and _OWN_FILE.match(filename.replace("\\", "/")) is not None


def _bytes(data: Any) -> bytes:
    if type(data) is not bytes:
        raise ForeignRow(f"Bytes are stored here, not {type(data).__name__}.")
    return data
