"""Contents that are too long for an entry: each in an object of its own, written and read a frame at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence

import orjson

from storycore.backup.archive import Archive
from storycore.backup.frames import FRAME_BYTES, FrameOpener, contents
from storycore.backup.lanes import Lane
from storycore.backup.manifest import Manifest, ObjectInfo
from storycore.backup.objects import Place, Upload
from storycore.errors import Corrupt, NotFound

__all__ = ["Contents", "content_object", "read_content", "write_content"]


async def write_content(
    place: Place, name: str, chunks: AsyncIterable[bytes], lane: Lane, *, owner: str = ""
) -> ObjectInfo:
    """Write an object that holds nothing but these bytes; it is there whole, or not at all when this fails.

    Args:
        lane: the thread in which frames are sealed.
        owner: what ``Keyring.sealing`` says of the key in ``place``, where it is an owner's.
    """
    upload, held = Upload(place, name, lane), bytearray()
    try:
        async for chunk in chunks:
            held += chunk
            while len(held) > FRAME_BYTES:  # so that something is left for the last frame
                await upload.add([bytes(held[:FRAME_BYTES])], 0, last=False)
                del held[:FRAME_BYTES]
        await upload.add([bytes(held)], 1, last=True)
        return (await upload.finished()).model_copy(update={"owner": owner})
    except BaseException:
        await upload.abandon()
        raise


async def read_content(place: Place, info: ObjectInfo) -> AsyncIterator[bytes]:
    """What ``write_content`` was given, frame by frame.

    Raises:
        Corrupt: the object is missing or damaged.
    """
    opener = FrameOpener(place.key, backup=place.backup, name=info.name)
    try:
        async with await place.blobs.get(place.folder + info.name) as reader:
            async for content in contents(aiter(reader), opener):
                yield content
    except NotFound as exc:
        raise Corrupt(f"The object {info.name} of {place.backup} is not there any more.") from exc


def content_object(more: bytes) -> tuple[str, str]:
    """The backup and the object that an entry's ``more`` names.

    Raises:
        Corrupt: it names none.
    """
    try:
        backup, name = orjson.loads(more)
    except (orjson.JSONDecodeError, ValueError, TypeError) as exc:
        raise Corrupt("An entry of the backup does not tell where its content lies.") from exc
    return str(backup), str(name)


class Contents:
    """The long contents of a chain of backups.

    Args:
        archive: where the backups lie.
        chain: manifests, as ``Archive.chain`` gives them.
    """

    def __init__(self, archive: Archive, chain: Sequence[Manifest]) -> None:
        self._archive = archive
        self._keyring = archive.keyring()
        self._places: dict[str, Place] = {}
        self._infos: Mapping[tuple[str, str], ObjectInfo] = {
            (manifest.id, info.name): info
            for manifest in chain
            for port in manifest.ports.values()
            for info in port.contents
        }

    async def read(self, more: bytes) -> AsyncIterator[bytes]:
        """The content that an entry's ``more`` leads to, in pieces.

        Raises:
            Corrupt: it is missing or damaged.
        """
        backup, name = content_object(more)
        info = self._infos.get((backup, name))
        if info is None:
            raise Corrupt(f"The manifest of {backup} does not name the object {name}.")
        if backup not in self._places:
            self._places[backup] = await self._archive.place(backup)
        place = await self._keyring.opening(self._places[backup], info)
        if place is None:
            raise Corrupt(f"The content {name} of {backup} belongs to somebody who is being erased; restore again.")
        async for content in read_content(place, info):
            yield content
