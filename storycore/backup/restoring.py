"""Restoring: the state of a backup, or a part of it, into a store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.entries import Entry
from storycore.backup.index import Index, Mark, item_mark
from storycore.backup.manifest import Manifest
from storycore.backup.origins import BackupOrigin, Origin, Replayed
from storycore.backup.recordings import Tail
from storycore.backup.sources import Contents, Source
from storycore.backup.workspaces import workspace
from storycore.errors import AlreadyExists, ConditionFailed, InvalidArgument, NotProvisioned

__all__ = [
    "Mode",
    "OnConflict",
    "PortChanges",
    "Progress",
    "Selection",
    "bring",
    "compare",
    "plan_restore",
    "restore",
    "without_place",
]

Mode: TypeAlias = Literal["new", "merge", "replace"]
OnConflict: TypeAlias = Literal["fail", "skip", "overwrite"]
Progress: TypeAlias = Callable[[str, int], None]

_BATCH = 1000
_BATCH_BYTES = 4 * 1024 * 1024
"""A store gets no more items at once, nor bytes, unless a single item has more: it is written in one transaction."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a backup is meant; what is not named is all.

    Args:
        ports: names of ports.
        kinds: of items, for example ``{"story", "user"}``; with what keeps their values unique, and what was deleted
            softly.
        user: only what belongs to this user, see ``storycore.backup.belonging``.
        where: told the port's name and an entry whose item is there; whether it is meant.
    """

    ports: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    user: str | None = None
    where: Callable[[str, Entry], bool] | None = None

    def has(self, source: Source, entry: Entry) -> bool:
        """Whether an item is meant."""
        if self.kinds is not None and source.kind(entry).partition("~")[0] not in self.kinds:
            return False
        if self.user is not None and owner_of(source.name, entry) != self.user:
            return False
        return self.where is None or self.where(source.name, entry)


@dataclass(frozen=True, slots=True)
class PortChanges:
    """What a restore does, or would do, to one port.

    Args:
        added: items that are not there, by kind.
        replaced: items that are there with other content.
        unchanged: items that are there as they are in the backup.
        removed: items that are there and not in the backup; only ``replace`` removes them.
    """

    added: Mapping[str, int] = field(default_factory=dict)
    replaced: Mapping[str, int] = field(default_factory=dict)
    unchanged: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)


async def plan_restore(
    archive: Archive,
    chain: Sequence[Manifest],
    targets: Sequence[Source],
    selection: Selection,
    *,
    tail: Tail | None = None,
) -> dict[str, PortChanges]:
    """What a restore of everything selected would change; writes nothing.

    A target that does not exist yet is empty.
    """
    return await compare(BackupOrigin(archive, chain, tail), targets, selection)


async def compare(origin: Origin, targets: Sequence[Source], selection: Selection) -> dict[str, PortChanges]:
    """The same of any origin."""
    found: dict[str, PortChanges] = {}
    for target in _chosen(origin, targets, selection):
        is_there = await _exists(target)
        counts = {name: Counter[str]() for name in ("added", "replaced", "unchanged", "removed")}
        async with _replayed(origin, target) as (replay, wanted):
            async for entries in _selected(replay, target, selection):
                await asyncio.to_thread(wanted.note, _marks(entries), changed=False)
                there = await target.held([e.key for e in entries]) if is_there else [None] * len(entries)
                for entry, held in zip(entries, there, strict=True):
                    if (name := _difference(entry, held)) is not None:
                        counts[name][target.kind(Entry(entry.key, held) if entry.item is None else entry)] += 1
            if is_there and target.forgets and origin.is_whole:
                async for entries in target.scan():
                    gone = [e for e in entries if selection.has(target, e) and not wanted.has(e.mark)]
                    counts["removed"].update(map(target.kind, gone))
        found[target.name] = PortChanges(**{name: dict(sorted(count.items())) for name, count in counts.items()})
    return found


async def restore(
    archive: Archive,
    chain: Sequence[Manifest],
    targets: Sequence[Source],
    selection: Selection,
    *,
    mode: Mode = "new",
    on_conflict: OnConflict = "fail",
    tail: Tail | None = None,
    erased: dict[str, list[bytes]] | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write what is selected into the targets; how many items were written, by port.

    Doing it again after an interruption completes it. What has expired since is not brought back, over nothing else.

    Args:
        chain: as ``Archive.chain`` gives it.
        targets: the ports of the store that receives.
        mode: ``new``: the target is empty where something is selected, or has only what an interrupted restore of the
            same state left; ``merge``: what is there besides stays; ``replace``: what is selected there and not in the
            backup goes.
        on_conflict: what ``merge`` does where the target has an item under the same key.
        tail: what was recorded behind the chain, for the entities alone.
        erased: takes, by port, the marks of keys whose items were left out because their owners were erased.

    Raises:
        SchemaMismatch: a port was made for other items, for example for vectors of another model.
        ConditionFailed: with ``new`` the target is not empty.
        AlreadyExists: with ``merge`` and ``fail`` the target has an item; what was written before stays.
        Corrupt: an object of the backup is missing or damaged; what was written before stays.
    """
    origin = BackupOrigin(archive, chain, tail)
    return await bring(origin, targets, selection, mode=mode, on_conflict=on_conflict, erased=erased, progress=progress)


