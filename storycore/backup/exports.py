"""Exports: the entities of a backup in the layout of another program, and entities from such a layout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import orjson

from storycore.backup.archive import Archive
from storycore.backup.entries import Entry
from storycore.backup.items import put_of, record_item, record_key
from storycore.backup.long_bodies import LongBodies, with_bodies
from storycore.backup.origins import BackupOrigin, Origin, Replayed
from storycore.backup.outcomes import ExportCreated, ExportVerified, Imported
from storycore.backup.outside import Outside, Where, shown
from storycore.backup.places import BlobPlace
from storycore.backup.receiving import Into, Receiver
from storycore.backup.restoring import Mode, OnConflict, PortChanges, Progress, Selection, bring, compare
from storycore.backup.sources import Source
from storycore.backup.states import States
from storycore.backup.workspaces import workspace
from storycore.entities.leases import OWN_KINDS
from storycore.errors import Corrupt, InvalidArgument, NotFound, SchemaMismatch
from storycore.layers.spilled_bodies import PLACE_KIND
from storycore.ports.backup_formats import BackupFormat, Export, Exported, ExportFacts, ExportPart, ExportPlace
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import Version
from storycore.ports.entities import Record
from storycore.ports.environment import Environment
from storycore.ports.instants import micros
from storycore.ports.lifecycle import PortName

__all__ = ["Exports"]

_OWN_KINDS = OWN_KINDS | {PLACE_KIND}
"""What a store keeps about itself, and another one must not take over."""
_ENTITIES = frozenset({str(PortName.ENTITIES)})


class Exports:
    """Exports of one store's backups, and imports into it.

    Args:
        archive: where the backups lie.
        states: which backup a name or a moment means.
        receiver: the store itself.
        env: time and randomness.
        store: the store's namespace.
        outside: finds formats and opens places.
        blobs: of the store, where the long bodies of its own table lie.
    """

    def __init__(
        self,
        archive: Archive,
        states: States,
        receiver: Receiver,
        env: Environment,
        *,
        store: str,
        outside: Outside,
        blobs: BlobStore | None = None,
    ) -> None:
        self._archive = archive
        self._states = states
        self._receiver = receiver
        self._env = env
        self._store = store
        self._outside = outside
        self._blobs = blobs

    async def create(
        self,
        id_: str = "latest",
        *,
        to: Where,
        format: str,  # noqa: A002 - the option's own name
        at: datetime | None = None,
        selection: Selection | None = None,
        progress: Progress | None = None,
    ) -> ExportCreated:
        """Write the entities of a backup into a place, in the layout of another program.

        They are **not encrypted** there. Interrupted, nothing there counts as an export; doing it again finishes it,
        and takes the place of what the same backup and selection left.

        Args:
            id_: which backup; ``latest`` stands for the newest.
            to: a folder, the URL of a blob store, or an open one.
            format: as a plugin names it: ``"dynamodb-json"``.
            at: instead: the state at this moment, as ``Backups.restore`` takes it.

        Raises:
            InvalidArgument: there is no such format, or the backup holds no entities.
            Corrupt: an object of the backup is missing or damaged.
            StorageFull: there is no room for it.
        """
        layout, meant = self._outside.format(format), selection or Selection()
        chain, tail = await self._states.chain(id_, at)
        origin, source = BackupOrigin(self._archive, chain, tail), self._source()
        if source.name not in origin.ports or (meant.ports is not None and source.name not in meant.ports):
            raise InvalidArgument(f"An export is of entities, which {origin.name} does not hold, or were not selected.")
        as_of = chain[-1].as_of if tail is None else tail.as_of
        facts = ExportFacts(id=self._id(chain[-1].id, as_of, meant, format), as_of=as_of, store=self._store)
        async with (
            self._outside.place(to, create=True) as place,
            workspace("restore") as folder,
        ):
            with origin.replayed(source.name, folder) as replay:
                reading, bodies = _Reading(replay, source, meant, progress), LongBodies(place, facts.id)
                async with aclosing(reading.pages()) as whole, aclosing(bodies.spilled(whole)) as pages:
                    made = await layout.write(place, pages, facts)
                erased = len(replay.erased)
        without = [name for name, held in chain[-1].ports.items() if held.items and name != source.name]
        return ExportCreated(
            made.name, chain[-1].id, as_of, reading.count, len(made.parts), bodies.count, erased, tuple(without)
        )

    async def verify(
        self,
        source: Where,
        *,
        format: str,  # noqa: A002 - the option's own name
        name: str | None = None,
        bodies: Where | None = None,
    ) -> ExportVerified:
        """Read a whole export and name everything that is lost; goes on after a finding.

        Args:
            source: where it lies.
            name: which of several.
            bodies: where long bodies lie that are neither beside the export nor in this store's blobs.

        Raises:
            NotFound: there is none.
            Corrupt: its manifest is damaged, or files are missing.
        """
        problems: list[str] = []
        count = 0
        async with self._found(source, format, name, bodies) as origin:
            for part in origin.export.parts:
                try:
                    async with aclosing(origin.entries(part, problems)) as pages:
                        async for page in pages:
                            count += len(page)
                except (Corrupt, SchemaMismatch) as exc:
                    problems.append(exc.message)
            return ExportVerified(origin.export.name, origin.export.as_of, count, tuple(problems))

    async def plan_restore(
        self,
        source: Where,
        *,
        format: str,  # noqa: A002 - the option's own name
        name: str | None = None,
        bodies: Where | None = None,
        into: Into = None,
        selection: Selection | None = None,
    ) -> dict[str, PortChanges]:
        """What ``restore`` would change; reads the whole export and writes nothing."""
        meant = selection or Selection()
        async with self._found(source, format, name, bodies) as origin:
            _require_possible(origin, meant, "merge", "overwrite")
            return await compare(origin, self._receiver.instead(into).sources, meant)

    async def restore(
        self,
        source: Where,
        *,
        format: str,  # noqa: A002 - the option's own name
        name: str | None = None,
        bodies: Where | None = None,
        into: Into = None,
        selection: Selection | None = None,
        mode: Mode = "new",
        on_conflict: OnConflict = "fail",
        create_tables: bool = True,
        progress: Progress | None = None,
    ) -> Imported:
        """Write an export's entities into a store, as ``Backups.restore`` writes a backup's.

        An export of changes goes over a store that holds the state before them, with ``mode="merge"`` and
        ``on_conflict="overwrite"``; with ``selection`` it is refused, for what is gone tells no kind.

        Args:
            source: where it lies: a folder, the URL of a blob store, or an open one.
            name: which of several.
            bodies: where long bodies lie that are neither beside the export nor in this store's blobs.
            into: the store that receives, or its ports; ``None``: this store.

        Raises:
            NotFound: there is no export.
            Corrupt: a file is missing or damaged; the error names it. What was written before stays, of that file
                nothing is.
            SchemaMismatch: it is of a table that storycore did not write.
            ConditionFailed, AlreadyExists: as with ``Backups.restore``.
        """
        meant = selection or Selection()
        async with self._found(source, format, name, bodies) as origin:
            _require_possible(origin, meant, mode, on_conflict)
            async with self._receiver.instead(into).receiving(create_tables=create_tables) as targets:
                written = await bring(origin, targets, meant, mode=mode, on_conflict=on_conflict, progress=progress)
        return Imported(origin.export.name, origin.export.as_of, written.get(str(PortName.ENTITIES), 0))

    @asynccontextmanager
    async def _found(
        self, where: Where, format_: str, name: str | None, bodies: Where | None
    ) -> AsyncIterator[_ExportOrigin]:
        layout = self._outside.format(format_)
        async with AsyncExitStack() as stack:
            place = await stack.enter_async_context(self._outside.place(where))
            more = [] if bodies is None else [await stack.enter_async_context(self._outside.place(bodies))]
            own = [] if self._blobs is None else [BlobPlace(self._blobs)]
            try:
                export = await layout.find(place, name)
            except NotFound as exc:
                raise NotFound(f"{shown(where)}: {exc.message}") from exc
            yield _ExportOrigin(layout, place, export, [place, *more, *own])

    def _source(self) -> Source:
        for source in self._receiver.sources:
            if source.name in _ENTITIES:
                return source
        raise InvalidArgument("The profile does not back up its entities; add them to backup.ports.")

    def _id(self, backup: str, as_of: datetime, selection: Selection, format_: str) -> str:
        """An id that is the same for the same state and selection, as far as that can be known."""
        kinds = sorted(selection.kinds or ())
        anew = "" if selection.where is None else self._env.new_id()
        told = orjson.dumps([backup, micros(as_of), kinds, selection.user, format_, anew])
        return f"{micros(as_of) // 1000:014d}-{sha256(told).hexdigest()[:8]}"


class _Reading:
    """Records of a backup on their way out."""

    def __init__(self, replay: Replayed, source: Source, selection: Selection, progress: Progress | None) -> None:
        self._replay = replay
        self._source = source
        self._selection = selection
        self._progress = progress
        self.count = 0

    async def pages(self) -> AsyncGenerator[list[Record], None]:
        """The selected records."""
        async for entries in self._replay.items():
            if records := await asyncio.to_thread(self._records, entries):
                self.count += len(records)
                yield records
                if self._progress is not None:
                    self._progress(self._source.name, self.count)

    def _records(self, entries: Sequence[Entry]) -> list[Record]:
        return [_record(entry) for entry in entries if self._selection.has(self._source, entry)]


class _ExportOrigin:
    """An export as a restore sees it."""

    ports: Mapping[str, Mapping[str, str | int]] = {str(PortName.ENTITIES): {}}

    def __init__(self, layout: BackupFormat, place: ExportPlace, export: Export, bodies: Sequence[ExportPlace]) -> None:
        self._layout = layout
        self._place = place
        self._bodies = bodies
        self.export = export
        self.name = f"the export {export.name}"
        self.is_whole = export.is_whole
        self.contents = _NoContents()
        self.erased: list[bytes] = []

    def replayed(self, port: str, folder: Path) -> AbstractContextManager[_ExportOrigin]:
        """The records, which need no room."""
        return nullcontext(self)

    async def items(self) -> AsyncIterator[list[Entry]]:
        """All records, part by part."""
        for part in self.export.parts:
            async with aclosing(self.entries(part)) as pages:
                async for page in pages:
                    yield page

    async def entries(self, part: ExportPart, lost: list[str] | None = None) -> AsyncGenerator[list[Entry], None]:
        """The records of one part, with whole bodies.

        Args:
            lost: takes a sentence for each record whose body is lost, and which is left out; without it that is
                ``Corrupt``.
        """
        async with (
            aclosing(self._layout.read(self._place, self.export, part)) as pages,
            aclosing(with_bodies(pages, self._bodies, lost)) as whole,
        ):
            async for page in whole:
                yield await asyncio.to_thread(_entries, page)


class _NoContents:
    """Records have nothing that is too long for an entry."""

    def read(self, more: bytes) -> AsyncIterator[bytes]:
        """Nothing leads here."""
        raise Corrupt("An export holds records alone.")


def _entries(page: Sequence[Exported]) -> list[Entry]:
    return [
        Entry(record_key(each.key), record_item(each)) if isinstance(each, Record) else Entry(record_key(each), None)
        for each in page
        if not (isinstance(each, Record) and each.kind in _OWN_KINDS)
    ]


def _record(entry: Entry) -> Record:
    assert entry.item is not None, "a replay gives no items that are gone"
    put = put_of(entry.item)
    return Record(
        key=put.key,
        kind=put.kind,
        version=Version(0),
        expires_at=put.expires_at,
        index_keys=put.index_keys,
        fields=put.fields,
        body=put.body,
    )


def _require_possible(origin: Origin, selection: Selection, mode: Mode, on_conflict: OnConflict) -> None:
    if origin.is_whole:
        return
    if mode != "merge" or on_conflict != "overwrite":
        raise InvalidArgument(
            f"T{origin.name[1:]} holds changes alone: restore the state before them first, then this one with "
            "mode='merge' and on_conflict='overwrite'."
        )
    if selection != Selection():
        raise InvalidArgument(f"T{origin.name[1:]} holds changes alone, of which no part can be selected.")
