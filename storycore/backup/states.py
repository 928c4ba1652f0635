"""States: which backups of a store are meant by ``latest``, by an id, or by a moment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from storycore.backup.archive import Archive, Listing
from storycore.backup.manifest import Manifest
from storycore.backup.recordings import Recordings, Tail
from storycore.backup.seals import Unread, first_sealed, in_words, sealed_among, worst
from storycore.errors import Corrupt, InvalidArgument, NotFound, StorycoreError

__all__ = ["States"]

_LONGEST = timedelta(days=7)
"""No backup takes so long from its beginning, which its id names, to the moment whose state it holds."""


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
        return self._own(await self._archive.listing())

    async def sealed(self, listing: Listing) -> tuple[Sequence[Manifest], Unread]:
        """The store's backups in a listing whose manifests bear their seals; and the others, with the reasons.

        Raises:
            AccessDenied, Corrupt: there are some, and none opens: the key is wrong.
        """
        found, unread = await sealed_among(self._archive, self._own(listing))
        if unread and not found:
            raise worst(unread)[1]
        return found, unread

    async def newest(self) -> tuple[Manifest | None, Unread]:
        """The newest of the store's backups whose manifest bears its seal; and what claims to be newer without one."""
        newest: Manifest | None = None
        listed, unread = dict[str, Manifest](), dict[str, StorycoreError]()
        async with aclosing(self._archive.catalogue.by_beginning()) as lists:
            async for manifests, rest in lists:
                own = [each for each in manifests if each.store == self._store]
                listed |= {each.id: each for each in own}
                sealed, others = await first_sealed(self._archive, own)
                unread |= others
                newest = max(filter(None, (newest, sealed)), key=_place, default=None)
                if newest is not None and rest is not None and rest < newest.as_of - _LONGEST:
                    break
        return newest, {
            id_: why for id_, why in unread.items() if newest is None or _place(listed[id_]) > _place(newest)
        }

    async def left_out(self, id_: str = "latest", at: datetime | None = None) -> tuple[str, ...]:
        """What claims to be the backup of such a state, and is not counted as one, in sentences."""
        if id_ != "latest":
            return ()
        _, unread = await first_sealed(self._archive, await self._until(at))
        return in_words(unread)

    async def named(self, id_: str) -> str:
        """An id, where ``latest`` stands for the newest of the store's backups whose manifest bears its seal.

        Where none does it is one of them all the same: whoever opens it hears why.

        Raises:
            NotFound: there is none yet.
        """
        if id_ != "latest":
            return id_
        newest, unread = await self.newest()
        if newest is not None:
            return newest.id
        if unread:
            return worst(unread)[0]
        raise NotFound(
            f"There is no backup of the store {self._store!r} yet; `storycore backup create` makes one, and those "
            "of other stores are reached by the ids that `storycore backup list` shows."
        )

    async def chain(self, id_: str, at: datetime | None) -> tuple[Sequence[Manifest], Tail | None]:
        """The backups of which a state consists, and what was recorded behind them.

        A moment's backup is the newest before it whose manifests are whole.

        Raises:
            InvalidArgument: a backup and a moment are named, or the moment has no time zone.
            NotFound: there is no such backup, or none that is old enough.
            AccessDenied, Corrupt: of those that are old enough none opens, or all are damaged.
        """
        if at is None:
            return await self._archive.chain(await self.named(id_)), None
        if id_ != "latest":
            raise InvalidArgument("Name a backup or a moment, not both.")
        if at.tzinfo is None:
            raise InvalidArgument(f"The moment {at} has no time zone; write it like 2026-11-22T14:03:07Z.")
        damage: StorycoreError | None = None
        left = await self._until(at)
        while left:
            newest, unread = await first_sealed(self._archive, left)
            damage = damage or (worst(unread)[1] if unread else None)
            if newest is None:
                break
            left = left[[each.id for each in left].index(newest.id) + 1 :]
            try:
                chain = await self._archive.chain(newest.id)
            except Corrupt as exc:  # what was recorded behind the one in front leads to the same moment
                damage = damage or exc
                continue
            return chain, await self._recordings.tail(chain[-1], at)
        raise damage or NotFound(f"No backup holds a state of {at} or before.")

    def _own(self, listing: Listing) -> list[Manifest]:
        return [each for each in listing.manifests if each.store == self._store]

    async def _until(self, at: datetime | None) -> Sequence[Manifest]:
        """The store's backups up to a moment, newest state first."""
        return [each for each in await self.own() if at is None or each.as_of <= at]


def _place(manifest: Manifest) -> tuple[datetime, str]:
    """Which of two is newer."""
    return manifest.as_of, manifest.id
