"""Backups of one store: made, listed, verified, restored and pruned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

import orjson

from storycore.backup.archive import Archive, Listing
from storycore.backup.keys import KeyFile, new_key_file
from storycore.backup.making import make_backup
from storycore.backup.manifest import Kind, Manifest
from storycore.backup.outcomes import Created, Pruned, Restored
from storycore.backup.restoring import Mode, OnConflict, PortChanges, Selection, plan_restore, restore
from storycore.backup.retention import Made, Retention, kept
from storycore.backup.sources import Source
from storycore.backup.verifying import Level, Scratch, Verification, verify_backup
from storycore.errors import ConfigError, FeedGap, InvalidArgument, NotFound, StorycoreError
from storycore.ports.environment import Environment
from storycore.ports.key_providers import KeyProvider

__all__ = ["Backups", "Created", "Pruned", "Restorable", "Restored"]

_PROOFS: tuple[Level, ...] = ("full", "restore")
"""The levels after which a backup counts as verified."""
_UNDER_WAY = timedelta(hours=1)
"""A backup of which nothing has been written for so long is not under way any more."""


class Restorable(Protocol):
    """A store, as far as a restore into it is concerned."""

    @property
    def backups(self) -> Backups:
        """Its own backups, which know its ports."""
        ...


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
        key_file: made with the first backup, where the archive's keys are sealed with it.
        ensure: creates what the ports need; one sentence for each thing that it created.
        settle: called when a restore has changed the ports: what was cached is outdated.
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
        key_file: KeyFile | None = None,
        ensure: Callable[[], Awaitable[object]] | None = None,
        settle: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._key_file = key_file
        self._ensure = ensure
        self._settle = settle
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

        Raises:
            ConfigError: the key is missing, and there are backups that need it.
            NotProvisioned: the place for backups, or a port of the store, does not exist yet.
            Corrupt: something in the store is damaged; the error names it.
            StorageFull: there is no room for it.
        """
        if kind not in ("daily", "weekly", "monthly", "manual"):
            raise InvalidArgument(f"A backup is daily, weekly, monthly or manual, not {kind!r}.")
        notices = [notice for notice in (await self.provide_key(), await self._others()) if notice]
        parent, reason = (None, "") if full or kind in ("weekly", "monthly") else await self._parent()
        try:
            made = await self._make(kind, parent, progress)
        except FeedGap as exc:
            made, reason = await self._make(kind, None, progress), exc.message
        return Created(made, reason, tuple(notices))

    async def plan_create(self, kind: Kind = "manual", *, full: bool = False) -> tuple[str | None, str]:
        """On which backup ``create`` would build; ``None`` and the reason where it would make a full one."""
        if full or kind in ("weekly", "monthly"):
            return None, f"{kind} backups always are" if kind in ("weekly", "monthly") else "it was asked for"
        parent, reason = await self._parent()
        return None if parent is None else parent.id, reason

    @property
    def key_identity(self) -> str:
        """Which key seals the backups, for people."""
        return self._archive.key_identity

    async def verified(self, ids: Sequence[str]) -> dict[str, str]:
        """What the last verification of each backup found, in words; only of those that have one."""
        notes = {id_: await self._archive.noted(id_) for id_ in ids}
        return {id_: _noted(note) for id_, note in notes.items() if note is not None}

    async def provide_key(self, *, anew: bool = False) -> str:
        """Make the key file where there is none; what to do with it, or ``""`` where nothing was made.

        Args:
            anew: also where there are backups already, which that key will not open.

        Raises:
            ConfigError: it is missing, and there are backups that were sealed with it.
        """
        file = self._key_file
        if file is None or await asyncio.to_thread(file.path.exists):
            return ""
        listing = await self._archive.listing()
        count = len(listing.manifests) + len(listing.damaged)
        if count and not anew:
            raise ConfigError(
                f"The key file {file.path} is missing, and {count} backups were made with a key; bring it back, or "
                "make another one, which does not open them, with `storycore backup key --new`.",
                path="backup.key_file",
            )
        await asyncio.to_thread(new_key_file, file.path)
        return f"Made the key {file.path}. Keep a copy in another place: without it nobody can read the backups."

    async def ensure(self) -> Sequence[str]:
        """Create what backups need: their place, and the key; one sentence for each thing that was created."""
        provision = await self._archive.ensure()
        key = await self.provide_key()
        return [*provision.actions, *([key] if key else [])]

    @property
    def sources(self) -> Sequence[Source]:
        """The store's ports, as backups see them, in the order in which they are restored."""
        return self._sources

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
        into: Restorable | Sequence[Source] | None = None,
        selection: Selection | None = None,
    ) -> dict[str, PortChanges]:
        """What ``restore`` would change, by port; writes nothing."""
        chain = await self._chain(id_, at)
        return await plan_restore(self._archive, chain, self._target(into)[0], selection or Selection())

    async def restore(
        self,
        id_: str = "latest",
        *,
        at: datetime | None = None,
        into: Restorable | Sequence[Source] | None = None,
        selection: Selection | None = None,
        mode: Mode = "new",
        on_conflict: OnConflict = "fail",
        create_tables: bool = True,
        progress: Callable[[str, int], None] | None = None,
    ) -> Restored:
        """Bring a state back. See ``storycore.backup.restoring.restore``.

        Args:
            id_: which backup; ``latest`` stands for the newest.
            at: instead: the newest backup of a state not after this moment.
            into: the store that receives, or its ports; ``None``: this store, which is refused with ``new`` unless it
                is empty.
            create_tables: create what the receiving store needs and does not have.
        """
        chain = await self._chain(id_, at)
        targets, target = self._target(into)
        if create_tables and target is not None and target._ensure is not None:
            await target._ensure()
        try:
            written = await restore(
                self._archive,
                chain,
                targets,
                selection or Selection(),
                mode=mode,
                on_conflict=on_conflict,
                progress=progress,
            )
        finally:
            if target is not None and target._settle is not None:
                await asyncio.shield(target._settle())
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

    async def close(self) -> None:
        """Let go of the archive's place; a second call does nothing."""
        await self._archive.close()

    def _target(self, into: Restorable | Sequence[Source] | None) -> tuple[Sequence[Source], Backups | None]:
        if into is None:
            return self._sources, self
        if isinstance(into, Sequence):
            return into, None
        return into.backups._sources, into.backups

    async def _make(self, kind: Kind, parent: Manifest | None, progress: Callable[[str, int], None] | None) -> Manifest:
        return await make_backup(
            self._archive, self._sources, kind=kind, store=self._store, parent=parent, progress=progress
        )

    async def _others(self) -> str:
        """That another backup may be under way; both come to be, for each has objects of its own."""
        begun = await self._archive.unfinished(since=self._env.clock.now() - _UNDER_WAY)
        if not begun:
            return ""
        return f"Another backup was begun lately and has not ended: {', '.join(begun)}. If it runs, both are kept."

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
        if (now := self._env.clock.now()) < own[0].as_of:
            return None, (
                f"the clock says {now:%Y-%m-%d %H:%M:%S}, and the backup {own[0].id} is of a later moment; until the "
                "clock has passed that, it counts as the latest one"
            )
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


def _noted(note: bytes) -> str:
    try:
        found = orjson.loads(note)
        return f"{found['level']}, {len(found['problems'])} problems" if found["problems"] else str(found["level"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "unreadable"


def _is_proof(note: bytes) -> bool:
    """Whether a verification read everything and found nothing; a damaged note proves nothing."""
    try:
        found = orjson.loads(note)
        return found["level"] in _PROOFS and not found["problems"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
