"""Blobs in backups: what is known of each is the item, and its content goes with it or lies in an object of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import orjson

from storycore.backup.contents import content_object
from storycore.backup.entries import Entry
from storycore.backup.hashing import Hashing
from storycore.backup.manifest import PortContent
from storycore.backup.sources.contract import Contents, Reached, Sink, Step
from storycore.errors import AlreadyExists, Corrupt, NotFound, Unsupported
from storycore.layers.spilled_bodies import in_parallel, is_spilled
from storycore.ports.blobs import BlobInfo, BlobStore
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

__all__ = ["BlobSource", "content_name"]

_PAGE = 1000
_BATCH = 64
_IN_ENTRY_BYTES = 64 * 1024
"""Contents up to this go into the entry, so that a batch of them holds 4 MiB at most."""
_HERE, _ELSEWHERE = b"=", b"@"
"""What an entry's ``more`` begins with: the content, or where it lies."""


class BlobSource:
    """The blobs of a store, without those that are its own: spilled bodies, which records bring, and the archive.

    There is no feed: an increment lists all blobs, and reads those that differ. A blob is read as it is when its turn
    comes, so each is whole, and together they are ``fuzzy``.

    Args:
        blobs: the open port.
        env: time.
        without: beginnings of keys that are left out, in backups and in restores; asked when the port is in use.
    """

    name = str(PortName.BLOBS)
    forgets = True

    def __init__(self, blobs: BlobStore, env: Environment, *, without: Callable[[], Sequence[str]] = tuple) -> None:
        self._blobs = blobs
        self._env = env
        self._without = without

    async def read(self, sink: Sink) -> Reached:
        """All blobs.

        Raises:
            Corrupt: the content of a blob is not what was put there.
        """
        begun = self._env.clock.now()
        async for infos in self._pages():
            for start in range(0, len(infos), _BATCH):
                await self._give(await self._hashed(infos[start : start + _BATCH]), sink)
        return Reached(begun, "fuzzy", reason="a blob store has no change feed")

    async def tells(self, parent: PortContent) -> bool:
        """Never: there is no feed."""
        return False

    async def read_changes(self, sink: Sink, parent: PortContent) -> Reached:
        """Not here: it is never asked for."""
        raise Unsupported("A blob store has no change feed.", feature="blobs.changes")

    def check(self, facts: Mapping[str, str | int]) -> None:
        """Any blob store takes any blob."""

    def is_live(self, entry: Entry) -> bool:
        """No blob ends by itself."""
        return True

    def kind(self, entry: Entry) -> str:
        """The folder: what stands before the first slash of the key; ``.`` where there is none."""
        folder, slash, _ = entry.key.decode().partition("/")
        return folder if slash else "."

    async def scan(self) -> AsyncIterator[list[Entry]]:
        """What is known of all blobs, without contents."""
        async for infos in self._pages():
            yield [_entry(info) for info in await self._hashed(infos)]

    async def held(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What is known of the blobs under these keys."""
        infos = await in_parallel(lambda key: self._blobs.head(key.decode()), keys)
        known = {info.key: info for info in await self._hashed([info for info in infos if info is not None])}
        return [_facts(known[key.decode()]) if key.decode() in known else None for key in keys]

    async def apply(self, entries: Sequence[Entry], contents: Contents, *, overwrite: bool) -> list[bool]:
        """Put and delete blobs; long contents one after the other, each checked against its SHA-256.

        What is left out stays as it is: a backup of another store may have blobs where this one's archive lies.
        """
        meant = [entry for entry in entries if self._is_meant(entry.key.decode())]
        done = await self._applied(meant, contents, overwrite=overwrite)
        return [done.get(entry.key, True) for entry in entries]

    async def _applied(self, entries: Sequence[Entry], contents: Contents, *, overwrite: bool) -> dict[bytes, bool]:
        gone = [entry.key.decode() for entry in entries if entry.item is None]
        if gone:
            await self._blobs.delete(gone)
        short = [entry for entry in entries if entry.item is not None and entry.more[:1] == _HERE]
        put = await in_parallel(lambda entry: self._put(entry, contents, overwrite=overwrite), short)
        done = dict(zip([entry.key for entry in short], put, strict=True))
        for entry in entries:
            if entry.item is not None and entry.key not in done:
                done[entry.key] = await self._put(entry, contents, overwrite=overwrite)
        return {entry.key: done.get(entry.key, True) for entry in entries}

    async def _pages(self) -> AsyncIterator[list[BlobInfo]]:
        after = None
        while True:
            page = await self._blobs.entries(after=after, limit=_PAGE)
            yield [info for info in page.blobs if self._is_meant(info.key)]
            if (after := page.next) is None:
                return

    async def _hashed(self, infos: Sequence[BlobInfo]) -> list[BlobInfo]:
        """The same, where those that came past the store, as by a URL, have their hash; without what has gone."""
        unknown = [info for info in infos if not info.sha256]
        short = [info for info in unknown if info.size_bytes <= _IN_ENTRY_BYTES]
        found = dict(zip([info.key for info in short], await in_parallel(self._with_hash, short), strict=True))
        for info in unknown:
            if info.key not in found:
                found[info.key] = await self._with_hash(info)
        return [each for info in infos if (each := found.get(info.key, info)) is not None]

    async def _with_hash(self, listed: BlobInfo) -> BlobInfo | None:
        try:
            reader = await self._blobs.get(listed.key)
        except NotFound:
            return None
        async with reader:
            hashing = Hashing(reader)
            async for _ in hashing:
                pass
            return hashing.info

    def _is_meant(self, key: str) -> bool:
        return not key.startswith(tuple(self._without())) and not is_spilled(key)

    async def _give(self, infos: Sequence[BlobInfo], sink: Sink) -> None:
        steps = [Step.of(_entry(info)) for info in infos]
        wanted = await sink.wanted(steps)
        short = [i for i, info in enumerate(infos) if wanted[i] and info.size_bytes <= _IN_ENTRY_BYTES]
        read = dict(zip(short, await in_parallel(lambda i: self._whole(infos[i], sink), short), strict=True))
        for i, info in enumerate(infos):
            if wanted[i] and i not in read:
                read[i] = await self._whole(info, sink)
        whole = [read.get(i, step) for i, step in enumerate(steps)]
        await sink.base([step for step in whole if step is not None])

    async def _whole(self, listed: BlobInfo, sink: Sink) -> Step | None:
        """The blob as it is now, with its content; ``None``: it has gone since it was listed."""
        try:
            reader = await self._blobs.get(listed.key)
        except NotFound:
            return None
        async with reader:
            hashing = Hashing(reader)
            more = await _content(hashing, sink)
            return Step.of(_entry(hashing.info, more))

    async def _put(self, entry: Entry, contents: Contents, *, overwrite: bool) -> bool:
        assert entry.item is not None, "what is gone is deleted"
        key = entry.key.decode()
        content_type, metadata, size, sha256 = _read(entry)
        try:
            await self._blobs.put(
                key,
                entry.more[1:] if entry.more[:1] == _HERE else contents.read(entry.more[1:]),
                when=ANY if overwrite else ABSENT,
                content_type=content_type,
                metadata=metadata,
                sha256=sha256 or None,
            )
        except AlreadyExists:
            return False
        except Corrupt as exc:
            raise Corrupt(f"The blob {key!r} of {size} bytes is lost: {exc.message}") from exc
        return True


def content_name(more: bytes) -> str:
    """The object that holds the content of an entry; ``""`` where the entry itself does.

    Raises:
        Corrupt: it cannot be read.
    """
    return content_object(more[1:])[1] if more[:1] == _ELSEWHERE else ""


def _facts(info: BlobInfo) -> bytes:
    known = [info.content_type, dict(info.metadata), info.size_bytes, info.sha256]
    return orjson.dumps(known, option=orjson.OPT_SORT_KEYS)


def _entry(info: BlobInfo, more: bytes = b"") -> Entry:
    return Entry(info.key.encode(), _facts(info), more=more)


async def _content(blob: Hashing, sink: Sink) -> bytes:
    if blob.info.size_bytes <= _IN_ENTRY_BYTES:
        return _HERE + b"".join([chunk async for chunk in blob])
    return _ELSEWHERE + await sink.content(_entry(blob.info), aiter(blob))


def _read(entry: Entry) -> tuple[str, dict[str, str], int, str]:
    try:
        content_type, metadata, size, sha256 = orjson.loads(entry.item or b"")
    except (ValueError, TypeError) as exc:
        raise Corrupt(f"What the backup says of the blob {entry.key.decode()!r} cannot be read.") from exc
    return str(content_type), metadata, int(size), str(sha256)
