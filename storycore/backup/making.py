"""Making a backup: each port's items go through a writer into objects, and through an index into the digest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import chain

import orjson

from storycore.backup.archive import Archive
from storycore.backup.contents import write_content
from storycore.backup.drafts import Draft
from storycore.backup.entries import Entry, OwnerOf, pack
from storycore.backup.index import GONE, Index, Mark, item_mark, read_rows, tail_of
from storycore.backup.manifest import Kind, Manifest, ObjectInfo, PortContent
from storycore.backup.objects import ObjectWriter
from storycore.backup.sources import Reached, Source, Step
from storycore.backup.workspaces import workspace
from storycore.errors import FeedGap, InvalidArgument
from storycore.ports.lifecycle import PortName

__all__ = ["load_marks", "make_backup"]


_NOTED = 4096
"""Marks that are gathered before the index takes them."""


async def make_backup(
    archive: Archive,
    sources: Sequence[Source],
    *,
    kind: Kind,
    store: str,
    parent: Manifest | None = None,
    owner_of: OwnerOf | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Manifest:
    """Back up some ports of a store; the backup exists when this returns, and nothing is left of it when it fails.

    Args:
        sources: the ports, in the order in which they are to be restored.
        parent: the backup on which this one builds; ``None`` for a full one.
        owner_of: says to whom an entry belongs; entries that belong to somebody are sealed with a key of his own.
        progress: told the port and how many of its items are done.

    Raises:
        FeedGap: the change feed no longer reaches back to the parent, or the parent was removed meanwhile; make a full
            backup.
        InvalidArgument: the parent does not have one of the ports.
    """
    draft = await archive.begin(kind, store=store, parent=None if parent is None else parent.id, owner_of=owner_of)
    try:
        contents, moments = dict[str, PortContent](), dict[str, datetime]()
        for source in sources:
            contents[source.name], reached = await _port(archive, draft, source, parent, progress)
            moments[source.name] = reached.as_of
        made = await draft.commit(contents, as_of=_moment(moments))
        if parent is not None and not await archive.has(parent.id):
            raise FeedGap(f"The backup {parent.id} was removed while one was made that builds on it.")
        return made
    except BaseException:
        await asyncio.shield(draft.abandon())
        raise


def _moment(moments: dict[str, datetime]) -> datetime:
    """The entities' moment, for they have a feed and expire; else the last at which any port was read."""
    return moments.get(PortName.ENTITIES) or max(moments.values())


async def _port(
    archive: Archive,
    draft: Draft,
    source: Source,
    parent: Manifest | None,
    progress: Callable[[str, int], None] | None,
) -> tuple[PortContent, Reached]:
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace("backup"))
        index = stack.enter_context(Index(folder / "index"))
        position = None if parent is None else await _load_parent(archive, parent, source.name, index)
        if parent is None:
            intake = Intake(draft, source.name, index, progress)
        else:
            intake = Increment(draft, source.name, index, progress, compares=position is None)
        stack.push_async_callback(intake.abandon)
        reached = await source.read(intake) if position is None else await source.read_changes(intake, position)
        return await intake.end(reached), reached


async def _load_parent(archive: Archive, parent: Manifest, port: str, index: Index) -> str | None:
    """Bring the index to the parent's state; where its changes end."""
    content = parent.ports.get(port)
    if content is None:
        raise InvalidArgument(f"The backup {parent.id} does not hold the port {port}; make a full backup.")
    await load_marks(archive, await archive.chain(parent.id), port, index)
    return content.position


async def load_marks(archive: Archive, manifests: Sequence[Manifest], port: str, index: Index) -> None:
    """Bring an index to the state of a port at the end of a chain.

    Raises:
        Corrupt: an object is missing or damaged.
    """
    for manifest in manifests:
        reader = await archive.reader(manifest.id)
        for info in manifest.ports[port].index:
            async for rows in reader.read(info, read_rows):
                await asyncio.to_thread(index.load, rows)


