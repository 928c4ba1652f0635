"""One run of a pipeline over the files of a root: who does what, side by side, and what is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from storycore.ingestion.embedding import EmbeddingQueue
from storycore.ingestion.examining import Examiner, Found
from storycore.ingestion.listing import SourceFile
from storycore.ingestion.reading import NoDocument
from storycore.ingestion.reports import Failure, Outcome, Plan, Progress, Report, Skipped
from storycore.ingestion.state import Known, SourceStates
from storycore.ingestion.updating import Counts, StageFailed, Targets, remove_document, update_document

__all__ = ["Planner", "Run", "side_by_side"]

T = TypeVar("T")

_EMPTY = "empty"


@dataclass(slots=True)
class Run:
    """Brings documents into the index and takes them out.

    Args:
        verify: trust nothing but the index itself about what it holds.
        total: documents to be done, for the progress.
    """

    examiner: Examiner
    states: SourceStates
    targets: Targets
    queue: EmbeddingQueue
    report: Report
    progress: Callable[[Progress], None] | None = None
    verify: bool = False
    total: int = 1
    done: int = 0

    async def bring(self, file: SourceFile, known: Known | None) -> None:
        """Read a file and make the index hold its chunks; a failure is reported, not raised."""
        await self._reported(file.uri, self._bring(file, known))

    async def remove(self, uri: str) -> None:
        """Take a document out of the index; a failure is reported, not raised."""
        await self._reported(uri, self._remove(uri))

    async def _reported(self, uri: str, work: Awaitable[Outcome]) -> None:
        outcome: Outcome
        try:
            outcome = await work
        except NoDocument as exc:
            self.report.skipped.append(Skipped(uri, str(exc)))
            outcome = "skipped"
        except StageFailed as exc:
            self.report.failed.append(Failure(uri, exc.stage, exc.error))
            outcome = "failed"
        self.done += 1
        if self.progress is not None:
            self.progress(Progress(self.done, self.total, uri, outcome))

    async def _bring(self, file: SourceFile, known: Known | None) -> Outcome:
        found = await self.examiner.examine(file, known, cut=self.verify)
        counts = Counts(kept=known.chunks if known else 0)
        if found.chunks is not None:
            counts = await update_document(
                file.uri,
                found.fingerprint,
                found.chunks,
                states=self.states,
                targets=self.targets,
                queue=self.queue,
                verify=self.verify,
            )
        self._count(counts)
        return _classified(self.report, file.uri, known, found)

    async def _remove(self, uri: str) -> Outcome:
        self._count(await remove_document(uri, states=self.states, targets=self.targets))
        self.report.removed.append(uri)
        return "removed"

    def _count(self, counts: Counts) -> None:
        self.report.chunks_embedded += counts.embedded
        self.report.characters_embedded += counts.characters
        self.report.chunks_kept += counts.kept
        self.report.chunks_deleted += counts.deleted


@dataclass(slots=True)
class Planner:
    """Finds out what a run would do."""

    examiner: Examiner
    states: SourceStates
    plan: Plan

    async def look(self, file: SourceFile, known: Known | None) -> None:
        """Count what a run would do with a file."""
        try:
            found = await self.examiner.examine(file, known)
        except NoDocument as exc:
            self.plan.skipped.append(Skipped(file.uri, str(exc)))
        except StageFailed as exc:
            self.plan.failed.append(Failure(file.uri, exc.stage, exc.error))
        else:
            await self._compare(file.uri, known, found)
            _classified(self.plan, file.uri, known, found)

    async def drop(self, uri: str) -> None:
        """Count what a run would remove."""
        self.plan.chunks_deleted += len((await self.states.load(uri)).possible)
        self.plan.removed.append(uri)

    async def _compare(self, uri: str, known: Known | None, found: Found) -> None:
        if found.chunks is None:
            self.plan.chunks_kept += known.chunks if known else 0
            return
        loaded = await self.states.load(uri)
        new = [chunk for chunk in found.chunks if chunk.id not in loaded.possible]
        self.plan.chunks_embedded += len(new)
        self.plan.characters_embedded += sum(len(chunk.embedded) for chunk in new)
        self.plan.chunks_kept += len(found.chunks) - len(new)
        self.plan.chunks_deleted += len(loaded.possible - {chunk.id for chunk in found.chunks})


def _classified(plan: Plan, uri: str, known: Known | None, found: Found) -> Outcome:
    chunks = len(found.chunks) if found.chunks is not None else known.chunks if known else 0
    if not chunks:
        plan.skipped.append(Skipped(uri, _EMPTY))
        return "skipped"
    if not found.changed:
        plan.unchanged.append(uri)
        return "unchanged"
    if known is None or not known.fingerprint:
        plan.added.append(uri)
        return "added"
    plan.changed.append(uri)
    return "changed"


async def side_by_side(items: Iterable[T], work: Callable[[T], Awaitable[None]], workers: int) -> None:
    """Do ``work`` on all items, so many at a time; the first exception ends it all and is raised."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    tasks = [asyncio.create_task(worker()) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
