"""Erasing: an owner's key is destroyed, and it is told what becomes unreadable by that, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from storycore.backup.archive import Archive
from storycore.backup.erasures import note_erasure
from storycore.backup.manifest import Manifest
from storycore.backup.owners import OWNERS, erase, named
from storycore.backup.segments import Series
from storycore.errors import ConfigError, InvalidArgument, NotFound, StorycoreError

__all__ = ["Erased", "erased"]


@dataclass(frozen=True, slots=True)
class Erased:
    """What the destruction of an owner's key did, or would do.

    Args:
        owner: whose key.
        had_key: whether there was one.
        backups: ids of those that held something sealed with it, newest state first.
        recordings: ids of the backups behind which changes sealed with it were recorded.
        unsealed: ids of backups, and of those behind which there are recordings, that were made without keys of owners:
            what they hold of anybody stays readable until retention removes them.
        unread: ids that could not be looked into, with the reason; they are erased all the same.
    """

    owner: str
    had_key: bool
    backups: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()
    unsealed: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)


async def erased(archive: Archive, owner: str, *, at: datetime, seals_owners: bool, dry_run: bool = False) -> Erased:
    """Destroy an owner's key; see ``Backups.erase``.

    Args:
        at: the present.
        seals_owners: whether new backups give owners keys.
        dry_run: only look.
    """
    if not isinstance(owner, str) or not owner:
        raise InvalidArgument(f"Whoever is erased is named by the id of the user, not {owner!r}.")
    has_keys = await archive.sealed_keys.has(OWNERS)
    key = await named(await archive.place(OWNERS), owner) if has_keys else None
    if key is None and not seals_owners:
        raise ConfigError(
            f"Backups of this profile give users no keys of their own, so nothing can be erased of {owner!r}; set "
            "backup.owner_keys = true for those to come, and let retention remove the others.",
            path="backup.owner_keys",
        )
    found = await _Looking(archive, key).found(owner)
    if key is not None and not dry_run:
        place = await archive.place(OWNERS)
        await note_erasure(place, key, at=at)
        await erase(place, owner)
    return found


class _Looking:
    """One look through an archive for what a key has sealed."""

    def __init__(self, archive: Archive, key: bytes | None) -> None:
        self._archive = archive
        self._key = key
        self._unsealed: list[str] = []
        self._unread: dict[str, str] = {}

    async def found(self, owner: str) -> Erased:
        listing = await self._archive.listing()
        self._unread |= listing.damaged
        backups = [each.id for each in listing.manifests if await self._is_in_backup(each)]
        recordings = [id_ for id_ in sorted(await self._archive.recordings()) if await self._is_in_recording(id_)]
        return Erased(
            owner,
            self._key is not None,
            tuple(backups),
            tuple(recordings),
            tuple(dict.fromkeys(self._unsealed)),
            self._unread,
        )

    async def _is_in_backup(self, manifest: Manifest) -> bool:
        is_in = False
        try:
            manifest = await self._archive.manifest(manifest.id)
            if manifest.owners is None:
                self._unsealed.append(manifest.id)
            reader = await self._archive.reader(manifest.id)
            for info in manifest.owners or ():
                async for entries in reader.frames(info):
                    is_in = is_in or any(entry.key == self._key for entry in entries)
        except NotFound:  # removed since it was listed
            return False
        except StorycoreError as exc:
            self._unread[manifest.id] = exc.message
        return is_in

    async def _is_in_recording(self, id_: str) -> bool:
        is_in = False
        try:
            series = Series(await self._archive.place(f"segments/{id_}"))
            for number in await series.numbers():
                segment = await series.read(number)
                if not segment.head.seals_owners:
                    self._unsealed.append(id_)
                is_in = is_in or any(entry.is_capsule and entry.key == self._key for _, entry in segment.changes)
        except StorycoreError as exc:
            self._unread[id_] = exc.message
        return is_in
