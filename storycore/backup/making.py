"""Making a backup: each port's items go through a writer into objects, and through an index into the digest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime

from storycore.backup.archive import Archive
from storycore.backup.drafts import Draft
from storycore.backup.entries import OwnerOf
from storycore.backup.erasures import Erasures, Lost, erasures, lost_since
from storycore.backup.index import Index, read_rows
from storycore.backup.intake import Increment, Intake
from storycore.backup.manifest import Kind, Manifest, PortContent
from storycore.backup.sources import Reached, Source
from storycore.backup.workspaces import workspace
from storycore.errors import Corrupt, FeedGap, InvalidArgument, Unavailable
from storycore.ports.lifecycle import PortName

__all__ = ["load_marks", "make_backup"]


async def make_backup(
    archive: Archive,
    sources: Sequence[Source],
    *,
    kind: Kind,
    store: str,
    chain: Sequence[Manifest] = (),
    owner_of: OwnerOf | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Manifest:
    """Back up some ports of a store; the backup exists when this returns, and nothing is left of it when it fails.

    Args:
        sources: the ports, in the order in which they are to be restored.
        chain: the backups on which this one builds, as ``Archive.chain`` gives them; none for a full one.
        owner_of: says to whom an entry belongs; entries that belong to somebody are sealed with a key of his own.
        progress: told the port and how many of its items are done.

    Raises:
        FeedGap: the change feed no longer reaches back to the parent, or the parent was removed meanwhile; make a full
            backup.
        InvalidArgument: the parent does not have one of the ports.
        Unavailable: somebody was erased meanwhile, and the backup may hold something of an earlier state.
    """
    noted = None if owner_of is None else await _erasures(archive)
    draft = await archive.begin(kind, store=store, parent=chain[-1].id if chain else None, owner_of=owner_of)
    try:
        over = await _Over.of(archive, chain, owner_of, noted) if chain else None
        contents, moments = dict[str, PortContent](), dict[str, datetime]()
        for source in sources:
            contents[source.name], reached = await _port(archive, draft, source, over, progress)
            moments[source.name] = reached.as_of
        if owner_of is not None and noted != await _erasures(archive):
            raise Unavailable("Somebody was erased while the backup was made; make it again.")
        made = await draft.commit(contents, as_of=_moment(moments))
        if chain and not await archive.has(chain[-1].id):
            raise FeedGap(f"The backup {chain[-1].id} was removed while one was made that builds on it.")
        return made
    except BaseException:
        await asyncio.shield(draft.abandon())
        raise


def _moment(moments: dict[str, datetime]) -> datetime:
    """The entities' moment, for they have a feed and expire; else the last at which any port was read."""
    return moments.get(PortName.ENTITIES) or max(moments.values())


@dataclass(frozen=True, slots=True)
class _Over:
    """On what an increment builds.

    Args:
        chain: the backups, as ``Archive.chain`` gives them.
        lost: what of them is lost with the keys of owners who were erased since. Then everything is read again, for
            what the feed tells from before that would be sealed with a new key.
    """

    chain: Sequence[Manifest]
    lost: Lost | None

    @classmethod
    async def of(
        cls, archive: Archive, chain: Sequence[Manifest], owner_of: OwnerOf | None, noted: Erasures | None
    ) -> _Over:
        if owner_of is None or noted is None:
            return cls(chain, None)
        return cls(chain, await lost_since(archive, chain, owner_of, noted))

    def content(self, port: str) -> PortContent:
        """What the parent holds of a port."""
        parent = self.chain[-1]
        if port not in parent.ports:
            raise InvalidArgument(f"The backup {parent.id} does not hold the port {port}; make a full backup.")
        return parent.ports[port]


async def _erasures(archive: Archive) -> Erasures | None:
    """What was noted; a damaged note says nothing, and is no parent's."""
    with suppress(Corrupt):
        return await erasures(archive)
    return None


async def _port(
    archive: Archive,
    draft: Draft,
    source: Source,
    over: _Over | None,
    progress: Callable[[str, int], None] | None,
) -> tuple[PortContent, Reached]:
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace("backup"))
        index = stack.enter_context(Index(folder / "index"))
        parent = None if over is None else over.content(source.name)
        if over is None or parent is None:
            intake, is_told = Intake(draft, source.name, index, progress), False
        else:
            await load_marks(archive, over.chain, source.name, index)
            is_told = over.lost is None and await source.tells(parent)
            intake = Increment(draft, source.name, index, progress, compares=not is_told, lost=over.lost)
        stack.push_async_callback(intake.abandon)
        reached = await source.read_changes(intake, parent) if parent and is_told else await source.read(intake)
        return await intake.end(reached), reached


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
