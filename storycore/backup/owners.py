"""Owners: what belongs to one user is sealed with a key of that user's own, so that destroying it erases the user.

<prefix>owners/key.json      the key over all others, sealed by a key provider
<prefix>owners/<hash>.json   an owner's key, sealed by that one; or that it was destroyed
<prefix>owners/erased.json   which ones were destroyed, and when the last one was

In an object, entries of one owner that follow each other lie in a capsule. Beside what is sealed it has the marks of
their keys, so that entries in front are still covered when nobody can open it any more.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby

import orjson

from storycore.backup.entries import KEY_MARK_BYTES, Entry, OwnerOf, pack, unpacked
from storycore.backup.frames import KEY_BYTES
from storycore.backup.manifest import ObjectInfo
from storycore.backup.objects import Place
from storycore.errors import AlreadyExists, Corrupt, NotFound, Unavailable, VersionConflict
from storycore.ports.blobs import BlobCondition, BlobMatches
from storycore.ports.conditions import ABSENT

__all__ = ["HASH_BYTES", "OWNERS", "Keyring", "erase", "named", "owner_hash"]

OWNERS = "owners"
"""Where their keys lie in an archive."""

HASH_BYTES = 16
"""Of what stands for an owner, with which the name of a key begins."""
_ID_BYTES = 8
_NONCE_BYTES = 12
_LEVEL = 3
_COUNT = struct.Struct("<I")
_TRIES = 5
_ABOUT_NAME = b"storycore-backup-owner-of-content"


class Keyring:
    """The keys of owners, remembered as long as one backup is made or one object is read.

    Args:
        made: asked when one is first written where they lie, with the key over all of them; makes that key.
        place: the same when one is first read; makes nothing.
    """

    def __init__(self, made: Callable[[], Awaitable[Place]], place: Callable[[], Awaitable[Place]]) -> None:
        self._make = made
        self._ask = place
        self._place: Place | None = None
        self._known: dict[bytes, _Held] = {}
        self._used: set[bytes] = set()

    async def enclosed(self, port: str, entries: Sequence[Entry], owner_of: OwnerOf) -> list[Entry]:
        """The same entries, those with an owner in capsules; what is gone leaves no more than its mark."""
        found: list[Entry] = []
        bare = [Entry(each.mark, None, is_marked=True) if each.item is None else each for each in entries]
        for owner, run in groupby(bare, key=lambda each: owner_of(port, each)):
            held = list(run)
            found += held if owner is None else [await self._capsule(owner_hash(owner), held)]
        return found

    async def opened(self, entries: Sequence[Entry]) -> list[Entry]:
        """The same entries out of their capsules; of an owner who was erased they are gone.

        Raises:
            Corrupt: a capsule was changed, or its owner's key is missing though nobody destroyed it.
        """
        found: list[Entry] = []
        for entry in entries:
            found += await self._content(entry) if entry.is_capsule else [entry]
        return found

    @property
    def used(self) -> Sequence[bytes]:
        """What stands for each key that has sealed something: of its owner and of itself, ascending."""
        return sorted(self._used)

    async def sealing(self, place: Place, owner: str) -> tuple[Place, str]:
        """A backup's place with an owner's key instead of the backup's; and which key that is, for the manifest."""
        hashed = owner_hash(owner)
        id_, key = await self._key(hashed)
        named = _sealed(_naming(place), _ABOUT_NAME, hashed + id_, is_packed=False)
        return replace(place, key=key), base64.b64encode(named).decode()

    async def opening(self, place: Place, info: ObjectInfo) -> Place | None:
        """A backup's place with the key that opens a content; ``None``: that key was destroyed.

        Raises:
            Corrupt: the manifest does not say whose it is, or that key is missing though nobody destroyed it.
        """
        if not info.owner:
            return place
        named = _opened(_naming(place), _ABOUT_NAME, base64.b64decode(info.owner), is_packed=False)
        key = await self._opener(named[:HASH_BYTES], named[HASH_BYTES:])
        return None if key is None else replace(place, key=key)

    async def _opener(self, owner: bytes, id_: bytes) -> bytes | None:
        """An owner's key, if it is still the one with this id; ``None``: it was destroyed."""
        if owner not in self._known:
            self._known[owner] = await self._held(owner)
        held = self._known[owner]
        if id_ != held.id and id_ not in held.gone:
            raise _lost(owner)  # it was lost, and another one was made since
        return held.key if held.id == id_ else None

    async def _capsule(self, owner: bytes, entries: Sequence[Entry]) -> Entry:
        id_, key = await self._key(owner)
        head = owner + id_
        marks = b"".join(entry.mark for entry in entries)
        sealed = await asyncio.to_thread(_sealed, key, head + marks, b"".join(map(pack, entries)))
        return Entry(head, _COUNT.pack(len(entries)) + marks + sealed, is_capsule=True)

    async def _content(self, capsule: Entry) -> list[Entry]:
        item = capsule.item or b""
        if len(item) < _COUNT.size or len(capsule.key) != HASH_BYTES + _ID_BYTES:
            raise Corrupt("A capsule of the backup is cut off.")
        end = _COUNT.size + _COUNT.unpack_from(item)[0] * KEY_MARK_BYTES
        marks = item[_COUNT.size : end]
        owner, id_ = capsule.key[:HASH_BYTES], capsule.key[HASH_BYTES:]
        key = await self._opener(owner, id_)
        if key is None:
            size = KEY_MARK_BYTES
            gone = [marks[start : start + size] for start in range(0, len(marks), size)]
            return [Entry(mark, None, is_marked=True, is_erased=True) for mark in gone]
        content = await asyncio.to_thread(_opened, key, capsule.key + marks, item[end:])
        return list(unpacked([content]))

    async def _where(self, ask: Callable[[], Awaitable[Place]]) -> Place:
        if self._place is None:
            self._place = await ask()
        return self._place

    async def _held(self, owner: bytes) -> _Held:
        try:
            return await _read(await self._where(self._ask), owner)
        except NotFound as exc:
            raise _lost(owner) from exc

    async def _key(self, owner: bytes) -> tuple[bytes, bytes]:
        """An owner's key, which now seals something; it is made where there is none, or none any more."""
        id_, key = await self._made_key(owner)
        self._used.add(owner + id_)
        return id_, key

    async def _made_key(self, owner: bytes) -> tuple[bytes, bytes]:
        for _ in range(_TRIES):
            held = self._known.get(owner, _Held())
            if held.key is not None:
                return held.id, held.key
            with suppress(NotFound):
                held = await _read(await self._where(self._make), owner)
            if held.key is None:
                gone = held.gone | ({held.id} if held.id else set())
                held = replace(held, id=secrets.token_bytes(_ID_BYTES), key=secrets.token_bytes(KEY_BYTES), gone=gone)
                try:
                    await _write(await self._where(self._make), owner, held)
                except (AlreadyExists, VersionConflict):  # somebody else made one meanwhile
                    continue
            self._known[owner] = held
            return await self._made_key(owner)
        raise Unavailable(f"Others write the key of an owner ({owner.hex()}) all the time; try again.")


