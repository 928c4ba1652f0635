"""Segments: stretches of the change feed in the archive, sealed one by one, so that any second can be restored.

<prefix>segments/<backup>/key.json        the series' key, sealed by a key provider
<prefix>segments/<backup>/000000000001 …  the segments, written only where there is none: of two recorders one wins
<prefix>segments/<backup>/tip.json        up to when nothing is missing, although nothing happened
<prefix>segments/<backup>/cut.json        which segment is the first that is still needed

A series goes on behind the backup after which it is named. A segment is 16 random bytes and a run of frames; the first
frame is its head, the others hold changes with the moments at which they were made.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from storycore.backup.entries import Entry, pack, unpacked
from storycore.backup.frames import FRAME_BYTES, FrameOpener, FrameSealer, whole_frames
from storycore.backup.objects import Place
from storycore.errors import Corrupt, NotFound
from storycore.ports.blobs import BlobMatches
from storycore.ports.conditions import ABSENT, ANY

__all__ = ["Cut", "Head", "Segment", "Series", "Tip"]

M = TypeVar("M", bound=BaseModel)

_SALT_BYTES = 16
_HEAD_BYTES = 64 * 1024
"""Enough of a segment to hold its head."""
_COUNT = struct.Struct("<I")
_PAGE = 1000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Head(_Frozen):
    """What a segment says of itself.

    Args:
        number: from 1 on, without a hole.
        store: the namespace of the store.
        first: the position in the change feed before it.
        last: the position behind it.
        since: whatever was written later is in this segment or behind it.
        first_at: of its changes the earliest moment.
        last_at: of its changes the latest moment.
        through: of all changes up to its end the latest moment.
        until: whatever was written before is in this segment or in front of it.
        count: how many changes it holds.
        previous: SHA-256 of the segment in front, lower-case hex; empty for the first one.
        seals_owners: whether what belongs to somebody is sealed with a key of his own.
    """

    number: int
    store: str
    first: str
    last: str
    since: AwareDatetime
    first_at: AwareDatetime
    last_at: AwareDatetime
    through: AwareDatetime
    until: AwareDatetime
    count: int
    previous: str
    seals_owners: bool = False


class Tip(_Frozen):
    """How far a series reaches behind its last segment.

    Args:
        number: of the last segment; 0 where there is none yet.
        store: the namespace of the store.
        since: of the series.
        position: in the change feed.
        until: whatever was written before is in the series.
    """

    number: int
    store: str
    since: AwareDatetime
    position: str
    until: AwareDatetime


class Cut(_Frozen):
    """Which segment is the first that anybody needs."""

    first: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was read.

    Args:
        head: what it says of itself.
        digest: SHA-256 of its bytes.
        changes: moments in microseconds since 1970, and what was changed, in order.
    """

    head: Head
    digest: str
    changes: Sequence[tuple[int, Entry]]


