"""Backups of one store: made, listed, verified, restored and pruned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from storycore.backup import seals
from storycore.backup.archive import Archive, Listing
from storycore.backup.entries import OwnerOf
from storycore.backup.erasing import Erased, erased
from storycore.backup.exports import Exports
from storycore.backup.keys import KeyFile, missing_key, provided
from storycore.backup.making import make_backup
from storycore.backup.manifest import Kind, Manifest
from storycore.backup.outcomes import Created, Pruned, Restored, Rotated
from storycore.backup.outside import Outside
from storycore.backup.owners import OWNERS
from storycore.backup.parents import others_among, parent_among
from storycore.backup.proofs import in_words, keep, newest_proven
from storycore.backup.pruning import prune
from storycore.backup.receiving import Into, Receiver, Restorable
from storycore.backup.recorder import Recorder, Sealed
from storycore.backup.recording import Recording
from storycore.backup.restoring import (
    Mode,
    OnConflict,
    PortChanges,
    Progress,
    Selection,
    plan_restore,
    restore,
    without_place,
)
from storycore.backup.retention import Retention
from storycore.backup.sources import Source
from storycore.backup.states import States
from storycore.backup.verifying import Level, Scratch, Verification, verify_backup
from storycore.errors import FeedGap, InvalidArgument
from storycore.layers.spilled_bodies import in_parallel
from storycore.ports.blobs import BlobStore
from storycore.ports.environment import Environment
from storycore.ports.key_providers import KeyProvider

__all__ = ["Backups", "Created", "Erased", "Pruned", "Restorable", "Restored"]


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
        owner_of: says to whom an entry belongs; what belongs to somebody is sealed with a key of his own, which
            ``erase`` destroys.
        scratch: opens empty ports, for ``verify`` with a restore.
        key_file: made with the first backup, where the archive's keys are sealed with it.
        ensure: creates what the ports need; one sentence for each thing that it created.
        settle: called when a restore has changed the ports: what was cached is outdated.
        outside: finds formats of exports, and opens the places where they lie.
        blobs: where the long bodies of the store's own records lie.
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
        owner_of: OwnerOf | None = None,
        key_file: KeyFile | None = None,
        ensure: Callable[[], Awaitable[object]] | None = None,
        settle: Callable[[], Awaitable[object]] | None = None,
        outside: Outside | None = None,
        blobs: BlobStore | None = None,
    ) -> None:
        self._key_file = key_file
        self.receiver = Receiver(sources, ensure, settle)
        self._archive = archive
        self._sources = sources
        self._env = env
        self._store = store
        self._scratch = scratch
        self._retention = Retention() if retention is None else retention
        self._zone = zone
        self._max_chain = max_chain
        self._max_share = max_share
        self._owner_of = owner_of
        self._recording = Recording(archive, sources, env, store=store, owner_of=owner_of)
        self._recordings = self._recording.recordings
        self._states = States(archive, self._recordings, store=store)
        self.exports = Exports(
            archive, self._states, self.receiver, env, store=store, outside=outside or Outside(), blobs=blobs
        )

    async def create(self, kind: Kind = "manual", *, full: bool = False, progress: Progress | None = None) -> Created:
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
            Unavailable: somebody was erased meanwhile; make it again.
        """
        if kind not in ("daily", "weekly", "monthly", "manual"):
            raise InvalidArgument(f"A backup is daily, weekly, monthly or manual, not {kind!r}.")
        notices = [
            notice
            for notice in (await self.provide_key(), await others_among(self._archive, now=self._env.clock.now()))
            if notice
        ]
        chain, reason, left_out = ((), "", ()) if full or kind in ("weekly", "monthly") else await self._parents()
        try:
            made = await self._make(kind, chain, progress)
        except FeedGap as exc:
            made, reason = await self._make(kind, (), progress), exc.message
        return Created(made, reason, (*notices, *left_out))

    async def plan_create(self, kind: Kind = "manual", *, full: bool = False) -> tuple[str | None, str]:
        """On which backup ``create`` would build; ``None`` and the reason where it would make a full one."""
        if full or kind in ("weekly", "monthly"):
            return None, f"{kind} backups always are" if kind in ("weekly", "monthly") else "it was asked for"
        chain, reason, _ = await self._parents()
        return chain[-1].id if chain else None, reason

    @property
    def key_identity(self) -> str:
        """Which key seals the backups, for people."""
        return self._archive.key_identity

    async def verified(self, ids: Sequence[str]) -> dict[str, str]:
        """What the last verification of each backup found, in words, its seal unseen; only of those that have one."""
        found = await in_parallel(lambda id_: in_words(self._archive, id_), ids)
        return {id_: words for id_, words in zip(ids, found, strict=True) if words}

    async def proven(self) -> Manifest | None:
        """The newest backup of the store that was read to its end and found whole, by the seals of both."""
        return await newest_proven(self._archive, await self._states.own())

    async def provide_key(self, *, anew: bool = False) -> str:
        """Make the key file where there is none; what to do with it, or ``""`` where nothing was made.

        Args:
            anew: also where there are backups already, which that key will not open.

        Raises:
            ConfigError: it is missing, and there are backups that were sealed with it.
        """
        if self._key_file is None or await asyncio.to_thread(self._key_file.path.exists):
            return ""
        return await provided(self._key_file, 0 if anew else len(await self._archive.committed()))

    async def ensure(self, *, dry_run: bool = False) -> Sequence[str]:
        """Create what backups need: their place, and the key; one sentence for each thing that was created.

        Args:
            dry_run: only tell.
        """
        provision = await self._archive.ensure(dry_run=dry_run)
        key = await (missing_key(self._key_file) if dry_run else self.provide_key())
        return [*provision.actions, *([key] if key else [])]

    @property
    def sources(self) -> Sequence[Source]:
        """The store's ports, as backups see them, in the order in which they are restored."""
        return self._sources

    async def list(self) -> Listing:
        """All backups that lie here, newest state first, also those of other stores; and those that are damaged."""
        return await self._archive.listing()

    async def show(self, id_: str = "latest") -> Manifest:
        """One backup's manifest, checked against its seal; ``latest`` stands for the newest.

        Raises:
            NotFound: there is no such backup.
            AccessDenied: it was made with another key.
            Corrupt: it was changed.
        """
        return await self._archive.manifest(await self._states.named(id_))

    async def verify(
        self, id_: str = "latest", *, level: Level = "full", progress: Progress | None = None
    ) -> Verification:
        """Look whether a backup can be restored; the result is kept beside it, and retention goes by it.

        A look that found nothing leaves the result of one that looked closer; so does one that cannot open the backup.

        Args:
            level: ``manifest``, ``sample``, ``full`` or ``restore``; the last restores into an empty store.
            progress: told what is read or restored, and how many of its items are done.

        Raises:
            NotFound: there is no such backup.
            Unavailable, Throttled, DeadlineExceeded, StorageFull: nothing was found out; repeat it.
        """
        id_ = await self._states.named(id_)
        found = await verify_backup(
            self._archive,
            id_,
            level=level,
            at=self._env.clock.now(),
            random=self._env.random,
            scratch=self._scratch,
            progress=progress,
        )
        return await keep(self._archive, found)

    async def reached(self, id_: str = "latest", *, at: datetime | None = None) -> tuple[str, datetime]:
        """Which backup, and the state of which moment, ``plan_restore`` and ``restore`` would now take for these."""
        chain, tail = await self._states.chain(id_, at)
        return chain[-1].id, chain[-1].as_of if tail is None else tail.as_of

    async def plan_restore(
        self,
        id_: str = "latest",
        *,
        at: datetime | None = None,
        into: Into = None,
        selection: Selection | None = None,
    ) -> dict[str, PortChanges]:
        """What ``restore`` would change, by port; writes nothing."""
        chain, tail = await self._states.chain(id_, at)
        return await plan_restore(
            self._archive, chain, self.receiver.instead(into).sources, selection or Selection(), tail=tail
        )

    async def restore(
        self,
        id_: str = "latest",
        *,
        at: datetime | None = None,
        into: Into = None,
        selection: Selection | None = None,
        mode: Mode = "new",
        on_conflict: OnConflict = "fail",
        create_tables: bool = True,
        progress: Progress | None = None,
    ) -> Restored:
        """Bring a state back. See ``storycore.backup.restoring.restore``.

        Args:
            id_: which backup; ``latest`` stands for the newest.
            at: instead: the state at this moment, as far as it was recorded; else the nearest one before. Other ports
                than the entities come from the newest backup not after it.
            into: the store that receives, or its ports; ``None``: this store, which is refused with ``new`` unless it
                is empty.
            create_tables: create what the receiving store needs and does not have.
        """
        chain, tail = await self._states.chain(id_, at)
        notices = await self._states.left_out(id_, at)
        erased: dict[str, list[bytes]] = {}
        async with self.receiver.instead(into).receiving(create_tables=create_tables) as targets:
            written = await restore(
                self._archive,
                chain,
                targets,
                selection or Selection(),
                mode=mode,
                on_conflict=on_conflict,
                tail=tail,
                erased=erased,
                progress=progress,
            )
        left_out = {port: len(marks) for port, marks in erased.items() if marks}
        without = [] if selection and selection.ports else without_place(chain[-1], targets)
        as_of = chain[-1].as_of if tail is None else tail.as_of
        return Restored(chain[-1].id, as_of, written, left_out, without, notices)

    async def prune(self, *, dry_run: bool = False, older_than: timedelta = timedelta(days=1)) -> Pruned:
        """Remove those of this store's backups that retention does not keep, and what unfinished backups left.

        What a kept backup builds on stays with it, and so does the newest verified chain. A backup counts, and goes,
        only where its manifest bears its seal; others are never touched. Interrupted, it can be repeated.

        Args:
            dry_run: only tell.
            older_than: what unfinished backups left is removed when nothing was written to it for so long.

        Raises:
            AccessDenied, Corrupt: none of them opens.
            SchemaMismatch: a newer version of storycore has made backups here, and may build on any.
            Unavailable: others make backups all the time.
        """
        return await prune(
            self._archive,
            self._states,
            self._recordings,
            self._retention,
            zone=self._zone,
            older_than=older_than,
            dry_run=dry_run,
        )

    async def rotate(self, new: KeyProvider) -> Rotated:
        """Seal the keys of all backups with another provider's, also of those that are being made.

        Interrupted, all of them open with the old key or all with the new one: first both do, then the new one alone.
        Repeat it then, with the old key.

        Raises:
            AccessDenied: neither of the two opens any of them.
        """
        done, left = await self._archive.sealed_keys.rotate_all(self._places_of_keys, new)
        return Rotated(sorted(await self._archive.ids() & set(done)), left)

    async def _places_of_keys(self) -> Sequence[str]:
        return [*await self._archive.ids(), *await self._recordings.places(), OWNERS]

    async def erase(self, owner: str, *, dry_run: bool = False) -> Erased:
        """Destroy an owner's key, after which no backup and no recording gives back what belonged to that owner.

        Delete it in the store first, for what is there comes into later backups with a new key. Can be repeated. What
        the change feed still tells is recorded before, where it is recorded at all; the next backup reads everything
        again instead, and keeps what differs.

        Args:
            owner: the user's id.
            dry_run: only look which backups and recordings hold something of his.

        Raises:
            ConfigError: the profile gives owners no keys, and this one has none of earlier backups.
            AccessDenied: the keys of owners were sealed with another key.
        """
        if not dry_run:
            await self._recording.seal_before_erasure()
        at, seals_owners = self._env.clock.now(), self._owner_of is not None
        return await erased(self._archive, owner, at=at, seals_owners=seals_owners, dry_run=dry_run)

    def recorder(self) -> Recorder:
        """What records the changes of this store, so that any second behind its first backup can be restored.

        Raises:
            InvalidArgument: the store's entities are not backed up.
        """
        return self._recording.recorder()

    async def record(self) -> Sealed:
        """Seal the changes since the last time; where a backup is needed first, it is made, and the result says why.

        Raises:
            Unsupported: the store has no change feed.
        """
        return await self._recording.record(lambda: self.create(full=True))

    async def verify_recording(self) -> Sequence[str]:
        """Read everything that was recorded; one sentence for each thing that is lost."""
        return await self._recordings.verify()

    async def close(self) -> None:
        """Let go of the archive's place; a second call does nothing."""
        await self._archive.close()

    async def _make(self, kind: Kind, chain: Sequence[Manifest], progress: Progress | None) -> Manifest:
        return await make_backup(
            self._archive,
            self._sources,
            kind=kind,
            store=self._store,
            chain=chain,
            owner_of=self._owner_of,
            progress=progress,
        )

    async def _parents(self) -> tuple[Sequence[Manifest], str, Sequence[str]]:
        """The chain on which the next one builds, or why there is none; and what claims to be a later one."""
        newest, unread = await self._states.newest()
        chain, reason = await parent_among(
            self._archive,
            newest,
            unread,
            {source.name for source in self._sources},
            now=self._env.clock.now(),
            max_chain=self._max_chain,
            max_share=self._max_share,
            seals_owners=self._owner_of is not None,
        )
        return chain, reason, seals.in_words(unread)
