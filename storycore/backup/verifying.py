"""Verifying: reading a backup as a restore would, and naming everything that is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from storycore.backup.archive import Archive
from storycore.backup.contents import read_content
from storycore.backup.findings import PASSING
from storycore.backup.index import Index, Mark, item_mark
from storycore.backup.making import load_marks
from storycore.backup.manifest import Manifest, ObjectInfo, PortContent
from storycore.backup.restoring import Progress, Selection, restore
from storycore.backup.sources import Source
from storycore.backup.sources.blobs import content_name
from storycore.backup.workspaces import workspace
from storycore.errors import NotFound, StorageFull, StorycoreError

__all__ = ["Level", "Scratch", "Verification", "verify_backup"]

Level: TypeAlias = Literal["manifest", "sample", "full", "restore"]
"""``manifest``: seals, and every object is there with its size; ``sample``: one object of each part is read too;
``full``: all are; ``restore``: it is restored into an empty store, and what that holds is compared."""

Scratch: TypeAlias = Callable[[Path, Manifest], AbstractAsyncContextManager[Sequence[Source]]]
"""Opens empty ports for the items of a backup in a folder, whose clock stands at the backup's moment."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Args:
        backup: the id.
        level: how far it was looked.
        at: when.
        objects: how many objects were looked at, of the whole chain.
        entries: how many entries were read.
        problems: one sentence for each thing that is lost; empty when the backup is whole.
        erased: how many of the entries nobody can read, because the keys of those to whom they belong were destroyed.
        unkept: why this could not be kept beside the backup, so that retention knows nothing of it; ``""``: it was.
    """

    backup: str
    level: Level
    at: datetime
    objects: int = 0
    entries: int = 0
    problems: tuple[str, ...] = ()
    erased: int = 0
    unkept: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost, as far as it was looked."""
        return not self.problems