class Series:
    """The segments behind one backup.

    Args:
        place: where they lie, with their key.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def id(self) -> str:
        """Of the backup on which it builds."""
        return self._place.backup.rsplit("/", 1)[-1]

    async def numbers(self) -> list[int]:
        """Of the segments that are there, ascending, without those that nobody needs."""
        found, after, first = list[int](), None, 1
        with suppress(Corrupt):
            first = await self.first()
        while True:
            page = await self._place.blobs.entries(self._place.folder, after=after, limit=_PAGE)
            names = [info.key.removeprefix(self._place.folder) for info in page.blobs]
            found += [int(name) for name in names if name.isdecimal() and int(name) >= first]
            if (after := page.next) is None:
                return found

    async def first(self) -> int:
        """The number of the first segment that is needed."""
        cut = await self._noted("cut.json", Cut)
        return 1 if cut is None else cut.first

    async def tip(self) -> Tip | None:
        """How far it reaches behind its last segment."""
        return await self._noted("tip.json", Tip)

    async def head(self, number: int) -> Head:
        """What a segment says of itself.

        Raises:
            Corrupt: it is missing or damaged.
        """
        data = await self._bytes(number, length=_HEAD_BYTES)
        return self._head(number, data, next(self._contents(number, data), b""))

    async def read(self, number: int) -> Segment:
        """A whole segment.

        Raises:
            Corrupt: it is missing or damaged.
        """
        data = await self._bytes(number)
        return await asyncio.to_thread(self._opened, number, data)

    async def put(self, head: Head, changes: Sequence[tuple[int, Entry]]) -> str:
        """Write a segment; its SHA-256.

        Raises:
            AlreadyExists: somebody else has written the segment with this number.
        """
        data = await asyncio.to_thread(self._sealed, head, changes)
        await self._place.blobs.put(self._name(head.number), data, when=ABSENT)
        return sha256(data).hexdigest()

    async def digest(self, number: int) -> str:
        """SHA-256 of a segment's bytes.

        Raises:
            Corrupt: it is missing.
        """
        return sha256(await self._bytes(number)).hexdigest()

    async def reach(self, tip: Tip) -> None:
        """Note how far it reaches."""
        await self._place.blobs.put(self._place.folder + "tip.json", self._signed("tip.json", tip), when=ANY)

    async def cut(self, first: int) -> int:
        """Let it begin with a later segment, and remove those in front; how many there were. Can be repeated.

        Raises:
            VersionConflict, AlreadyExists: somebody else cuts it at the same time.
        """
        if first > await self.first():
            info = await self._place.blobs.head(self._place.folder + "cut.json")
            when = ABSENT if info is None else BlobMatches(info.version)
            await self._place.blobs.put(
                self._place.folder + "cut.json", self._signed("cut.json", Cut(first=first)), when=when
            )
        return await self._remove_below(first)

    async def _remove_below(self, first: int) -> int:
        removed = 0
        while True:
            page = await self._place.blobs.entries(self._place.folder, limit=_PAGE)
            names = [info.key for info in page.blobs]
            numbered = [name for name in names if name.removeprefix(self._place.folder).isdecimal()]
            old = [name for name in numbered if name < self._name(first)]
            if not old:
                return removed
            removed += sum(await self._place.blobs.delete(old))

    async def _bytes(self, number: int, *, length: int | None = None) -> bytes:
        try:
            async with await self._place.blobs.get(self._name(number), length=length) as reader:
                return await reader.read()
        except (NotFound, Corrupt) as exc:
            raise self._lost(number, "is not there" if isinstance(exc, NotFound) else "is damaged") from exc

    def _sealed(self, head: Head, changes: Sequence[tuple[int, Entry]]) -> bytes:
        salt = secrets.token_bytes(_SALT_BYTES)
        name = _sealed_name(head.number, salt)
        sealer = FrameSealer(self._place.key, backup=self._place.backup, name=name)
        batches = list(_batches(changes))
        frames = [salt, sealer.seal(head.model_dump_json().encode(), last=False)]
        frames += [sealer.seal(_packed(batch), last=batch is batches[-1]) for batch in batches]
        return b"".join(frames)

    def _opened(self, number: int, data: bytes) -> Segment:
        contents = list(self._contents(number, data, is_whole=True))
        head = self._head(number, data, contents[0] if contents else b"")
        changes = [change for content in contents[1:] for change in _unpacked(content)]
        if len(changes) != head.count:
            raise self._lost(number, "holds another number of changes than it says")
        return Segment(head, sha256(data).hexdigest(), changes)

    def _contents(self, number: int, data: bytes, *, is_whole: bool = False) -> Iterator[bytes]:
        name = _sealed_name(number, data[:_SALT_BYTES])
        opener = FrameOpener(self._place.key, backup=self._place.backup, name=name)
        try:
            for sealed in whole_frames(data[_SALT_BYTES:], name, is_whole=is_whole):
                yield opener.open(sealed)
        except Corrupt as exc:
            raise self._lost(number, "is damaged") from exc
        if is_whole and not opener.is_complete:
            raise self._lost(number, "ends too early")

    def _head(self, number: int, data: bytes, content: bytes) -> Head:
        try:
            head = Head.model_validate_json(content)
        except ValidationError as exc:
            raise self._lost(number, "is damaged" if data else "is empty") from exc
        if head.number != number:
            raise self._lost(number, f"is number {head.number}")
        return head

    def _lost(self, number: int, what: str) -> Corrupt:
        return Corrupt(
            f"Segment {number} of the recording behind the backup {self.id} {what}; moments behind it can be restored "
            "from the next backup on."
        )

    async def _noted(self, name: str, model: type[M]) -> M | None:
        try:
            async with await self._place.blobs.get(self._place.folder + name) as reader:
                data = await reader.read()
        except NotFound:
            return None
        try:
            noted = orjson.loads(data)
            content = orjson.dumps(noted["content"], option=orjson.OPT_SORT_KEYS)
            if hmac.compare_digest(self._seal(name, content), str(noted["seal"])):
                return model.model_validate(noted["content"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as exc:
            raise self._changed(name) from exc
        raise self._changed(name)

    def _changed(self, name: str) -> Corrupt:
        return Corrupt(f"The note {name} of the recording behind the backup {self.id} was changed or is damaged.")

    def _signed(self, name: str, note: BaseModel) -> bytes:
        content: Mapping[str, Any] = note.model_dump(mode="json")  # Any: JSON
        data = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        return orjson.dumps({"content": content, "seal": self._seal(name, data)})

    def _seal(self, name: str, content: bytes) -> str:
        own = hmac.digest(self._place.key, b"storycore-backup-" + name.encode(), "sha256")
        return hmac.new(own, content, sha256).hexdigest()

    def _name(self, number: int) -> str:
        return f"{self._place.folder}{number:012d}"


def _sealed_name(number: int, salt: bytes) -> str:
    """What the frames of a segment are bound to: two recorders that write one number never share a key."""
    return f"{number:012d}.{salt.hex()}"


def _batches(changes: Sequence[tuple[int, Entry]]) -> Iterator[Sequence[tuple[int, Entry]]]:
    start = size = 0
    for end, (_, entry) in enumerate(changes, 1):
        size += len(entry.key) + len(entry.item or b"")
        if size >= FRAME_BYTES or end == len(changes):
            yield changes[start:end]
            start, size = end, 0


def _packed(changes: Sequence[tuple[int, Entry]]) -> bytes:
    moments = struct.pack(f"<{len(changes)}q", *(at for at, _ in changes))
    return _COUNT.pack(len(changes)) + moments + b"".join(pack(entry) for _, entry in changes)


def _unpacked(content: bytes) -> list[tuple[int, Entry]]:
    (count,) = _COUNT.unpack_from(content)
    moments = struct.unpack_from(f"<{count}q", content, _COUNT.size)
    return list(zip(moments, unpacked([content[_COUNT.size + 8 * count :]]), strict=True))
