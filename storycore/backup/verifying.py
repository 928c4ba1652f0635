"""Verifying: reading a backup as a restore would, and naming everything that is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from storycore.backup.archive import Archive
from storycore.backup.index import Index, Mark, item_mark
from storycore.backup.manifest import Manifest, ObjectInfo
from storycore.backup.restoring import Selection, restore
from storycore.backup.sources import Source
from storycore.errors import NotFound, StorycoreError

__all__ = ["Level", "Scratch", "Verification", "verify_backup"]

Level: TypeAlias = Literal["manifest", "sample", "full", "restore"]
"""``manifest``: seals, and every object is there with its size; ``sample``: one object of each part is read too;
``full``: all are; ``restore``: it is restored into an empty store, and what that holds is compared."""

Scratch: TypeAlias = Callable[[Path, datetime], AbstractAsyncContextManager[Sequence[Source]]]
"""Opens empty ports in a folder, whose clock stands at the given moment."""


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
    """

    backup: str
    level: Level
    at: datetime
    objects: int = 0
    entries: int = 0
    problems: tuple[str, ...] = ()

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
) -> Verification:
    """Look at a backup and those it builds on; goes on after a finding, so that the report is complete.

    Args:
        at: the present.
        scratch: where to restore to; needed for ``restore`` alone.
    """
    looking = _Looking(archive, random)
    try:
        chain = await archive.chain(id_)
    except NotFound:
        raise
    except StorycoreError as exc:
        return Verification(id_, level, at, problems=(exc.message,))
    for manifest in chain:
        await looking.manifest(manifest, level)
    if level == "restore" and not looking.problems:
        assert scratch is not None, "a restore needs a place"
        await looking.restore(chain, scratch)
    return Verification(id_, level, at, looking.objects, looking.entries, tuple(looking.problems))


class _Looking:
    """One look at a chain, and what it found."""

    def __init__(self, archive: Archive, random: Random) -> None:
        self._archive = archive
        self._random = random
        self.objects = self.entries = 0
        self.problems: list[str] = []

    async def manifest(self, manifest: Manifest, level: Level) -> None:
        """Look at the objects of one backup."""
        for port, content in manifest.ports.items():
            for part in (content.base, content.changes, content.index):
                there = [info for info in part if await self._is_there(manifest.id, info)]
                chosen = there if level in ("full", "restore") else self._sampled(there, level)
                for info in chosen:
                    await self._read(manifest.id, port, info)

    async def restore(self, chain: Sequence[Manifest], scratch: Scratch) -> None:
        """Restore into an empty store and compare."""
        last = chain[-1]
        with tempfile.TemporaryDirectory(prefix="storycore-verify-") as folder:
            async with scratch(Path(folder) / "store", last.as_of) as targets:
                try:
                    await restore(self._archive, chain, targets, Selection())
                except StorycoreError as exc:
                    self.problems.append(f"The restore of {last.id} failed: {exc.message}")
                    return
                for target in targets:
                    await self._compare(last, target, Path(folder))

    def _sampled(self, there: Sequence[ObjectInfo], level: Level) -> Sequence[ObjectInfo]:
        return [self._random.choice(there)] if level == "sample" and there else []

    async def _is_there(self, id_: str, info: ObjectInfo) -> bool:
        self.objects += 1
        size = await self._archive.size_of(id_, info.name)
        if size == info.size_bytes:
            return True
        found = "is not there any more" if size is None else f"has {size} bytes instead of {info.size_bytes}"
        self.problems.append(f"{info.entries} entries of {info.name} in {id_} are lost: the object {found}.")
        return False

    async def _read(self, id_: str, port: str, info: ObjectInfo) -> None:
        try:
            reader = await self._archive.reader(id_)
            async for entries in reader.frames(info):
                self.entries += len(entries)
        except StorycoreError as exc:
            self.problems.append(exc.message)

    async def _compare(self, manifest: Manifest, target: Source, folder: Path) -> None:
        content = manifest.ports.get(target.name)
        if content is None:
            return
        with Index(folder / f"{target.name}.db") as index:
            async for entries in target.scan():
                marks = [Mark(e.mark, item_mark(e.key, e.item)) for e in entries if e.item is not None]
                index.note(marks, changed=False)
            items, digest = index.state(manifest.as_of)
        if digest != content.digest:
            self.problems.append(
                f"The {target.name} restored from {manifest.id} are not those that were backed up: {items} items "
                f"instead of {content.items}, or others."
            )
