"""Objects: runs of entries in the blob store, written and read a frame at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

from storycore.backup.entries import Entry, capsules, pack, unpacked
from storycore.backup.frames import FRAME_BYTES, FrameOpener, FrameSealer, sealed_frames
from storycore.backup.lanes import Lane
from storycore.backup.manifest import ObjectInfo
from storycore.errors import Corrupt, NotFound
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT

__all__ = ["ObjectReader", "ObjectWriter", "Place", "Upload"]

_OBJECT_BYTES = 256 * FRAME_BYTES
"""Content of one object at most: damage to one loses no more, and several can be read side by side."""
_AHEAD = 2
"""Sealed frames that may wait for the blob store."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects of one backup lie, and what seals them.

    Args:
        blobs: the blob store.
        folder: the beginning of their names, with a slash at its end.
        backup: the backup's id.
        key: its key, 32 bytes.
    """

    blobs: BlobStore
    folder: str
    backup: str
    key: bytes = field(repr=False)


class ObjectWriter:
    """Writes entries into objects ``<stem>-0001``, ``<stem>-0002``, …: each is there whole or not at all.

    Memory holds one frame that is gathered and a few that wait. ``close`` ends the last object; ``abandon`` leaves
    nothing of the one that was being written.

    Args:
        place: where they lie.
        stem: what their names begin with.
        lane: the thread in which entries are packed and frames sealed.
    """

    def __init__(self, place: Place, stem: str, lane: Lane) -> None:
        self._place = place
        self._lane = lane
        self._stem = stem
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._open: Upload | None = None
        self._done: list[ObjectInfo] = []

    async def add(self, entries: Iterable[Entry]) -> None:
        """Append entries, in order."""
        await self.write(map(pack, entries))

    async def write(self, packed: Iterable[bytes]) -> None:
        """Append what ``pack`` gave, in order; it is asked for in a thread, so that making it may take its time."""
        coming = iter(packed)
        while await self._lane.run(self._gather, coming):
            await self._frame()

    async def close(self) -> tuple[ObjectInfo, ...]:
        """End the last object; all objects, in order. No entries give no object."""
        if self._gathered or self._open is not None:
            await self._frame(last=True)
        return tuple(self._done)

    async def abandon(self) -> None:
        """Stop; the object that was being written does not come to be."""
        upload, self._open = self._open, None
        if upload is not None:
            await upload.abandon()

    def _gather(self, coming: Iterator[bytes]) -> bool:
        """Take what comes until there is enough for a frame; whether there is."""
        for packed in coming:
            self._gathered.append(packed)
            self._gathered_bytes += len(packed)
            if self._gathered_bytes >= FRAME_BYTES:
                return True
        return False

    async def _frame(self, *, last: bool = False) -> None:
        gathered, size = self._gathered, self._gathered_bytes
        self._gathered, self._gathered_bytes = [], 0
        if self._open is None:
            self._open = Upload(self._place, f"{self._stem}-{len(self._done) + 1:04d}", self._lane)
        last = last or self._open.content_bytes + size >= _OBJECT_BYTES
        await self._open.add(gathered, len(gathered), last=last)
        if last:
            upload, self._open = self._open, None
            self._done.append(await upload.finished())


class Upload:
    """One object on its way: frames are sealed in a thread and handed to a put that runs beside.

    Give it frames, the last one marked, and then ask for what was ``finished``; or ``abandon`` it.
    """

    def __init__(self, place: Place, name: str, lane: Lane) -> None:
        self._name = name
        self._lane = lane
        self._sealer = FrameSealer(place.key, backup=place.backup, name=name)
        self._hash = sha256()
        self._size_bytes = self._frames = self._entries = 0
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._put = asyncio.create_task(
            place.blobs.put(place.folder + name, self._sealed(), when=ABSENT), name=f"backup {name}"
        )
        self.content_bytes = 0

    async def add(self, parts: list[bytes], entries: int, *, last: bool) -> None:
        """Seal the next frame and hand it over.

        Args:
            parts: of its content; taken out of the list.
        """
        sealed = await self._lane.run(self._seal, parts, last)
        self._size_bytes += len(sealed)
        self._frames += 1
        self._entries += entries
        await self._hand_over(sealed)
        if last:
            await self._hand_over(None)

    async def finished(self) -> ObjectInfo:
        info = await self._put
        digest = self._hash.hexdigest()
        if info.sha256 != digest:
            raise Corrupt(f"The blob store keeps other bytes of {self._name} than it was given; check its disk.")
        return ObjectInfo(
            name=self._name, size_bytes=self._size_bytes, sha256=digest, frames=self._frames, entries=self._entries
        )

    async def abandon(self) -> None:
        self._put.cancel()
        await asyncio.gather(self._put, return_exceptions=True)

    def _seal(self, parts: list[bytes], last: bool) -> bytes:
        content = b"".join(parts)
        parts.clear()
        self.content_bytes += len(content)
        sealed = self._sealer.seal(content, last=last)
        self._hash.update(sealed)
        return sealed

    async def _hand_over(self, sealed: bytes | None) -> None:
        """Give the put its next bytes, unless it has failed: then its error is ours."""
        handing = asyncio.ensure_future(self._queue.put(sealed))
        try:
            await asyncio.wait({handing, self._put}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_taken = handing.done()
            handing.cancel()
        if not is_taken:
            self._put.result()

    async def _sealed(self) -> AsyncIterator[bytes]:
        while (sealed := await self._queue.get()) is not None:
            yield sealed


class ObjectReader:
    """Reads the objects of one backup.

    Args:
        place: where they lie.
        opened: takes entries out of their capsules.
    """

    def __init__(self, place: Place, opened: Callable[[Sequence[Entry]], Awaitable[list[Entry]]]) -> None:
        self._place = place
        self._opened = opened
        self._lane = Lane()  # its one thread ends with the reader

    async def frames(self, info: ObjectInfo) -> AsyncIterator[list[Entry]]:
        """The entries of an object, frame by frame.

        Raises:
            Corrupt: the object is missing or damaged; the error says how many entries are lost with it.
        """
        async for entries in self.read(info, _entries):
            yield await self._opened(entries) if any(entry.is_capsule for entry in entries) else entries

    async def look(self, info: ObjectInfo) -> AsyncIterator[tuple[int, int]]:
        """Open every frame and look at each entry; how many a frame has, and how many of them nobody can read any more.

        Raises:
            Corrupt: as of ``frames``.
        """
        async for seen in self.read(info, capsules):
            closed = [capsule for capsule in seen if capsule is not None]
            opened = await self._opened(closed) if closed else []
            yield len(seen) - len(closed) + len(opened), sum(entry.is_erased for entry in opened)

    async def read(self, info: ObjectInfo, read: Callable[[Iterator[bytes]], list[T]]) -> AsyncIterator[list[T]]:
        """What ``read`` makes of each frame's content, which it gets in pieces: one thing for each entry.

        It is called in the reader's thread.

        Raises:
            Corrupt: as of ``frames``.
        """
        place, seen = self._place, 0
        opener = FrameOpener(place.key, backup=place.backup, name=info.name)
        try:
            async with await place.blobs.get(place.folder + info.name) as reader:
                async for sealed in sealed_frames(aiter(reader), opener):
                    entries = await self._lane.run(_opened, opener, sealed, read)
                    seen += len(entries)
                    yield entries
        except NotFound as exc:
            raise Corrupt(f"{self._lost(info, seen)}: the object {info.name} is not there any more.") from exc
        except Corrupt as exc:
            raise Corrupt(f"{self._lost(info, seen)}: {exc.message}") from exc
        if seen != info.entries:
            raise Corrupt(f"{self._lost(info, seen)}: the manifest names more of them than {info.name} has.")

    def _lost(self, info: ObjectInfo, seen: int) -> str:
        return f"{info.entries - seen} of {info.entries} entries of {info.name} in {self._place.backup} are lost"


def _opened(opener: FrameOpener, sealed: bytes, read: Callable[[Iterator[bytes]], list[T]]) -> list[T]:
    return read(opener.pieces(sealed))


def _entries(pieces: Iterator[bytes]) -> list[Entry]:
    return list(unpacked(pieces))
