"""Erasures: the note of whose keys were destroyed, by which the next backup knows what it has to store anew.

<prefix>owners/erased.json   when a key was last destroyed, and which ones were
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import orjson

from storycore.backup.archive import Archive
from storycore.backup.entries import Entry, OwnerOf
from storycore.backup.manifest import Manifest
from storycore.backup.objects import Place
from storycore.backup.owners import HASH_BYTES, OWNERS, owner_hash
from storycore.errors import AlreadyExists, Corrupt, NotFound, Unavailable, VersionConflict
from storycore.ports.blobs import BlobCondition, BlobMatches
from storycore.ports.conditions import ABSENT

__all__ = ["Erasures", "Lost", "erasures", "lost_since", "note_erasure"]

_NOTE = "erased.json"
_TRIES = 5
_SKEW = timedelta(hours=1)
"""The clocks of those who erase and of those who back up agree better than that."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Erasures:
    """Whose keys were destroyed.

    Args:
        at: when the last one was.
        known_since: which ones were destroyed until then was not noted.
        keys: which ones were since, as ``Keyring.used`` names them.
    """

    at: datetime
    known_since: datetime = _NEVER
    keys: frozenset[bytes] = frozenset()

    def is_behind(self, manifest: Manifest) -> bool:
        """Whether somebody was erased since a backup was begun, as far as clocks can tell."""
        return self.at >= manifest.started_at - _SKEW

    def tells_all_of(self, chain: Sequence[Manifest]) -> bool:
        """Whether every key that was destroyed since a chain was begun is among them."""
        return self.known_since < chain[0].started_at - _SKEW


@dataclass(frozen=True, slots=True)
class Lost:
    """What a chain holds of owners who were erased, and nobody can read any more: an item of theirs is stored anew.

    Args:
        owners: their hashes.
        owner_of: says to whom an entry belongs.
    """

    owners: frozenset[bytes]
    owner_of: OwnerOf

    def has(self, port: str, entry: Entry) -> bool:
        """Whether what the chain has of an item may be lost."""
        owner = self.owner_of(port, entry) if self.owners else None
        return owner is not None and owner_hash(owner) in self.owners


async def erasures(archive: Archive) -> Erasures | None:
    """What was noted; ``None``: nobody was erased.

    Raises:
        Corrupt: the note was changed or is damaged.
    """
    if not await archive.sealed_keys.has(OWNERS):
        return None
    return (await _read(await archive.place(OWNERS)))[0]


async def note_erasure(place: Place, key: bytes, *, at: datetime) -> None:
    """Note that a key is being destroyed; before it is, so that none is destroyed unnoted."""
    for _ in range(_TRIES):
        try:
            held, when = await _read(place)
        except Corrupt:
            await place.blobs.delete([place.folder + _NOTE])
            held, when = Erasures(at, known_since=at), ABSENT
        keys = {key} if held is None else held.keys | {key}
        noted = Erasures(at, _NEVER if held is None else held.known_since, frozenset(keys))
        try:
            await place.blobs.put(place.folder + _NOTE, _written(place, noted), when=when)
        except (AlreadyExists, VersionConflict):  # somebody else is erased at the same time
            continue
        return
    raise Unavailable("Others are erased all the time; try again.")


async def lost_since(archive: Archive, chain: Sequence[Manifest], owner_of: OwnerOf, noted: Erasures) -> Lost | None:
    """What a chain no longer gives back; ``None``: nobody was erased since its last backup was begun."""
    if not noted.is_behind(chain[-1]):
        return None
    used: set[bytes] = set()
    for manifest in chain:
        reader = await archive.reader(manifest.id)
        for info in manifest.owners or ():
            async for entries in reader.frames(info):
                used |= {entry.key for entry in entries}
    return Lost(frozenset(key[:HASH_BYTES] for key in used & noted.keys), owner_of)


async def _read(place: Place) -> tuple[Erasures | None, BlobCondition]:
    try:
        async with await place.blobs.get(place.folder + _NOTE) as reader:
            data, version = await reader.read(), reader.info.version
    except NotFound:
        return None, ABSENT
    return _noted(place, data), BlobMatches(version)


def _noted(place: Place, data: bytes) -> Erasures:
    try:
        held = orjson.loads(data)
        at, keys = str(held["at"]), [str(key) for key in held.get("keys", ())]
        since = str(held.get("since", at))
        is_sealed = hmac.compare_digest(_seal(place, at), str(held["seal"]))
        if "keys" in held:
            is_sealed = is_sealed and hmac.compare_digest(_seal(place, at, since, *keys), str(held["seal_of_keys"]))
        if is_sealed:
            moments = datetime.fromisoformat(at), datetime.fromisoformat(since) if since else _NEVER
            return Erasures(*moments, frozenset(map(bytes.fromhex, keys)))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _damaged() from exc
    raise _damaged()


def _written(place: Place, noted: Erasures) -> bytes:
    at, keys = noted.at.isoformat(), sorted(key.hex() for key in noted.keys)
    since = "" if noted.known_since == _NEVER else noted.known_since.isoformat()
    seals = {"seal": _seal(place, at), "seal_of_keys": _seal(place, at, since, *keys)}
    return orjson.dumps({"at": at, "since": since, "keys": keys, **seals})


def _seal(place: Place, *parts: str) -> str:
    own = hmac.digest(place.key, b"storycore-backup-erased", "sha256")
    return hmac.new(own, "\n".join(parts).encode(), sha256).hexdigest()


def _damaged() -> Corrupt:
    return Corrupt("The note that says when somebody was last erased was changed or is damaged")
