"""Compression of payloads in the shared tier, by Zstandard, where that makes them smaller."""

from __future__ import annotations

import importlib
from typing import Any, Final

from storycore.errors import ConfigError
from storycore.ports.cache import MAX_VALUE_BYTES

__all__ = ["Zstd", "expanded"]

_MOST_BYTES: Final = 4 * MAX_VALUE_BYTES
"""What is larger than that when it is expanded is a miss: a few bytes may stand for a machine's whole memory."""
_LEVEL: Final = 3


class Zstd:
    """Makes payloads smaller.

    Args:
        above: payloads of so many bytes and more.

    Raises:
        ConfigError: the library is not installed, or ``above`` is negative.
    """

    def __init__(self, above: int) -> None:
        if above < 0:
            raise ConfigError(f"compress_above is {above}; it is a number of bytes from 0 on.", path="compress_above")
        found = _library()
        if found is None:
            raise ConfigError(
                "Values are compressed by backports.zstd, which is not installed; "
                "install it with: pip install 'storycore[zstd]'",
                path="compress",
            )
        self._above = above
        self._library = found

    def squeezed(self, payload: bytes) -> bytes | None:
        """The payload compressed; ``None`` where that is not worth it, or nobody would read it back."""
        if not self._above <= len(payload) <= _MOST_BYTES:
            return None
        found: bytes = self._library.compress(payload, _LEVEL)
        return found if len(found) < len(payload) else None


def expanded(data: bytes) -> bytes | None:
    """What ``squeezed`` was given; ``None`` for other bytes, for too many, and where the library is not installed."""
    library = _library()
    if library is None:
        return None
    reader = library.ZstdDecompressor()
    try:
        found: bytes = reader.decompress(data, _MOST_BYTES)
    except (library.ZstdError, EOFError):
        return None
    return found if reader.eof and not reader.unused_data else None


def _library() -> Any:  # untyped where it is not installed
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
