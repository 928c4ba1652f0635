"""States: which backups of a store are meant by ``latest``, by an id, or by a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from storycore.backup.archive import Archive
from storycore.backup.manifest import Manifest
from storycore.backup.recordings import Recordings, Tail
from storycore.errors import AccessDenied, Corrupt, InvalidArgument, NotFound, StorycoreError

__all__ = ["States"]


class States:
    """The states of one store that its backups and recordings hold.

    Args:
        archive: where they lie.
        recordings: of the store.
        store: its namespace.
    """

    def __init__(self, archive: Archive, recordings: Recordings, *, store: str) -> None:
        self._archive = archive
        self._recordings = recordings
        self._store = store

    async def own(self) -> Sequence[Manifest]:
        """The store's backups among those that lie there, newest state first; not checked against their seals."""
        return [each for each in (await self._archive.listing()).manifests if each.store == self._store]

    async def sealed(self) -> tuple[Sequence[Manifest], Mapping[str, str]]:
        """Those of them whose manifests bear their seals; and the ids of the others, with the reasons.

        Raises:
            AccessDenied, Corrupt: there are some, and none opens: the key is wrong.
        """
        found, unread = list[Manifest](), dict[str, StorycoreError]()
        for listed in await self.own():
            try:
                found.append(await self._archive.manifest(listed.id))
            except NotFound:
                continue  # removed since it was listed
            except (AccessDenied, Corrupt) as exc:
                unread[listed.id] = exc
        if unread and not found:
            raise min(unread.values(), key=lambda exc: not isinstance(exc, AccessDenied))
        return found, {id_: exc.message for id_, exc in unread.items()}

    async def named(self, id_: str) -> str:
        """An id, where ``latest`` stands for the newest of the store's backups.

        Raises:
            NotFound: there is none yet.
        """
        if id_ != "latest":
            return id_
        own = await self.own()
        if not own:
            raise NotFound(
                f"There is no backup of the store {self._store!r} yet; `storycore backup create` makes one, and those "
                "of other stores are reached by the ids that `storycore backup list` shows."
            )
        return own[0].id

    async def chain(self, id_: str, at: datetime | None) -> tuple[Sequence[Manifest], Tail | None]:
        """The backups of which a state consists, and what was recorded behind them.

        A moment's backup is the newest before it whose manifests are whole.

        Raises:
            InvalidArgument: a backup and a moment are named, or the moment has no time zone.
            NotFound: there is no such backup, or none that is old enough.
            Corrupt: of those that are old enough all are damaged.
        """
        if at is None:
            return await self._archive.chain(await self.named(id_)), None
        if id_ != "latest":
            raise InvalidArgument("Name a backup or a moment, not both.")
        if at.tzinfo is None:
            raise InvalidArgument(f"The moment {at} has no time zone; write it like 2026-11-22T14:03:07Z.")
        damage: Corrupt | None = None
        for manifest in await self.own():
            if manifest.as_of <= at:
                try:
                    chain = await self._archive.chain(manifest.id)
                except Corrupt as exc:  # what was recorded behind the one in front leads to the same moment
                    damage = damage or exc
                    continue
                return chain, await self._recordings.tail(chain[-1], at)
        raise damage or NotFound(f"No backup holds a state of {at} or before.")
