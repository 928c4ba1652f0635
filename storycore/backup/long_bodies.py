"""Long bodies of exported records: each in a file beside the export, under the name that a store would give it.

No format takes a record above 400 KiB, and a store spills what is longer into its blobs. So does an export: the record
carries the same pointer, and an imported table needs no more than these files in the blobs of its profile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from hashlib import sha256

from storycore.backup.scratch import LONG_BODIES
from storycore.errors import Corrupt, NotFound, NotProvisioned
from storycore.layers.spilled_bodies import (
    Pointer,
    exported_pointer,
    key_file,
    place_record,
    with_pointer,
    without_pointer,
)
from storycore.ports.backup_formats import Exported, ExportPlace
from storycore.ports.entities import Record
from storycore.ports.item_size import ITEM_BYTES, item_size

__all__ = ["LongBodies", "with_bodies"]

_PAGE_BYTES = 4 * 1024 * 1024


class LongBodies:
    """Takes long bodies out of records on their way into an export.

    Args:
        place: where they go.
        id_: of the export; the same one gives the same names.
    """

    def __init__(self, place: ExportPlace, id_: str) -> None:
        self._place = place
        self._id = id_.replace("-", "")
        self.count = 0

    async def spilled(self, pages: AsyncIterator[Sequence[Record]]) -> AsyncGenerator[Sequence[Record], None]:
        """The records, with pointers where bodies were too long; then the record that says where these lie."""
        async for page in pages:
            yield [await self._short(record) if _is_long(record) else record for record in page]
        if self.count:
            yield [place_record(self._id)]

    async def _short(self, record: Record) -> Record:
        pointer = exported_pointer(self._id, record.key, record.body)
        await self._place.put(*key_file(pointer, record.key))
        await self._place.put(pointer.name, record.body)
        self.count += 1
        return with_pointer(record, pointer)


async def with_bodies(
    pages: AsyncIterator[Sequence[Exported]], places: Sequence[ExportPlace], lost: list[str] | None = None
) -> AsyncGenerator[list[Exported], None]:
    """The same with whole bodies, in pages of a few MiB.

    Args:
        places: where bodies are looked for, one after the other.
        lost: takes what would be raised, and the record is left out.

    Raises:
        Corrupt: a body is in none of them, or is not what was written.
    """
    async for page in pages:
        found: list[Exported] = []
        size = 0
        for each in page:
            pointer = Pointer.of(each) if isinstance(each, Record) else None
            if not isinstance(each, Record) or pointer is None:
                found.append(each)
                continue
            try:
                found.append(without_pointer(each, await _body(each, pointer, places)))
            except Corrupt as exc:
                if lost is None:
                    raise
                lost.append(exc.message)
                continue
            size += pointer.size_bytes
            if size > _PAGE_BYTES:
                yield found
                found, size = [], 0
        if found:
            yield found


def _is_long(record: Record) -> bool:
    """Whether a store would spill the body, or has to."""
    longest = LONG_BODIES.get(record.kind)
    return longest is not None and (len(record.body) > longest or item_size(record) > ITEM_BYTES)


async def _body(record: Record, pointer: Pointer, places: Sequence[ExportPlace]) -> bytes:
    for place in places:
        try:
            body = await _content(place, pointer)
        except (NotFound, NotProvisioned):
            continue
        if len(body) != pointer.size_bytes or sha256(body).hexdigest() != pointer.sha256:
            raise Corrupt(
                f"The body of the record ({record.key.pk!r}, {record.key.sk!r}) in {pointer.name!r} is damaged; copy "
                "it again."
            )
        return body
    raise Corrupt(
        f"The body of the record ({record.key.pk!r}, {record.key.sk!r}) should be in {pointer.name!r}, which lies "
        "neither beside the export nor in the store's blobs; name the blob store of the exported table by `bodies`."
    )


async def _content(place: ExportPlace, pointer: Pointer) -> bytes:
    content = bytearray()
    async with aclosing(place.get(pointer.name)) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > pointer.size_bytes:
                break
    return bytes(content)
