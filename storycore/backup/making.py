"""Making a backup: each port's items go through a writer into objects, and through an index into the digest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from storycore.backup.archive import Archive
from storycore.backup.drafts import Draft
from storycore.backup.entries import OwnerOf
from storycore.backup.index import Index, read_rows
from storycore.backup.intake import Increment, Intake
from storycore.backup.manifest import Kind, Manifest, PortContent
from storycore.backup.sources import Reached, Source
from storycore.backup.workspaces import workspace
from storycore.errors import FeedGap, InvalidArgument
from storycore.ports.lifecycle import PortName

__all__ = ["load_marks", "make_backup"]


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
