"""An open blob: a file that stays what it was, whatever becomes of its name."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from io import FileIO
from typing import Self

from storycore.errors import Corrupt, Unavailable
from storycore.ports.blobs import BlobInfo
from storycore_files._faults import translating
from storycore_files._folder import CHUNK_BYTES
from storycore_files._threads import Threads

__all__ = ["FileReader"]


class FileReader:
    """Reads a range of an open file.

    Args:
        fd: the open file; closed with the reader.
        info: what the file is.
        start: first byte of the range.
        length: bytes in the range; ``None``: to the end.
        threads: where reading happens.
    """

    def __init__(self, fd: int, info: BlobInfo, *, start: int, length: int | None, threads: Threads) -> None:
        self._file = FileIO(fd, "rb")
        self._info = info
        self._threads = threads
        behind = max(0, info.size_bytes - start)
        self._rest = behind if length is None else min(length, behind)
        self._hash = hashlib.sha256() if self._rest == info.size_bytes else None
        self._lock = threading.Lock()
        self._file.seek(min(start, info.size_bytes))

    @property
    def info(self) -> BlobInfo:
        """Of the version that is being read."""
        return self._info

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._run(lambda: self._next(CHUNK_BYTES)):
            yield chunk

    async def read(self) -> bytes:
        """The rest of the range."""
        return await self._run(self._all)

    async def close(self) -> None:
        """Close the file."""
        self.release()

    def release(self) -> None:
        """Close the file, once whoever reads has finished his piece."""
        with self._lock:
            self._file.close()

    async def _run(self, call: Callable[[], bytes]) -> bytes:
        self._require_open()  # here as well: a closed adapter must not start its threads again
        return await self._threads.run(call)

    def _require_open(self) -> None:
        if self._file.closed:
            raise Unavailable(f"The reader of blob {self._info.key!r} is closed; open another with get().")

    def _all(self) -> bytes:
        chunks = iter(lambda: self._next(CHUNK_BYTES), b"")
        return b"".join(chunks)

    def _next(self, size_bytes: int) -> bytes:
        """The next piece; the last one of a whole blob only when all of it matches its hash."""
        with self._lock, translating(f"read the blob {self._info.key!r}"):
            self._require_open()
            chunk = self._file.read(min(size_bytes, self._rest))
            self._rest -= len(chunk)
            if self._rest and not chunk:
                raise Corrupt(f"The file of blob {self._info.key!r} was cut while it was read.")
            if self._hash is not None:
                self._check(chunk)
            return chunk

    def _check(self, chunk: bytes) -> None:
        assert self._hash is not None
        self._hash.update(chunk)
        if not self._rest and self._hash.hexdigest() != self._info.sha256:
            raise Corrupt(
                f"The content of blob {self._info.key!r} does not match its sha256; restore it from a backup."
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
