"""Intake: where the items of one port go: into objects through a writer, and as marks into an index."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from itertools import chain

import orjson

from storycore.backup.contents import write_content
from storycore.backup.drafts import Draft
from storycore.backup.entries import Entry, key_mark, pack, pack_item
from storycore.backup.erasures import Lost
from storycore.backup.index import GONE, Index, Mark, item_mark, tail_of
from storycore.backup.manifest import ObjectInfo, PortContent
from storycore.backup.objects import ObjectWriter
from storycore.backup.sources import Reached, Step

__all__ = ["Increment", "Intake"]

_NOTED = 4096
"""Marks that are gathered before the index takes them."""


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
        tails: dict[bytes, bytes] = {}
        for step in steps:
            key, head, body, expires_at, more, is_marked = step
            if head is None:
                tails[key if is_marked else key_mark(key)] = GONE
            else:
                tails[key_mark(key)] = tail_of(item_mark(key, head, body), expires_at)
            yield pack(step.entry) if more or head is None else pack_item(key, head, body)
            self._count += 1
            if len(tails) == _NOTED:
                self._note(tails)
        self._note(tails)

    def _note(self, tails: dict[bytes, bytes]) -> None:
        self._index.note_tails(tails, changed=not self.is_full)
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
        lost: Lost | None = None,
    ) -> None:
        super().__init__(draft, port, index, progress)
        self._compares = compares
        self._lost = lost

    async def base(self, steps: Iterable[Step]) -> None:
        """Items as they were found; those that the parent has are passed over."""
        await super().change(await self._lane.run(self._met, steps))

    async def change(self, steps: Iterable[Step]) -> None:
        """What changed, in order; where everything was read again, it counts as met."""
        await super().change(await self._lane.run(self._told, steps) if self._compares else steps)

    async def wanted(self, steps: Sequence[Step]) -> list[bool]:
        """Those that the parent does not have as they are."""
        return await self._lane.run(self._differing, steps)

    async def end(self, reached: Reached) -> PortContent:
        """End the objects; what a source that read everything did not meet is gone."""
        if self._compares:
            gone = chain.from_iterable(self._index.vanished())
            await super().change(Step(key, None, is_marked=True) for key in gone)
        return await super().end(reached)

    def _met(self, steps: Iterable[Step]) -> list[Step]:
        """The steps that differ from what the parent has; all count as met."""
        found = self._told(steps)
        return [step for step, differs in zip(found, self._differing(found), strict=True) if differs]

    def _told(self, steps: Iterable[Step]) -> list[Step]:
        found = list(steps)
        self._index.saw([Mark(step.mark, None) for step in found])
        return found

    def _differing(self, steps: Sequence[Step]) -> list[bool]:
        """For each step whether the parent has another item, or none, or one that nobody can read any more."""
        differing = self._index.differing(list(map(_mark, steps)))
        if self._lost is None:
            return differing
        return [
            differs or self._lost.has(self._port, step.entry) for step, differs in zip(steps, differing, strict=True)
        ]


def _mark(step: Step) -> Mark:
    key, head, body, *_ = step
    return Mark(step.mark, None if head is None else item_mark(key, head, body))
