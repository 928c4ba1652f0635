"""Sealed keys: each backup's key lies beside it, sealed by a key provider, or by two while keys are rotated."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import orjson

from storycore.errors import AccessDenied, Corrupt, NotFound, StorycoreError
from storycore.ports.blobs import BlobMatches, BlobStore
from storycore.ports.conditions import ABSENT
from storycore.ports.key_providers import KeyProvider

__all__ = ["SealedKeys"]

_Sealing: TypeAlias = tuple[str, bytes]
"""Who sealed it, and the sealed key."""


class SealedKeys:
    """The keys of the backups in an archive.

    Args:
        blobs: where they lie.
        keys: seals new ones, and opens old ones.
        prefix: the archive's.
    """

    def __init__(self, blobs: BlobStore, keys: KeyProvider, *, prefix: str) -> None:
        self._blobs = blobs
        self._keys = keys
        self._prefix = prefix

    def name(self, id_: str) -> str:
        """Of the blob that holds a backup's key."""
        return f"{self._prefix}{id_}/key.json"

    async def has(self, id_: str) -> bool:
        """Whether there is one."""
        return await self._blobs.head(self.name(id_)) is not None

    async def add(self, id_: str, key: bytes) -> None:
        """Seal a new key of 32 bytes.

        Raises:
            AlreadyExists: there is one.
        """
        await self._blobs.put(self.name(id_), _written([await self._sealed(id_, key, self._keys)]), when=ABSENT)

    async def key(self, id_: str) -> bytes:
        """The key of a backup, opened by the key provider.

        Raises:
            AccessDenied: the provider does not open it.
            Corrupt: it is not there, or is damaged.
        """
        return await self._key(id_, self._keys)

    async def _sealings(self, id_: str) -> list[_Sealing]:
        try:
            return _read(await self._content(self.name(id_)))
        except NotFound as exc:
            raise Corrupt(f"The sealed key of backup {id_} is missing; without it nobody can read the backup.") from exc
        except (ValueError, KeyError, TypeError) as exc:
            raise Corrupt(f"The sealed key of backup {id_} is damaged; without it nobody can read the backup.") from exc

    async def _key(self, id_: str, provider: KeyProvider) -> bytes:
        sealings = await self._sealings(id_)
        for number, (by, wrapped) in enumerate(sealings, 1):
            try:
                return await provider.unwrap(wrapped, context=_context(id_, by))
            except AccessDenied as exc:
                if number == len(sealings):
                    raise AccessDenied(f"The backup {id_} does not open. {exc.message}") from exc
        raise AssertionError("a key is sealed at least once")

    async def offer(self, id_: str, new: KeyProvider) -> None:
        """Let another provider open the backup's key too, until ``rotate``; so that a chain always has one for all.

        Raises:
            AccessDenied: neither provider opens the key.
            Corrupt: it is damaged.
            VersionConflict: somebody else rotates it at the same time.
        """
        await self._seal_again(id_, new, is_last=False)

    async def rotate(self, id_: str, new: KeyProvider) -> None:
        """Seal the backup's key with another provider's alone; its objects stay as they are. Can be repeated.

        Raises:
            AccessDenied: neither provider opens the key.
            Corrupt: it is damaged.
            VersionConflict: somebody else rotates it at the same time.
        """
        await self._seal_again(id_, new, is_last=True)

    async def rotate_all(
        self, places: Callable[[], Awaitable[Iterable[str]]], new: KeyProvider
    ) -> tuple[Sequence[str], Mapping[str, str]]:
        """Seal all keys with another provider's; which ones, and which neither provider opens, with the reason.

        Interrupted, all open with the old key or all with the new one. Can be repeated.

        Args:
            places: asked again until there is nothing new: backups are begun meanwhile.

        Raises:
            AccessDenied, Corrupt: neither provider opens any of them.
            VersionConflict: somebody else rotates them at the same time.
        """
        done, left, seen = list[str](), dict[str, StorycoreError](), set[str]()
        while fresh := sorted(set(await places()) - seen):
            held = [id_ for id_ in fresh if await self.has(id_)]
            left |= {id_: why for id_ in held if (why := await self._closed(id_, new)) is not None}
            if left and not done and len(left) == len(held):
                raise left[held[0]]
            done += (open_ := [id_ for id_ in held if id_ not in left])
            for seal in (self.offer, self.rotate):
                for id_ in open_:
                    with suppress(NotFound):  # pruned meanwhile
                        await seal(id_, new)
            seen |= set(fresh)
        return done, {id_: why.message for id_, why in left.items()}

    async def _closed(self, id_: str, new: KeyProvider) -> StorycoreError | None:
        """Why neither provider opens a key; ``None`` where one does."""
        try:
            await self.key(id_)
        except Corrupt as exc:
            return exc
        except AccessDenied as exc:
            try:
                await self._key(id_, new)
            except AccessDenied:
                return exc
        return None

    async def _seal_again(self, id_: str, new: KeyProvider, *, is_last: bool) -> None:
        info = await self._blobs.head(self.name(id_))
        if info is None:
            raise NotFound(f"There is no backup {id_!r}; `storycore backup list` names them.")
        held = await self._sealings(id_)
        try:
            key = await self.key(id_)
        except AccessDenied:
            await self._key(id_, new)  # an interrupted rotation has been here
            return
        sealed = await self._sealed(id_, key, new)
        data = _written([sealed] if is_last else [held[0], sealed])
        await self._blobs.put(info.key, data, when=BlobMatches(info.version))

    async def _content(self, name: str) -> bytes:
        async with await self._blobs.get(name) as reader:
            return await reader.read()

    async def _sealed(self, id_: str, key: bytes, by: KeyProvider) -> _Sealing:
        return by.identity, await by.wrap(key, context=_context(id_, by.identity))


def _context(id_: str, by: str) -> dict[str, str]:
    """What a sealed key is bound to, so that neither can be exchanged."""
    return {"backup": id_, "provider": by}


def _written(sealings: Sequence[_Sealing]) -> bytes:
    return orjson.dumps(
        {"sealed": [{"provider": by, "wrapped": base64.b64encode(wrapped).decode()} for by, wrapped in sealings]}
    )


def _read(data: bytes) -> list[_Sealing]:
    """What was written, to the letter."""
    held = orjson.loads(data)["sealed"]
    sealings = [(str(each["provider"]), base64.b64decode(each["wrapped"], validate=True)) for each in held]
    if not sealings or _written(sealings) != data:
        raise ValueError("these are not the bytes of a sealed key")
    return sealings
