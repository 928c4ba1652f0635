"""Proofs: what a verification found is kept beside the backup, under a seal, and retention goes by it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

import orjson

from storycore.backup.archive import Archive
from storycore.backup.manifest import Manifest
from storycore.backup.retention import Made
from storycore.backup.verifying import Level, Verification
from storycore.errors import AccessDenied, Corrupt, NotFound, StorycoreError

__all__ = ["in_words", "keep", "made_of", "newest_proven"]

_PROOFS: tuple[Level, ...] = ("full", "restore")
"""The levels after which a backup counts as verified."""


async def keep(archive: Archive, found: Verification) -> Verification:
    """Keep what was found; the same, which says why where it could not be kept.

    A look that found nothing does not take the place of one that looked closer. Whoever does not open the backup has
    proved nothing about it, and leaves what was found before.
    """
    try:
        await _keep(archive, found)
    except StorycoreError as exc:  # a full disk, or a key that may only read: what was found is as true
        return replace(found, unkept=exc.message)
    return found


async def _keep(archive: Archive, found: Verification) -> None:
    try:
        key = await archive.key(found.backup)
    except AccessDenied:
        return
    except Corrupt:
        await archive.forget(found.backup)
        return
    if found.is_whole and found.level not in _PROOFS and _is_proof(await archive.noted(found.backup), key):
        return
    said = orjson.loads(orjson.dumps(asdict(found)))
    await archive.note(found.backup, orjson.dumps({"found": said, "seal": _seal(said, key)}))


async def in_words(archive: Archive, id_: str) -> str:
    """What was found at last, its seal unseen; ``""`` where nobody looked."""
    note = await archive.noted(id_)
    if note is None:
        return ""
    found = _read(note)
    level, problems = found.get("level", "unreadable"), found.get("problems")
    return f"{level}, {len(problems)} problems" if isinstance(problems, list) and problems else str(level)


async def made_of(archive: Archive, manifest: Manifest, *, pin: str = "") -> Made:
    """What retention looks at; the manifest's seal has been seen."""
    is_verified = await _is_verified(archive, manifest.id)
    return Made(manifest.id, manifest.as_of, manifest.parent, is_verified=is_verified, pin=pin)


async def _is_verified(archive: Archive, id_: str) -> bool:
    note = await archive.noted(id_)
    if note is None:
        return False
    try:
        return _is_proof(note, await archive.key(id_))
    except Corrupt:
        if await archive.has(id_):
            raise
        return False  # another prune was faster


async def newest_proven(archive: Archive, listed: Sequence[Manifest]) -> Manifest | None:
    """The first of the listed backups that bears its seal and counts as verified; those without a note are passed over.

    Args:
        listed: newest first; not checked against their seals.
    """
    for each in listed:
        note = await archive.noted(each.id)
        with suppress(AccessDenied, Corrupt, NotFound):
            if note is not None and _is_proof(note, await archive.key(each.id)):
                return await archive.manifest(each.id)
    return None


def _is_proof(note: bytes | None, key: bytes) -> bool:
    """Whether it says that everything was read and nothing was found; a note without its seal proves nothing."""
    if note is None or not (found := _read(note)):
        return False
    seal = str(orjson.loads(note).get("seal"))
    is_sealed = hmac.compare_digest(_seal(found, key).encode(), seal.encode())
    return is_sealed and found.get("level") in _PROOFS and not found.get("problems")


def _read(note: bytes) -> Mapping[str, Any]:  # Any: JSON
    """What the note says; nothing where it is damaged."""
    try:
        found = orjson.loads(note)["found"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _seal(found: Mapping[str, Any], key: bytes) -> str:  # Any: JSON
    own = hmac.digest(key, b"storycore-backup-verified", "sha256")
    return hmac.new(own, orjson.dumps(found, option=orjson.OPT_SORT_KEYS), sha256).hexdigest()
