"""The format ``dynamodb-json``: what DynamoDB's export to S3 writes, and its import from S3 takes."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from base64 import b32encode
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from hashlib import md5, sha256
from tempfile import SpooledTemporaryFile
from typing import IO, Final

from storycore.errors import Corrupt, NotFound, StorageFull
from storycore.ports.backup_formats import Export, Exported, ExportFacts, ExportPart, ExportPlace
from storycore.ports.entities import Record
from storycore.ports.instants import micros
from storycore_dynamodb._export_lines import line_of, mark_line, read_line
from storycore_dynamodb._export_manifests import ROOT, SUMMARY, as_text, checksum, found, publish

__all__ = ["DynamodbJson"]

_FILE_BYTES: Final = 32 * 1024 * 1024
"""Of a data file before it is compressed."""
_HELD_BYTES: Final = 16 * 1024 * 1024
"""So much of a data file is kept in memory, and what is longer in a temporary file."""
_PAGE_LINES: Final = 1000
_PAGE_BYTES: Final = 4 * 1024 * 1024
_GZIP: Final = 31


class DynamodbJson:
    """Records as items of a table of this adapter, in gzipped lines of DynamoDB JSON.

    A table that AWS imports from such an export can be opened at once, once its indexes and keys are those of
    ``storycore infrastructure``; versions are then the moment of the export.
    """

    async def write(self, place: ExportPlace, pages: AsyncIterator[Sequence[Record]], facts: ExportFacts) -> Export:
        """Write an export, file by file; each is held in memory while it is compressed."""
        folder = f"{ROOT}{facts.id}/"
        await place.remove([f"{folder}{SUMMARY}.json"])
        await place.put(f"{folder}_started", b"")
        writing = _Writing(place, folder, facts)
        await writing.add([mark_line()])
        async for page in pages:
            await writing.add(await asyncio.to_thread(_lines, page, facts))
        await writing.close()
        await publish(place, folder, facts, writing.parts, writing.size)
        return Export(name=facts.id, as_of=facts.as_of, parts=writing.parts)

    async def find(self, place: ExportPlace, name: str | None = None) -> Export:
        """The export that lies in a place: the whole of a bucket or prefix, or the folder of one export."""
        return await found(place, name)

    async def read(
        self, place: ExportPlace, export: Export, part: ExportPart
    ) -> AsyncGenerator[Sequence[Exported], None]:
        """What a data file holds, once its checksum is known to be right."""
        of = f"The export {export.name}, file {part.name},"
        with SpooledTemporaryFile[bytes](_HELD_BYTES) as file:
            await _fetch(place, part, file)
            pages = _pages(file, part, of)
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                yield page


class _Writing:
    """Data files on their way into a place.

    Args:
        folder: of the export.
    """

    def __init__(self, place: ExportPlace, folder: str, facts: ExportFacts) -> None:
        self._place = place
        self._folder = folder
        self._facts = facts
        self.parts: list[ExportPart] = []
        self.size = 0
        self._begin()

    def _begin(self) -> None:
        self._zipped = zlib.compressobj(wbits=_GZIP)
        self._content = bytearray()
        self._items = self._length = 0

    async def add(self, lines: Sequence[bytes]) -> None:
        """Take in lines, and write a file when it is long enough."""
        self._content += await asyncio.to_thread(self._zipped.compress, b"".join(lines))
        self._items += len(lines)
        self._length += sum(map(len, lines))
        if self._length >= _FILE_BYTES:
            await self._put()

    async def close(self) -> None:
        """Write what is left, and remove what an interrupted export of the same state has left besides."""
        if self._items:
            await self._put()
        written = {part.name for part in self.parts}
        await self._place.remove([name for name in await self._place.names(self._data) if name not in written])

    @property
    def _data(self) -> str:
        return f"{self._folder}data/"

    async def _put(self) -> None:
        content = bytes(self._content + self._zipped.flush())
        digest = sha256(f"{self._facts.id} {len(self.parts)}".encode()).digest()[:16]
        name = f"{self._data}{b32encode(digest).decode().rstrip('=').lower()}.json.gz"
        await self._place.put(name, content)
        self.parts.append(ExportPart(name, self._items, checksum(content)))
        self.size += self._length
        self._begin()


def _lines(page: Sequence[Record], facts: ExportFacts) -> list[bytes]:
    at = micros(facts.as_of)
    return [line_of(record, write_id=facts.id, written_at=at) for record in page]


async def _fetch(place: ExportPlace, part: ExportPart, file: IO[bytes]) -> None:
    """Bring a data file here, and see that it is what the manifest says."""
    digest, size = md5(usedforsecurity=False), 0
    try:
        async with aclosing(place.get(part.name)) as pieces:
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
                await asyncio.to_thread(file.write, piece)
    except NotFound as exc:
        raise _lost(part, "is missing") from exc
    except OSError as exc:
        raise StorageFull(
            f"The temporary folder has no room for {part.name} ({exc}); set TMPDIR to a larger one."
        ) from exc
    if as_text(digest.digest()) != part.proof:
        raise _lost(part, f"is damaged: its {size} bytes do not match the manifest's checksum")
    file.seek(0)


def _pages(file: IO[bytes], part: ExportPart, of: str) -> Iterator[list[Exported]]:
    """The file's records and keys in pages; the number of its lines is compared at the end."""
    count = length = 0
    page: list[Exported] = []
    try:
        with gzip.open(file) as lines:
            for line in lines:
                count += 1
                length += len(line)
                if (told := read_line(line, of=of)) is not None:
                    page.append(told)
                if len(page) == _PAGE_LINES or length >= _PAGE_BYTES:
                    yield page
                    page, length = [], 0
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise _lost(part, f"is no whole gzip file ({exc})") from exc
    if count != part.items:
        raise _lost(part, f"holds {count} items")
    if page:
        yield page


def _lost(part: ExportPart, problem: str) -> Corrupt:
    return Corrupt(
        f"The export's data file {part.name}, with {part.items} items by the manifest, {problem}; copy it again."
    )
