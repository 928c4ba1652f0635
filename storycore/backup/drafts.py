"""Drafts: backups that are being made, until their manifest is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from storycore.backup.entries import Entry, OwnerOf
from storycore.backup.lanes import Lane
from storycore.backup.manifest import Kind, Manifest, ObjectInfo, PortContent
from storycore.backup.objects import ObjectWriter, Place
from storycore.backup.owners import OWNERS
from storycore.errors import StorycoreError
from storycore.ports.environment import Environment

if TYPE_CHECKING:
    from storycore.backup.archive import Archive

__all__ = ["Draft"]


class Draft:
    """A backup that is being made; made by ``Archive.begin``."""

    def __init__(
        self,
        archive: Archive,
        place: Place,
        kind: Kind,
        *,
        store: str,
        parent: str | None,
        started_at: datetime,
        env: Environment,
        owner_of: OwnerOf | None = None,
    ) -> None:
        self._archive = archive
        self._keyring = archive.keyring()
        self._owner_of = owner_of
        self.lane = Lane()
        self._place = place
        self._kind: Kind = kind
        self._store = store
        self._parent = parent
        self._started_at = started_at
        self._env = env

    @property
    def id(self) -> str:
        """The id that the backup will have."""
        return self._place.backup

    @property
    def place(self) -> Place:
        """Where its objects lie, with its key."""
        return self._place

    @property
    def seals_owners(self) -> bool:
        """Whether what belongs to somebody is sealed with a key of his own."""
        return self._owner_of is not None

    async def enclosed(self, port: str, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The same entries, those that belong to somebody in capsules."""
        return entries if self._owner_of is None else await self._keyring.enclosed(port, entries, self._owner_of)

    async def sealing(self, port: str, entry: Entry) -> tuple[Place, str]:
        """Where a content that lies outside its entry is written, with the key that seals it; and whose key that is."""
        owner = None if self._owner_of is None else self._owner_of(port, entry)
        return (self._place, "") if owner is None else await self._keyring.sealing(self._place, owner)

    def writer(self, stem: str) -> ObjectWriter:
        """Writes objects whose names begin with ``stem``, which is used once."""
        return ObjectWriter(self._place, stem, self.lane)

    async def commit(self, ports: Mapping[str, PortContent], *, as_of: datetime) -> Manifest:
        """Write the manifest; the backup exists when this returns."""
        owners = None if self._owner_of is None else await self._owners()
        manifest = Manifest(
            id=self.id,
            kind=self._kind,
            parent=self._parent,
            store=self._store,
            started_at=self._started_at,
            as_of=as_of,
            finished_at=self._env.clock.now(),
            ports=ports,
            version=version("storycore"),
            owners=owners,
        )
        await self._archive.commit(manifest, self._place.key)
        self.lane.close()
        return manifest

    async def _owners(self) -> tuple[ObjectInfo, ...]:
        """Note which keys of owners were used, so that it need not be searched for."""
        writer = self.writer(OWNERS)
        try:
            await writer.add(Entry(key, None) for key in self._keyring.used)
            return await writer.close()
        except BaseException:
            await writer.abandon()
            raise

    async def abandon(self) -> None:
        """Remove what was written; the manifest first, which may have come to be when nobody heard of it.

        What cannot be removed now is left to ``Archive.sweep``, for the error that ended the backup is the one to tell.
        """
        self.lane.close()
        with suppress(StorycoreError):
            await self._archive.remove(self.id)