class Intake:
    """Where a source's items go: to the writers of one port, and into its index."""

    is_full = True

    def __init__(self, draft: Draft, port: str, index: Index, progress: Callable[[str, int], None] | None) -> None:
        self._port = port
        self._index = index
        self._progress = progress
        self._base = draft.writer(port)
        self._changes = draft.writer(f"{port}.changes")
        self._marks = draft.writer(f"{port}.index")
        self._sealing = draft.sealing
        self._lane = draft.lane
        self._seals_owners = draft.seals_owners
        self._enclosed = draft.enclosed
        self._contents: list[ObjectInfo] = []
        self._named = self._count = 0

    async def base(self, steps: Iterable[Step]) -> None:
        """Items as they were found."""
        await self._take(steps, self._base)

    async def change(self, steps: Iterable[Step]) -> None:
        """What changed, in order."""
        await self._take(steps, self._changes)

    async def wanted(self, steps: Sequence[Step]) -> list[bool]:
        """All of them: there is no parent that has any."""
        return [True] * len(steps)

    async def content(self, entry: Entry, chunks: AsyncIterable[bytes]) -> bytes:
        """Write what is too long for an entry into an object of its own."""
        self._named += 1
        name = f"{self._port}.content-{self._named:06d}"
        place, owner = await self._sealing(self._port, entry)
        self._contents.append(await write_content(place, name, chunks, self._lane, owner=owner))
        return orjson.dumps([place.backup, name])

    async def end(self, reached: Reached) -> PortContent:
        """End the objects; what the manifest says of this port."""
        base, changes = await self._base.close(), await self._changes.close()
        marks = self._index.packed(changed_only=not self.is_full)
        await self._marks.write(chain.from_iterable(marks))
        items, digest = await self._lane.run(self._index.state, reached.as_of)
        return PortContent(
            base=base,
            changes=changes,
            index=await self._marks.close(),
            contents=tuple(self._contents),
            items=items,
            digest=digest,
            consistency=reached.consistency,
            position=reached.position,
            facts=reached.facts,
        )

    async def abandon(self) -> None:
        """Stop what is being written; nothing to do after ``end``."""
        for writer in (self._base, self._changes, self._marks):
            await writer.abandon()

    async def _take(self, steps: Iterable[Step], writer: ObjectWriter) -> None:
        """Note the steps and write them; with keys of owners a page at a time, else an item at a time."""
        if self._seals_owners:
            page = await self._lane.run(list, steps)
            await self._lane.run(deque, self._noted(page), maxlen=0)
            await writer.add(await self._enclosed(self._port, [step.entry for step in page]))
        else:
            await writer.write(self._noted(steps))
        if self._progress is not None:
            self._progress(self._port, self._count)

    def _noted(self, steps: Iterable[Step]) -> Iterator[bytes]:
        """The steps' entries, packed; when all were taken the index has their marks."""
        tails: list[tuple[bytes, bytes]] = []
        for entry, expires_at in steps:
            key, item = entry.key, entry.item
            tails.append((entry.mark, GONE if item is None else tail_of(item_mark(key, item), expires_at)))
            yield pack(entry)
            if len(tails) == _NOTED:
                self._note(tails)
        self._note(tails)

    def _note(self, tails: list[tuple[bytes, bytes]]) -> None:
        self._index.note_tails(tails, changed=not self.is_full)
        self._count += len(tails)
        tails.clear()


class Increment(Intake):
    """The same over a parent: of a source that reads everything again, only what differs is kept."""

    is_full = False

    def __init__(
        self,
        draft: Draft,
        port: str,
        index: Index,
        progress: Callable[[str, int], None] | None,
        *,
        compares: bool,
    ) -> None:
        super().__init__(draft, port, index, progress)
        self._compares = compares

    async def base(self, steps: Iterable[Step]) -> None:
        """Items as they were found; those that the parent has are passed over."""
        await self.change(await self._lane.run(self._met, steps))

    async def wanted(self, steps: Sequence[Step]) -> list[bool]:
        """Those that the parent does not have as they are."""
        return await self._lane.run(self._index.differing, list(map(_mark, steps)))

    async def end(self, reached: Reached) -> PortContent:
        """End the objects; what a source that read everything did not meet is gone."""
        if self._compares:
            gone = chain.from_iterable(self._index.vanished())
            await self.change(Step(Entry(key, None, is_marked=True)) for key in gone)
        return await super().end(reached)

    def _met(self, steps: Iterable[Step]) -> list[Step]:
        """The steps that differ from what the parent has; all count as met."""
        found = list(steps)
        marks = list(map(_mark, found))
        self._index.saw(marks)
        return [step for step, differs in zip(found, self._index.differing(marks), strict=True) if differs]


def _mark(step: Step) -> Mark:
    entry = step.entry
    return Mark(entry.mark, None if entry.item is None else item_mark(entry.key, entry.item))
