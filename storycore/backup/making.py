"""Making a backup: each port's items go through a writer into objects, and through an index into the digest."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storycore.backup.archive import Archive, Draft
from storycore.backup.index import Index, Mark, item_mark, key_mark
from storycore.backup.manifest import Kind, Manifest, PortContent
from storycore.backup.objects import ObjectWriter
from storycore.backup.sources import Reached, Source, Step
from storycore.errors import FeedGap, InvalidArgument

__all__ = ["make_backup"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def make_backup(
    archive: Archive,
    sources: Sequence[Source],
    *,
    kind: Kind,
    store: str,
    parent: Manifest | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Manifest:
    """Back up some ports of a store; the backup exists when this returns, and nothing is left of it when it fails.

    Args:
        sources: the ports, in the order in which they are to be restored.
        parent: the backup on which this one builds; ``None`` for a full one.
        progress: told the port and how many of its items are done.

    Raises:
        FeedGap: the change feed no longer reaches back to the parent; make a full backup.
        InvalidArgument: the parent does not have one of the ports.
    """
    draft = await archive.begin(kind, store=store, parent=None if parent is None else parent.id)
    try:
        contents, moments = dict[str, PortContent](), list[datetime]()
        for source in sources:
            contents[source.name], reached = await _port(archive, draft, source, parent, progress)
            moments.append(reached.as_of)
        return await draft.commit(contents, as_of=moments[0])
    except BaseException:
        await asyncio.shield(draft.abandon())
        raise


async def _port(
    archive: Archive,
    draft: Draft,
    source: Source,
    parent: Manifest | None,
    progress: Callable[[str, int], None] | None,
) -> tuple[PortContent, Reached]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="storycore-backup-"))
        index = stack.enter_context(Index(Path(folder) / "index.db"))
        intake = Intake(draft, source.name, index, progress, is_full=parent is None)
        stack.push_async_callback(intake.abandon)
        if parent is None:
            reached = await source.read(intake)
        else:
            position = await _load_parent(archive, parent, source.name, index)
            reached = await source.read_changes(intake, position)
        return await intake.content(reached), reached


async def _load_parent(archive: Archive, parent: Manifest, port: str, index: Index) -> str:
    """Bring the index to the parent's state; where its changes end."""
    chain = await archive.chain(parent.id)
    content = parent.ports.get(port)
    if content is None:
        raise InvalidArgument(f"The backup {parent.id} does not hold the port {port}; make a full backup.")
    if content.position is None:
        raise FeedGap(f"The backup {parent.id} does not say where the changes behind it begin; make a full backup.")
    for manifest in chain:
        reader = await archive.reader(manifest.id)
        for info in manifest.ports[port].index:
            async for entries in reader.frames(info):
                await asyncio.to_thread(index.load, entries)
    return content.position


class Intake:
    """Where a source's items go: to the writers of one port, and into its index."""

    def __init__(
        self,
        draft: Draft,
        port: str,
        index: Index,
        progress: Callable[[str, int], None] | None,
        *,
        is_full: bool,
    ) -> None:
        self._port = port
        self._index = index
        self._progress = progress
        self._is_full = is_full
        self._base = draft.writer(port)
        self._changes = draft.writer(f"{port}.changes")
        self._marks = draft.writer(f"{port}.index")
        self._count = 0

    async def base(self, steps: Sequence[Step]) -> None:
        """Items as they were found."""
        await self._take(steps, self._base)

    async def change(self, steps: Sequence[Step]) -> None:
        """What changed, in order."""
        await self._take(steps, self._changes)

    async def content(self, reached: Reached) -> PortContent:
        """End the objects; what the manifest says of this port."""
        base, changes = await self._base.close(), await self._changes.close()
        marks = self._index.entries(changed_only=not self._is_full)
        while entries := await asyncio.to_thread(next, marks, None):
            await self._marks.add(entries)
        items, digest = await asyncio.to_thread(self._index.state, reached.as_of)
        return PortContent(
            base=base,
            changes=changes,
            index=await self._marks.close(),
            items=items,
            digest=digest,
            consistency=reached.consistency,
            position=reached.position,
            facts=reached.facts,
        )

    async def abandon(self) -> None:
        """Stop what is being written; nothing to do after ``content``."""
        for writer in (self._base, self._changes, self._marks):
            await writer.abandon()

    async def _take(self, steps: Sequence[Step], writer: ObjectWriter) -> None:
        if not steps:
            return
        await asyncio.to_thread(self._note, steps)
        await writer.add([step.entry for step in steps])
        self._count += len(steps)
        if self._progress is not None:
            self._progress(self._port, self._count)

    def _note(self, steps: Sequence[Step]) -> None:
        self._index.note([_mark(step) for step in steps], changed=not self._is_full)


def _mark(step: Step) -> Mark:
    entry = step.entry
    if entry.item is None:
        return Mark(key_mark(entry.key), None)
    mark = item_mark(entry.key, entry.item)
    if step.expires_at is None:
        return Mark(key_mark(entry.key), mark)
    return Mark(key_mark(entry.key), mark, (step.expires_at - _EPOCH) // timedelta(microseconds=1))
