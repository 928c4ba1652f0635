"""Backups of one store: made, listed, verified, restored and pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

import orjson

from storycore.backup.archive import Archive, Listing
from storycore.backup.making import make_backup
from storycore.backup.manifest import Kind, Manifest
from storycore.backup.restoring import Mode, OnConflict, PortChanges, Selection, plan_restore, restore
from storycore.backup.retention import Made, Retention, kept
from storycore.backup.sources import Source
from storycore.backup.verifying import Level, Scratch, Verification, verify_backup
from storycore.errors import FeedGap, InvalidArgument, NotFound, StorycoreError
from storycore.ports.environment import Environment
from storycore.ports.key_providers import KeyProvider

__all__ = ["Backups", "Created", "Pruned", "Restored"]

_PROOFS: tuple[Level, ...] = ("full", "restore")
"""The levels after which a backup counts as verified."""


@dataclass(frozen=True, slots=True)
class Created:
    """A backup that was made.

    Args:
        manifest: what it consists of.
        reason: why it is a full one, where an increment would have been expected; ``""`` otherwise.
    """

    manifest: Manifest
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored.

    Args:
        backup: the id.
        as_of: the moment whose state it is.
        written: items by port.
    """

    backup: str
    as_of: datetime
    written: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention did, or would do.

    Args:
        kept: ids with the reasons for which they stay.
        removed: ids that went, newest first.
        swept: ids of backups that were never finished, of which remains were removed.
    """

    kept: Mapping[str, Sequence[str]]
    removed: Sequence[str]
    swept: Sequence[str] = field(default=())


class Backups:
    """Backups of one store.

    Args:
        archive: where they lie.
        sources: the store's ports, in the order in which they are restored.
        env: time and randomness.
        store: the store's namespace.
        retention: what ``prune`` keeps.
        zone: of the days, weeks and months of retention.
        max_chain: a new full backup is made after so many increments, 0 to 1000.
        max_share: or when the increments are larger than this share of the full one.
        scratch: opens empty ports, for ``verify`` with a restore.
    """

    def __init__(
        self,
        archive: Archive,
        sources: Sequence[Source],
        env: Environment,
        *,
        store: str,
        scratch: Scratch,
        retention: Retention | None = None,
        zone: tzinfo = UTC,
        max_chain: int = 30,
        max_share: float = 0.3,
    ) -> None:
        self._archive = archive
        self._sources = sources
        self._env = env
        self._store = store
        self._scratch = scratch
        self._retention = Retention() if retention is None else retention
        self._zone = zone
        self._max_chain = max_chain
        self._max_share = max_share

    async def create(
        self, kind: Kind = "manual", *, full: bool = False, progress: Callable[[str, int], None] | None = None
    ) -> Created:
        """Make a backup: an increment over the newest one where that is possible and worth it.

        Weekly and monthly backups are always full. Interrupted, it leaves nothing that counts as a backup.

        Args:
            kind: ``daily``, ``weekly``, ``monthly`` or ``manual``; stands in the id, and retention goes by time alone.
            full: make a full one in any case.
            progress: told the port and how many of its items are done.
        """
        if kind not in ("daily", "weekly", "monthly", "manual"):
            raise InvalidArgument(f"A backup is daily, weekly, monthly or manual, not {kind!r}.")
        parent, reason = (None, "") if full or kind in ("weekly", "monthly") else await self._parent()
        try:
            made = await self._make(kind, parent, progress)
        except FeedGap as exc:
            made, reason = await self._make(kind, None, progress), exc.message
        return Created(made, reason)

    async def list(self) -> Listing:
        """All backups, newest state first, and those whose manifest is damaged."""
        return await self._archive.listing()

    async def show(self, id_: str) -> Manifest:
        """One backup's manifest, checked against its seal; ``latest`` stands for the newest.

        Raises:
            NotFound: there is no such backup.
            AccessDenied: it was made with another key.
            Corrupt: it was changed.
        """
        return await self._archive.manifest(await self._named(id_))

    async def verify(self, id_: str = "latest", *, level: Level = "full") -> Verification:
        """Look whether a backup can be restored; the result is kept beside it, and retention goes by it.

        Args:
            level: ``manifest``, ``sample``, ``full`` or ``restore``; the last restores into an empty store.

        Raises:
            NotFound: there is no such backup.
        """
        id_ = await self._named(id_)
        found = await verify_backup(
            self._archive,
            id_,
            level=level,
            at=self._env.clock.now(),
            random=self._env.random,
            scratch=self._scratch,
        )
        await self._archive.note(id_, orjson.dumps(asdict(found)))
        return found

    async def plan_restore(
        self,
        id_: str = "latest",
        *,
        at: datetime | None = None,
        into: Sequence[Source] | None = None,
        selection: Selection | None = None,
    ) -> dict[str, PortChanges]:
        """What ``restore`` would change, by port; writes nothing."""
        chain = await self._chain(id_, at)
        targets = self._sources if into is None else into
        return await plan_restore(self._archive, chain, targets, selection or Selection())

    async def restore(
        self,
        id_: str = "latest",
        *,
        at: datetime | None = None,
        into: Sequence[Source] | None = None,
        selection: Selection | None = None,
        mode: Mode = "new",
        on_conflict: OnConflict = "fail",
        progress: Callable[[str, int], None] | None = None,
    ) -> Restored:
        """Bring a state back. See ``storycore.backup.restoring.restore``.

        Args:
            id_: which backup; ``latest`` stands for the newest.
            at: instead: the newest backup of a state not after this moment.
            into: the ports of the store that receives; ``None``: this store's own, which is refused with ``new``
                unless they are empty.
        """
        chain = await self._chain(id_, at)
        written = await restore(
            self._archive,
            chain,
            self._sources if into is None else into,
            selection or Selection(),
            mode=mode,
            on_conflict=on_conflict,
            progress=progress,
        )
        return Restored(chain[-1].id, chain[-1].as_of, written)

    async def prune(self, *, dry_run: bool = False, older_than: timedelta = timedelta(days=1)) -> Pruned:
        """Remove what retention does not keep, and what unfinished backups left.

        What a kept backup builds on stays with it, and so does the newest verified chain. Damaged manifests are never
        touched. Interrupted, it can be repeated.

        Args:
            dry_run: only tell.
            older_than: what unfinished backups left is removed when nothing was written to it for so long.
        """
        manifests = (await self._archive.listing()).manifests
        stays = kept([await self._made(each) for each in manifests], self._retention, zone=self._zone)
        removed = [each.id for each in manifests if each.id not in stays]
        for id_ in [] if dry_run else removed:  # children before their parents: newest first
            await self._archive.remove(id_)
        swept = await self._archive.sweep(older_than=older_than, dry_run=dry_run)
        return Pruned(stays, removed, swept)

    async def rotate(self, new: KeyProvider) -> Sequence[str]:
        """Seal the keys of all backups with another provider's; the ids. Repeat it when it was interrupted."""
        done = []
        for manifest in (await self._archive.listing()).manifests:
            await self._archive.rotate(manifest.id, new)
            done.append(manifest.id)
        return done

    async def _make(self, kind: Kind, parent: Manifest | None, progress: Callable[[str, int], None] | None) -> Manifest:
        return await make_backup(
            self._archive, self._sources, kind=kind, store=self._store, parent=parent, progress=progress
        )

    async def _parent(self) -> tuple[Manifest | None, str]:
        """The backup on which the next one builds, or why there is none."""
        own = [each for each in (await self._archive.listing()).manifests if each.store == self._store]
        if not own:
            return None, "it is the first one"
        try:
            chain = await self._archive.chain(own[0].id)
        except StorycoreError as exc:
            return None, exc.message
        first, increments = chain[0], chain[1:]
        if {source.name for source in self._sources} != set(own[0].ports):
            return None, f"the backup {own[0].id} holds other ports"
        if len(increments) >= self._max_chain:
            return None, f"{len(increments)} increments follow each other"
        if sum(each.size_bytes for each in increments) > self._max_share * max(first.size_bytes, 1):
            return None, f"the increments since {first.id} have grown large"
        return await self._if_whole(chain)

    async def _if_whole(self, chain: Sequence[Manifest]) -> tuple[Manifest | None, str]:
        for manifest in chain:
            for info in (info for port in manifest.ports.values() for info in port.objects):
                if await self._archive.size_of(manifest.id, info.name) != info.size_bytes:
                    return None, f"the object {info.name} of the backup {manifest.id} is damaged"
        return chain[-1], ""

    async def _named(self, id_: str) -> str:
        if id_ != "latest":
            return id_
        manifests = (await self._archive.listing()).manifests
        if not manifests:
            raise NotFound("There is no backup yet; `storycore backup create` makes one.")
        return manifests[0].id

    async def _chain(self, id_: str, at: datetime | None) -> Sequence[Manifest]:
        if at is None:
            return await self._archive.chain(await self._named(id_))
        if id_ != "latest":
            raise InvalidArgument("Name a backup or a moment, not both.")
        if at.tzinfo is None:
            raise InvalidArgument(f"The moment {at} has no time zone; write it like 2026-11-22T14:03:07Z.")
        for manifest in (await self._archive.listing()).manifests:
            if manifest.as_of <= at:
                return await self._archive.chain(manifest.id)
        raise NotFound(f"No backup holds a state of {at} or before.")

    async def _made(self, manifest: Manifest) -> Made:
        note = await self._archive.noted(manifest.id)
        is_verified = note is not None and _is_proof(note)
        return Made(manifest.id, manifest.as_of, manifest.parent, is_verified=is_verified)


def _is_proof(note: bytes) -> bool:
    """Whether a verification read everything and found nothing; a damaged note proves nothing."""
    try:
        found = orjson.loads(note)
        return found["level"] in _PROOFS and not found["problems"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