async def verify_backup(
    archive: Archive,
    id_: str,
    *,
    level: Level,
    at: datetime,
    random: Random,
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Look at a backup and those it builds on; goes on after a finding, so that the report is complete.

    Args:
        at: the present.
        scratch: where to restore to; needed for ``restore`` alone.
        progress: told what is read or restored, and how many of its items are done.

    Raises:
        NotFound: there is no such backup.
        Unavailable, Throttled, DeadlineExceeded: the archive cannot be read now; nothing was found out.
        StorageFull: the temporary folder has no room for the restore; nothing was found out.
    """
    looking = _Looking(archive, random, progress or (lambda what, done: None))
    try:
        chain = await archive.chain(id_)
    except (NotFound, *PASSING):
        raise
    except StorycoreError as exc:
        return Verification(id_, level, at, problems=(exc.message,))
    for manifest in chain:
        await looking.manifest(manifest, level)
    if level == "restore" and not looking.problems:
        assert scratch is not None, "a restore needs a place"
        await looking.restore(chain, scratch)
    return Verification(id_, level, at, looking.objects, looking.entries, tuple(looking.problems), looking.erased)


class _Looking:
    """One look at a chain, and what it found."""

    def __init__(self, archive: Archive, random: Random, progress: Progress) -> None:
        self._archive = archive
        self._random = random
        self._progress = progress
        self._keyring = archive.keyring()
        self.objects = self.entries = self.erased = 0
        self.problems: list[str] = []

    async def manifest(self, manifest: Manifest, level: Level) -> None:
        """Look at the objects of one backup."""
        for content in manifest.ports.values():
            for part in (content.base, content.changes, content.index):
                await self._part(manifest.id, part, level)
            await self._contents(manifest.id, content, level)
        await self._part(manifest.id, manifest.owners or (), level)

    async def _part(self, id_: str, part: Sequence[ObjectInfo], level: Level) -> None:
        there = [info for info in part if await self._is_there(id_, info)]
        for info in self._chosen(there, level):
            await self._read(id_, info)

    async def restore(self, chain: Sequence[Manifest], scratch: Scratch) -> None:
        """Restore into an empty store and compare."""
        last = chain[-1]
        try:
            async with workspace("verify") as folder, scratch(folder / "store", last) as targets:
                await self._restore(chain, targets, folder)
        except StorageFull as exc:
            raise StorageFull(f"A restore of {last.id} has no room where TMPDIR says. {exc.message}") from exc

    async def _restore(self, chain: Sequence[Manifest], targets: Sequence[Source], folder: Path) -> None:
        erased: dict[str, list[bytes]] = {}
        try:
            await restore(self._archive, chain, targets, Selection(), erased=erased, progress=self._restored)
        except PASSING:
            raise
        except StorycoreError as exc:
            self.problems.append(f"The restore of {chain[-1].id} failed: {exc.message}")
            return
        for target in targets:
            await self._compare(chain, target, folder, erased.get(target.name, []))

    def _restored(self, port: str, done: int) -> None:
        self._progress(f"{port} restored", done)

    def _chosen(self, there: Sequence[ObjectInfo], level: Level) -> Sequence[ObjectInfo]:
        if level in ("full", "restore"):
            return there
        return [self._random.choice(there)] if level == "sample" and there else []

    async def _is_there(self, id_: str, info: ObjectInfo) -> bool:
        if damage := await self._missing(id_, info):
            self.problems.append(f"{info.entries} entries of {info.name} in {id_} are lost: {damage}")
        return not damage

    async def _missing(self, id_: str, info: ObjectInfo) -> str:
        self.objects += 1
        return await self._archive.damage(id_, info)

    async def _contents(self, id_: str, content: PortContent, level: Level) -> None:
        """Look at long contents, and say whose they are where they are damaged."""
        damaged = {info.name: found for info in content.contents if (found := await self._missing(id_, info))}
        there = [info for info in content.contents if info.name not in damaged]
        for info in self._chosen(there, level):
            try:
                await self._read_content(id_, info)
            except PASSING:
                raise
            except StorycoreError as exc:
                damaged[info.name] = exc.message
        owners = await self._owners(id_, content) if damaged else {}
        for name, found in damaged.items():
            self.problems.append(f"The content of {owners.get(name, f'an item ({name})')} in {id_} is lost: {found}")

    async def _read_content(self, id_: str, info: ObjectInfo) -> None:
        """Read a long content, unless nobody can because its owner was erased."""
        place = await self._keyring.opening(await self._archive.place(id_), info)
        if place is not None:
            async for _ in read_content(place, info):
                pass

    async def _owners(self, id_: str, content: PortContent) -> dict[str, str]:
        """Content objects with the items that they belong to, as far as the entries can be read."""
        found: dict[str, str] = {}
        with suppress(StorycoreError):
            reader = await self._archive.reader(id_)
            for info in (*content.base, *content.changes):
                with suppress(StorycoreError):
                    async for entries in reader.frames(info):
                        found |= {name: repr(e.key.decode()) for e in entries if (name := content_name(e.more))}
        return found

    async def _read(self, id_: str, info: ObjectInfo) -> None:
        try:
            reader = await self._archive.reader(id_)
            async for entries, erased in reader.look(info):
                self.entries += entries
                self.erased += erased
                self._progress("read", self.entries)
        except PASSING:
            raise
        except StorycoreError as exc:
            self.problems.append(exc.message)

    async def _compare(self, chain: Sequence[Manifest], target: Source, folder: Path, erased: Sequence[bytes]) -> None:
        manifest = chain[-1]
        content = manifest.ports.get(target.name)
        if content is None:
            return
        with Index(folder / f"{target.name}.db") as index:
            async for entries in target.scan():
                marks = [Mark(e.mark, item_mark(e.key, e.item)) for e in entries if e.item is not None]
                index.note(marks, changed=False)
            items, digest = index.state(manifest.as_of)
            lost = [mark for mark in erased if not index.has(mark)]
        expected = await self._without(chain, target.name, lost, folder) if lost else content.digest
        if digest != expected:
            self.problems.append(
                f"The {target.name} restored from {manifest.id} are not those that were backed up: {items} items "
                f"instead of {content.items}, or others."
            )

    async def _without(self, chain: Sequence[Manifest], port: str, erased: Sequence[bytes], folder: Path) -> str:
        """The digest of what was backed up but for what was erased."""
        with Index(folder / f"{port}.expected.db") as index:
            await load_marks(self._archive, chain, port, index)
            index.note([Mark(mark, None) for mark in erased], changed=False)
            return index.state(chain[-1].as_of)[1]