async def bring(
    origin: Origin,
    targets: Sequence[Source],
    selection: Selection,
    *,
    mode: Mode = "new",
    on_conflict: OnConflict = "fail",
    erased: dict[str, list[bytes]] | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """The same from any origin; what is not whole goes over what is there: ``merge`` with ``overwrite``."""
    chosen = _chosen(origin, targets, selection)
    for target in chosen:
        target.check(origin.ports[target.name])
    if mode == "new":
        for target in chosen:
            await _require_room(origin, target, selection)
    written: dict[str, int] = {}
    for target in chosen:
        async with _replayed(origin, target) as (replay, wanted):
            written[target.name] = 0
            async with aclosing(_ahead(_selected(replay, target, selection))) as lists:
                async for entries in lists:
                    written[target.name] += await _apply(target, entries, origin.contents, mode, on_conflict)
                    if mode == "replace":
                        await asyncio.to_thread(wanted.note, _marks(entries), changed=False)
                    if progress is not None:
                        progress(target.name, written[target.name])
            if mode == "replace" and target.forgets:
                await _remove_others(target, origin.contents, wanted, selection)
            if erased is not None:
                erased[target.name] = replay.erased
    return written


def _chosen(origin: Origin, targets: Sequence[Source], selection: Selection) -> list[Source]:
    held = set(origin.ports)
    if selection.ports is not None and (unknown := sorted(selection.ports - held)):
        raise InvalidArgument(
            f"T{origin.name[1:]} does not hold {', '.join(unknown)}; it holds {', '.join(sorted(held))}."
        )
    if lacking := sorted((selection.ports or frozenset()) - {each.name for each in targets}):
        raise InvalidArgument(f"The store that is to receive {', '.join(lacking)} has no such port; leave that out.")
    return [each for each in targets if each.name in held and _is_meant(each.name, selection.ports)]


def without_place(manifest: Manifest, targets: Sequence[Source]) -> list[str]:
    """The ports of which a backup has items, and which none of the targets is."""
    there = {target.name for target in targets}
    return [name for name, content in manifest.ports.items() if content.items and name not in there]


def _is_meant(port: str, ports: frozenset[str] | None) -> bool:
    return ports is None or port in ports


@asynccontextmanager
async def _replayed(origin: Origin, target: Source) -> AsyncIterator[tuple[Replayed, Index]]:
    """The replay of one port, and an index for the keys that it gives."""
    async with workspace("restore") as folder:
        with origin.replayed(target.name, folder) as replay, Index(folder / "wanted.db") as wanted:
            yield replay, wanted


async def _ahead(lists: AsyncGenerator[list[Entry], None]) -> AsyncGenerator[list[Entry], None]:
    """The same lists; while one is used, the next is fetched."""
    async with aclosing(lists):
        coming = asyncio.ensure_future(_next(lists))
        try:
            while (entries := await coming) is not None:
                coming = asyncio.ensure_future(_next(lists))
                yield entries
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _next(lists: AsyncIterator[list[Entry]]) -> list[Entry] | None:
    return await anext(lists, None)


async def _selected(replay: Replayed, target: Source, selection: Selection) -> AsyncGenerator[list[Entry], None]:
    async for entries in replay.items():
        meant = [entry for entry in entries if target.is_live(entry) and selection.has(target, entry)]
        for batch in _batches(meant):
            yield batch


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries in runs that a store takes at once."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry.item or b"")
        if batch and (len(batch) == _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


async def _apply(
    target: Source, entries: Sequence[Entry], contents: Contents, mode: Mode, on_conflict: OnConflict
) -> int:
    if mode != "merge" or on_conflict == "overwrite":
        return sum(await target.apply(entries, contents, overwrite=True))
    done = await target.apply(entries, contents, overwrite=False)
    if on_conflict == "fail" and not all(done):
        held = next(entry for entry, is_done in zip(entries, done, strict=True) if not is_done)
        raise AlreadyExists(
            f"The receiving store has {target.name} of the backup already, the first of the kind "
            f"{target.kind(held)!r}; restore with on_conflict 'skip' or 'overwrite'."
        )
    return sum(done)


async def _require_room(origin: Origin, target: Source, selection: Selection) -> None:
    """Refuse a target that holds anything selected but what this very restore writes."""
    if await _is_empty(target, selection):
        return
    async with _replayed(origin, target) as (replay, wanted):
        async for entries in _selected(replay, target, selection):
            await asyncio.to_thread(wanted.note, _marks(entries), changed=False)
        async for entries in target.scan():
            held = _marks([entry for entry in entries if selection.has(target, entry)])
            if any(await asyncio.to_thread(wanted.differing, held)):
                raise ConditionFailed(
                    f"The target's {target.name} are not empty; restore into another store, or with mode='merge' or "
                    "'replace'."
                )


async def _exists(target: Source) -> bool:
    """Whether the target has been created."""
    try:
        async for _ in target.scan():
            break
    except NotProvisioned:
        return False
    return True


async def _is_empty(target: Source, selection: Selection) -> bool:
    async for entries in target.scan():
        if any(selection.has(target, entry) for entry in entries):
            return False
    return True


def _difference(entry: Entry, held: bytes | None) -> str | None:
    """What a restore does with an entry, where it does anything or the item is there."""
    if entry.item is None:
        return None if held is None else "removed"
    return "added" if held is None else "unchanged" if held == entry.item else "replaced"


def _marks(entries: Sequence[Entry]) -> list[Mark]:
    return [Mark(entry.mark, item_mark(entry.key, entry.item)) for entry in entries if entry.item is not None]


async def _remove_others(target: Source, contents: Contents, wanted: Index, selection: Selection) -> None:
    async for entries in target.scan():
        gone = [e for e in entries if selection.has(target, e) and not wanted.has(e.mark)]
        await target.apply([Entry(entry.key, None) for entry in gone], contents, overwrite=True)