async def named(place: Place, owner: str) -> bytes | None:
    """What stands for an owner's key in ``Keyring.used`` and in capsules; ``None``: there is none, or none any more."""
    hashed = owner_hash(owner)
    try:
        held = await _read(place, hashed)
    except NotFound:
        return None
    return None if held.key is None else hashed + held.id


async def erase(place: Place, owner: str) -> bool:
    """Destroy an owner's key: what it sealed cannot be read any more, in no backup. Can be repeated.

    What the store still has of the owner comes into later full backups with a new key, so delete it there first.

    Returns:
        whether there was a key.

    Raises:
        VersionConflict: a backup makes a new key at the same time; repeat it.
    """
    try:
        held = await _read(place, owner_hash(owner))
    except NotFound:
        return False
    if held.key is not None:
        await _write(place, owner_hash(owner), replace(held, key=None))
    return held.key is not None


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept of an owner's key.

    Args:
        id: of the key; empty where there never was one.
        key: ``None``: it was destroyed.
        gone: ids of those before it, which were destroyed; one that is not among them was lost.
        when: the condition under which it is replaced.
    """

    id: bytes = b""
    key: bytes | None = None
    gone: frozenset[bytes] = frozenset()
    when: BlobCondition = ABSENT


async def _read(place: Place, owner: bytes) -> _Held:
    async with await place.blobs.get(_name(place, owner)) as reader:
        data, version = await reader.read(), reader.info.version
    try:
        held = orjson.loads(data)
        id_, wrapped, seal = bytes.fromhex(held["id"]), base64.b64decode(held["wrapped"], validate=True), held["seal"]
        gone = frozenset(bytes.fromhex(each) for each in held["gone"])
    except (ValueError, KeyError, TypeError) as exc:
        raise _damaged(owner) from exc
    if not hmac.compare_digest(_seal(place, owner, id_, gone, wrapped).encode(), str(seal).encode()):
        raise _damaged(owner)
    key = _opened(place.key, owner + id_, wrapped, is_packed=False) if wrapped else None
    return _Held(id_, key, gone, BlobMatches(version))


async def _write(place: Place, owner: bytes, held: _Held) -> None:
    wrapped = b"" if held.key is None else _sealed(place.key, owner + held.id, held.key, is_packed=False)
    data = {
        "id": held.id.hex(),
        "gone": sorted(each.hex() for each in held.gone),
        "wrapped": base64.b64encode(wrapped).decode(),
        "seal": _seal(place, owner, held.id, held.gone, wrapped),
    }
    await place.blobs.put(_name(place, owner), orjson.dumps(data), when=held.when)


def _name(place: Place, owner: bytes) -> str:
    return f"{place.folder}{owner.hex()}.json"


def owner_hash(owner: str) -> bytes:
    """What stands for an owner in an archive."""
    return sha256(b"storycore owner\n" + owner.encode()).digest()[:HASH_BYTES]


def _seal(place: Place, owner: bytes, id_: bytes, gone: frozenset[bytes], wrapped: bytes) -> str:
    own = hmac.digest(place.key, b"storycore-backup-owner", "sha256")
    about = owner + id_ + _COUNT.pack(len(gone)) + b"".join(sorted(gone))
    return hmac.new(own, about + wrapped, sha256).hexdigest()


def _naming(place: Place) -> bytes:
    """The key that seals whose a content is: made from the backup's, for that alone."""
    return hmac.digest(place.key, _ABOUT_NAME, "sha256")


def _lost(owner: bytes) -> Corrupt:
    return Corrupt(
        f"The key of an owner ({owner.hex()}) is missing, and nobody destroyed it; what belongs to that owner is lost."
    )


def _damaged(owner: bytes) -> Corrupt:
    return Corrupt(f"The key of an owner ({owner.hex()}) was changed; what belongs to that owner is lost.")


def _sealed(key: bytes, about: bytes, content: bytes, *, is_packed: bool = True) -> bytes:
    from backports import zstd
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, zstd.compress(content, _LEVEL) if is_packed else content, about)


def _opened(key: bytes, about: bytes, sealed: bytes, *, is_packed: bool = True) -> bytes:
    from backports import zstd
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        content = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
    except (InvalidTag, ValueError) as exc:
        raise Corrupt("A capsule of the backup, or an owner's key, was changed or belongs elsewhere.") from exc
    return zstd.decompress(content) if is_packed else content
