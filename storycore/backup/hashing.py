"""Hashing: what a blob hashes to, where it came past the store and nobody has said it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256

from storycore.ports.blobs import BlobInfo, BlobReader

__all__ = ["Hashing"]


class Hashing:
    """The content of a blob, to be read once to its end; what is known of it has its hash then.

    Args:
        reader: of the whole blob; borrowed.
    """

    def __init__(self, reader: BlobReader) -> None:
        self._reader = reader
        self._hash = sha256()

    @property
    def info(self) -> BlobInfo:
        """As the store has it, or with the hash of what was read so far."""
        known = self._reader.info
        return known if known.sha256 else replace(known, sha256=self._hash.hexdigest())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        is_known = bool(self._reader.info.sha256)
        async for chunk in self._reader:
            if not is_known:
                await asyncio.to_thread(self._hash.update, chunk)
            yield chunk
