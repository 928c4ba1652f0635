"""The archive: backups in a blob store, each under its id, and their manifests side by side.

<prefix>manifests/<id>.json     written last, and only where there is none: a backup without it does not exist
<prefix><id>/key.json           the backup's key, sealed by a key provider; replaced when keys are rotated
<prefix><id>/<port>-0001 …      the objects
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta

from storycore.backup.catalogue import Catalogue, Listing
from storycore.backup.drafts import Draft
from storycore.backup.entries import OwnerOf
from storycore.backup.frames import KEY_BYTES
from storycore.backup.manifest import (
    Kind,
    Manifest,
    ObjectInfo,
    new_backup_id,
    read_manifest,
    sign_manifest,
)
from storycore.backup.objects import ObjectReader, Place
from storycore.backup.owners import OWNERS, Keyring
from storycore.backup.refusals import Refusals
from storycore.backup.sealed_keys import SealedKeys
from storycore.errors import (
    AccessDenied,
    AlreadyExists,
    Corrupt,
    Effect,
    NotFound,
    SchemaMismatch,
    StorycoreError,
    Unavailable,
)
from storycore.layers.spilled_bodies import in_parallel
from storycore.ports.blobs import BlobInfo, BlobStore
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.environment import Environment
from storycore.ports.key_providers import KeyProvider
from storycore.ports.lifecycle import Provision

__all__ = ["Archive", "Listing"]

_MANIFEST_TYPE = "application/json"
_PAGE = 1000
_GREETED = 8
"""Backups of which one should open, so that a new one shares its salt; anybody may have put some there."""


class Archive:
    """Backups in a blob store.

    Args:
        blobs: where they lie; an open port.
        keys: seals the keys of new backups, and opens those of old ones.
        env: time and ids.
        prefix: the beginning of all their names, with a slash at its end.
        is_own: whether the blob store is only there for the archive, which then closes it.
    """

    def __init__(
        self,
        blobs: BlobStore,
        keys: KeyProvider,
        env: Environment,
        *,
        prefix: str = "backups/",
        is_own: bool = False,
    ) -> None:
        self._is_own = is_own
        self._blobs = blobs
        self._keys = keys
        self._env = env
        self._prefix = prefix
        self.sealed_keys = SealedKeys(blobs, keys, prefix=prefix)
        self.catalogue = Catalogue(blobs, prefix)

    async def begin(
        self, kind: Kind, *, store: str, parent: str | None = None, owner_of: OwnerOf | None = None
    ) -> Draft:
        """Begin a backup; it exists from ``Draft.commit`` on.

        Args:
            kind: why it is made.
            store: the namespace of the store it is made from.
            parent: the id of the backup on which it builds; ``None`` for a full one.
            owner_of: says to whom an entry belongs, where owners have keys of their own.
        """
        now = self._env.clock.now()
        id_, key = new_backup_id(kind, now, self._env.new_id()), secrets.token_bytes(KEY_BYTES)
        if parent is None:
            await self._greet()
        await self.sealed_keys.add(id_, key)
        place = self._place(id_, key)
        return Draft(self, place, kind, store=store, parent=parent, started_at=now, env=self._env, owner_of=owner_of)

    @property
    def key_identity(self) -> str:
        """Which key seals new backups, for people."""
        return self._keys.identity

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Create the place where backups lie."""
        return await self._blobs.ensure(dry_run=dry_run)

    async def close(self) -> None:
        """Close that place, where it is the archive's own."""
        if self._is_own:
            await self._blobs.close()

    async def unfinished(self, *, since: datetime) -> list[str]:
        """The ids of backups that have no manifest, and of which something was written since then."""
        latest = await self._without_manifest()
        return sorted(id_ for id_, at in latest.items() if at >= since)

    async def listing(self) -> Listing:
        """All backups. Needs no key: what is listed was not checked against its seal."""
        return await self.catalogue.listing()

    async def manifest(self, id_: str) -> Manifest:
        """A backup's manifest, checked against its seal.

        Raises:
            NotFound: there is no such backup.
            AccessDenied: the key provider does not open its key.
            Corrupt: the manifest or the key was changed.
        """
        return read_manifest(await self._manifest_bytes(id_), await self.key(id_), name=id_)

    async def store_of(self, id_: str) -> str | None:
        """Of which store a backup says that it is, its seal unseen; ``None`` where nothing says so."""
        with suppress(StorycoreError):
            return read_manifest(await self._manifest_bytes(id_), name=id_).store
        return None

    async def has(self, id_: str) -> bool:
        """Whether there is such a backup."""
        return await self._blobs.head(self.catalogue.name(id_)) is not None

    async def chain(self, id_: str) -> list[Manifest]:
        """The backups that are needed to restore one, the full one first; all checked against their seals.

        Raises:
            NotFound: there is no such backup.
            Corrupt: one of those it builds on is missing or damaged.
        """
        found = [await self.manifest(id_)]
        while (parent := found[0].parent) is not None:
            try:
                found.insert(0, await self.manifest(parent))
            except NotFound as exc:
                raise Corrupt(
                    f"The backup {id_} builds on {parent}, which is not there; restore from another backup."
                ) from exc
        return found

    async def reader(self, id_: str) -> ObjectReader:
        """Reads the objects of a backup."""
        return ObjectReader(await self.place(id_), self.keyring().opened)

    def keyring(self) -> Keyring:
        """The keys of owners, for a short time."""
        return Keyring(lambda: self.made_place(OWNERS), lambda: self.place(OWNERS))

    async def place(self, id_: str) -> Place:
        """Where the objects of a backup lie, with its key."""
        return self._place(id_, await self.key(id_))

    async def recordings(self) -> list[str]:
        """The ids of the backups behind which changes were recorded; their places are ``segments/<id>``."""
        return await self.catalogue.recordings()

    async def made_place(self, id_: str) -> Place:
        """A place that is no backup's, with its key, which is made where there is none.

        Raises:
            Corrupt: the key is missing, and there is something that was sealed with it.
        """
        if not await self.sealed_keys.has(id_):
            if (await self._blobs.entries(f"{self._prefix}{id_}/", limit=1)).blobs:
                await self.key(id_)  # it may have been made meanwhile; else this says that it is lost
            with suppress(AlreadyExists):
                await self.sealed_keys.add(id_, secrets.token_bytes(KEY_BYTES))
        return await self.place(id_)

    async def discard(self, id_: str) -> None:
        """Remove everything at a place."""
        await self._remove(id_, await self._names(id_))

    async def damage(self, id_: str, wanted: ObjectInfo) -> str:
        """What can be seen of an object without reading it: that it is missing, or is another; ``""``: nothing."""
        try:
            info = await self._blobs.head(f"{self._prefix}{id_}/{wanted.name}")
        except Corrupt as exc:
            return exc.message
        if info is None:
            return f"the object {wanted.name} is not there any more."
        if info.size_bytes != wanted.size_bytes:
            return f"the object {wanted.name} has {info.size_bytes} bytes instead of {wanted.size_bytes}."
        return ""

    async def key(self, id_: str) -> bytes:
        """The key of a backup, opened by the key provider.

        Raises:
            AccessDenied: the provider does not open it.
            Corrupt: it is not there, or is damaged.
        """
        return await self.sealed_keys.key(id_)

    async def listed(self, id_: str) -> Manifest | StorycoreError | None:
        """A manifest, its seal unseen, or why it cannot be read; ``None``: there is no such backup."""
        return await self.catalogue.read(id_)

    async def locked_until(self, manifest: Manifest) -> datetime | None:
        """The moment before which a backup cannot be removed whole; ``None`` where nothing of it is locked."""
        if not self._blobs.capabilities.has("blobs.lock"):
            return None
        folder = f"{self._prefix}{manifest.id}/"
        own = (self.catalogue.name(manifest.id), self.sealed_keys.name(manifest.id))
        names = [*own, *(folder + info.name for info in manifest.objects)]
        found = await in_parallel(self._blobs.head, names)
        return max((info.locked_until for info in found if info is not None and info.locked_until), default=None)

    async def withdraw(self, id_: str) -> bytes | None:
        """Take a backup's manifest away, so that it is none any more; for ``give_back``. ``None``: it was gone."""
        try:
            found = await self.catalogue.content(id_)
        except NotFound:
            return None
        await self._blobs.delete([self.catalogue.name(id_)])
        return found

    async def give_back(self, id_: str, manifest: bytes) -> None:
        """Undo ``withdraw``, before ``clear``."""
        with suppress(AlreadyExists):
            await self._blobs.put(self.catalogue.name(id_), manifest, when=ABSENT, content_type=_MANIFEST_TYPE)

    async def clear(self, manifest: Manifest) -> None:
        """Remove what a backup consisted of whose manifest was withdrawn."""
        folder = f"{self._prefix}{manifest.id}/"
        await self._remove(
            manifest.id, [*(folder + info.name for info in manifest.objects), self._note_name(manifest.id)]
        )

    async def remove(self, id_: str) -> None:
        """Remove a backup: first its manifest, so that it is gone at once, then what it consisted of.

        Interrupted, it leaves objects without a manifest, which ``sweep`` removes. Removing what is gone is no error.
        """
        names = await self._names(id_)
        await self._blobs.delete([self.catalogue.name(id_)])
        await self._remove(id_, names)

    async def sweep(
        self, *, older_than: timedelta = timedelta(days=1), dry_run: bool = False, refusals: Refusals | None = None
    ) -> list[str]:
        """Remove what backups left that were never finished, or were removed halfway; the ids.

        Args:
            older_than: since the last object was written; a backup that is being made writes more often.
            dry_run: only tell.
            refusals: are told of what may not be removed; without them that is an error.
        """
        before = self._env.clock.now() - older_than
        latest = await self._without_manifest()
        stale = sorted(id_ for id_, at in latest.items() if at < before)
        for id_ in [] if dry_run else stale:
            if await self._blobs.head(self.catalogue.name(id_)) is None:  # not committed since we looked
                with nullcontext() if refusals is None else refusals.borne(id_):
                    await self._remove(id_, await self._names(id_))
        return [id_ for id_ in stale if refusals is None or id_ not in refusals.reasons]

    async def note(self, id_: str, found: bytes) -> None:
        """Keep what a verification found."""
        await self._blobs.put(self._note_name(id_), found, when=ANY, content_type=_MANIFEST_TYPE)

    async def noted(self, id_: str) -> bytes | None:
        """What the last verification found; ``None`` where there was none."""
        try:
            return await self._content(self._note_name(id_))
        except NotFound:
            return None

    async def forget(self, id_: str) -> None:
        """Remove what the last verification found."""
        await self._blobs.delete([self._note_name(id_)])

    async def commit(self, manifest: Manifest, key: bytes) -> None:
        """Write a manifest, after which the backup exists.

        Raises:
            AlreadyExists: there is one.
            Unavailable: what the backup had written was removed meanwhile.
        """
        if not await self.sealed_keys.has(manifest.id):
            raise Unavailable(
                f"What the backup {manifest.id} had written was removed before its end, by hand or by a prune whose "
                "clock is ahead; make it again."
            )
        name, data = self.catalogue.name(manifest.id), sign_manifest(manifest, key)
        try:
            await self._blobs.put(name, data, when=ABSENT, content_type=_MANIFEST_TYPE)
        except StorycoreError as exc:
            if exc.effect is not Effect.UNKNOWN or not await self.has(manifest.id):
                raise

    async def _greet(self) -> None:
        """Let the key provider see a key that it sealed before: one made from a passphrase then shares its salt."""
        for id_ in sorted(await self.committed(), key=lambda id_: id_.partition("_")[2], reverse=True)[:_GREETED]:
            with suppress(AccessDenied, Corrupt):
                await self.key(id_)
                return

    async def _without_manifest(self) -> dict[str, datetime]:
        """The ids under which something lies, but no manifest; and when anything there was written last."""
        latest: dict[str, datetime] = {}
        for id_ in await self.ids() - await self.committed():
            with suppress(Corrupt):  # nobody can tell what else is there, and it is no backup
                for info in await self._all(f"{self._prefix}{id_}/"):
                    latest[id_] = max(info.modified_at, latest.get(id_, info.modified_at))
        return latest

    async def ids(self) -> set[str]:
        """What backups lie here, finished or not, whatever their manifests say."""
        return await self.catalogue.ids()

    async def committed(self) -> set[str]:
        """The ids of all that have a manifest, whatever it says."""
        return await self.catalogue.committed()

    async def _names(self, id_: str) -> list[str]:
        """Of all blobs that belong to a place; by its manifest where one is so damaged that it cannot be listed."""
        folder = f"{self._prefix}{id_}/"
        try:
            return [info.key for info in await self._all(folder)]
        except Corrupt as exc:
            try:
                manifest = read_manifest(await self.catalogue.content(id_), name=id_)
            except (NotFound, Corrupt, SchemaMismatch):
                raise exc from None
            return [*(folder + info.name for info in manifest.objects), self._note_name(id_)]

    async def _remove(self, id_: str, names: Sequence[str]) -> None:
        key = self.sealed_keys.name(id_)
        await self._blobs.delete([name for name in names if name != key])
        await self._blobs.delete([key])  # last, for nothing is readable without it

    async def _manifest_bytes(self, id_: str) -> bytes:
        try:
            return await self.catalogue.content(id_)
        except NotFound as exc:
            raise NotFound(f"There is no backup {id_!r}; `storycore backup list` names them.") from exc

    async def _content(self, name: str) -> bytes:
        async with await self._blobs.get(name) as reader:
            return await reader.read()

    async def _all(self, prefix: str) -> list[BlobInfo]:
        found, after = list[BlobInfo](), None
        while True:
            page = await self._blobs.entries(prefix, after=after, limit=_PAGE)
            found += page.blobs
            if (after := page.next) is None:
                return found

    def _place(self, id_: str, key: bytes) -> Place:
        return Place(self._blobs, f"{self._prefix}{id_}/", id_, key)

    def _note_name(self, id_: str) -> str:
        return f"{self._prefix}{id_}/verified.json"
