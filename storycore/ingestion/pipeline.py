"""The pipeline: the index becomes what the files and the settings say, and nothing is done twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from storycore.errors import InvalidArgument, NotFound
from storycore.ingestion.chunkers import builtin_chunkers
from storycore.ingestion.config import IngestionConfig
from storycore.ingestion.documents import Chunker, ChunkSink
from storycore.ingestion.embedding import EmbeddingQueue
from storycore.ingestion.examining import Examiner
from storycore.ingestion.listing import Listing, SourceFile, list_files, reason_to_skip
from storycore.ingestion.reports import Plan, Progress, Report, Skipped
from storycore.ingestion.roots import Root, Roots, is_file
from storycore.ingestion.running import Planner, Run, side_by_side
from storycore.ingestion.state import Known, SourceStates
from storycore.ingestion.updating import Targets
from storycore.ports.embeddings import Embedder
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.vectors import DEFAULT_NAMESPACE, VectorIndex

__all__ = ["Pipeline"]

P = TypeVar("P", bound=Plan)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EMBED_CALLS = 4


class Pipeline:
    """Brings the documents of folders into a vector index.

    After a run the index is a function of the files and the settings alone, whatever was interrupted before: a second
    run embeds nothing, a change embeds only new chunks, a removed file takes its chunks along. Of two runs over a
    folder at the same time, the one that is overtaken leaves a document to the other; where the file has changed
    between them it reports it as failed, and the next run puts it in order.

    Args:
        entities: keeps the state: a small record per document.
        vectors: where chunks go.
        embedder: makes the vectors; its model and dimension must be the index's.
        env: tells the time.
        name: pipelines of different names know nothing of each other; 1 to 64 letters, digits, ``.``, ``_``, ``-``.
        chunk_sink: receives the chunks too.
        config: how documents are found and cut.
        chunkers: more chunkers by content type; they override the built-in ones.
        namespace: of the vector index.
        own: files and folders that are no documents, such as those in which the ports keep their data.
    """

    def __init__(
        self,
        *,
        entities: EntityStore,
        vectors: VectorIndex,
        embedder: Embedder,
        env: Environment,
        name: str = "default",
        chunk_sink: ChunkSink | None = None,
        config: IngestionConfig | None = None,
        chunkers: Mapping[str, Chunker] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        own: Iterable[Path] = (),
    ) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"The pipeline name {name!r} is not 1 to 64 letters, digits, '.', '_' and '-'.")
        self._entities = entities
        self._embedder = embedder
        self._env = env
        self._place = (name, namespace)
        self._config = config or IngestionConfig()
        self._chunkers = {**builtin_chunkers(self._config), **(chunkers or {})}
        self._targets = Targets(vectors, namespace, chunk_sink)
        self._roots = Roots(entities, self._place)
        self._own = tuple(own)

    async def plan(self, root: str | Path, *, root_id: str | None = None) -> Plan:
        """What ``run`` would do; writes nothing.

        Raises:
            NotFound: there is no folder or file ``root``.
            AccessDenied: this user may not look there.
        """
        if await is_file(root):
            return await self._plan_file(root)
        folder = await self._roots.folder(root, root_id)
        states = self._states(folder)
        listing, known = await self._listed(folder), await states.known()
        plan = Plan(failed=[*listing.failed], skipped=[*listing.skipped], complete=listing.complete)
        planner = Planner(self._examiner(folder), states, plan)
        await self._for_each_file(listing, known, planner.look)
        if listing.complete:
            await side_by_side(_gone(listing, known), planner.drop, self._config.concurrency)
        return _in_order(plan)

    async def run(
        self,
        root: str | Path,
        *,
        progress: Callable[[Progress], None] | None = None,
        max_delete_fraction: float = 0.2,
        delete: bool = True,
        verify: bool = False,
        root_id: str | None = None,
    ) -> Report:
        """Bring the index up to date with the files below ``root``.

        A document that fails is reported and stays as it was; the others go on. Documents that are gone are removed
        after all folders were read, and only if they are not too many.

        Args:
            root: a folder, or a single file, which is ``update``.
            progress: called after each document.
            max_delete_fraction: remove nothing when more than this fraction of the known documents is gone, 0 to 1.
            delete: whether to remove documents that are gone.
            verify: look into the index for every chunk instead of trusting the state, and put back what is missing.
                Done without asking when the index holds nothing at all.
            root_id: identity of the folder where its path is not, as on machines that keep it in different places.

        Raises:
            NotFound: there is no folder or file ``root``.
            AccessDenied: this user may not look there.
            InvalidArgument: ``max_delete_fraction`` is out of range.
        """
        if not 0 <= max_delete_fraction <= 1:
            raise InvalidArgument(f"max_delete_fraction is a number from 0 to 1, not {max_delete_fraction!r}.")
        if await is_file(root):
            return await self.update(root, progress=progress)
        began = self._env.clock.now()
        folder = await self._roots.folder(root, root_id)
        await self._roots.remember(folder)
        states = self._states(folder)
        listing, known = await self._listed(folder), await states.known()
        report = Report(failed=[*listing.failed], skipped=[*listing.skipped], complete=listing.complete)
        gone = _gone(listing, known)
        report.withheld_reason = _withheld(gone, known, listing, max_delete_fraction, delete)
        report.withheld, gone = (gone, []) if report.withheld_reason else ([], gone)
        async with self._queue() as queue:
            run = Run(self._examiner(folder), states, self._targets, queue, report, progress)
            run.verify = verify or await self._index_was_lost(known)
            run.total = len(listing.files) + len(gone)
            await self._for_each_file(listing, known, run.bring)
            await side_by_side(gone, run.remove, self._config.concurrency)
        report.seconds = self._seconds_since(began)
        return _in_order(report)

    async def update(self, path: str | Path, *, progress: Callable[[Progress], None] | None = None) -> Report:
        """Bring one file up to date, or take it out of the index when it is gone.

        It belongs to the innermost folder above it that was run before, else to its own folder.

        Raises:
            NotFound: there is no such file, and the index knows none.
        """
        folder, uri = await self._roots.holding(path)
        file, known = SourceFile(uri, folder.path / uri), (await self._states(folder).load(uri)).short
        if not await is_file(file.path):
            if known is None:
                raise NotFound(f"There is no file {str(path)!r}, and none of that name was ingested.")
            return await self._single(folder, lambda run: run.remove(uri), progress)
        if reason := await asyncio.to_thread(reason_to_skip, file, self._config):
            return Report(skipped=[Skipped(uri, reason)])
        await self._roots.remember(folder)
        return await self._single(folder, lambda run: run.bring(file, known), progress)

    async def remove(self, uri: str, *, root_id: str | None = None) -> Report:
        """Take a document out of the index; it comes back with the next run if its file is still there.

        Args:
            uri: as in the chunks' ``source``.
            root_id: the folder's path or identity; needed when several folders have a document of that name.

        Raises:
            NotFound: no such document was ingested.
            InvalidArgument: several folders have one.
        """
        roots = [root for root in await self._roots.all() if root_id in (None, root.id)]
        holding = [root for root in roots if (await self._states(root).load(uri)).short is not None]
        if not holding:
            raise NotFound(f"No document {uri!r} was ingested; give the chunks' source, a path below the folder.")
        if len(holding) > 1:
            ids = ", ".join(repr(root.id) for root in holding)
            raise InvalidArgument(f"Several folders have a document {uri!r}; give root_id, one of {ids}.")
        return await self._single(holding[0], lambda run: run.remove(uri))

    async def _plan_file(self, path: str | Path) -> Plan:
        folder, uri = await self._roots.holding(path)
        file = SourceFile(uri, folder.path / uri)
        if reason := await asyncio.to_thread(reason_to_skip, file, self._config):
            return Plan(skipped=[Skipped(uri, reason)])
        states, plan = self._states(folder), Plan()
        await Planner(self._examiner(folder), states, plan).look(file, (await states.load(uri)).short)
        return plan

    async def _single(
        self, root: Root, work: Callable[[Run], Awaitable[None]], progress: Callable[[Progress], None] | None = None
    ) -> Report:
        report, began = Report(), self._env.clock.now()
        async with self._queue() as queue:
            await work(Run(self._examiner(root), self._states(root), self._targets, queue, report, progress))
        report.seconds = self._seconds_since(began)
        return report

    def _seconds_since(self, began: datetime) -> float:
        return (self._env.clock.now() - began).total_seconds()

    async def _for_each_file(
        self, listing: Listing, known: Mapping[str, Known], work: Callable[[SourceFile, Known | None], Awaitable[None]]
    ) -> None:
        await side_by_side(listing.files, lambda file: work(file, known.get(file.uri)), self._config.concurrency)

    async def _listed(self, root: Root) -> Listing:
        return await asyncio.to_thread(list_files, root.path, self._config, self._own)

    async def _index_was_lost(self, known: Mapping[str, Known]) -> bool:
        if not any(source.chunks for source in known.values()):
            return False
        return not (await self._targets.vectors.stats()).counts.get(self._targets.namespace)

    def _queue(self) -> EmbeddingQueue:
        return EmbeddingQueue(self._embedder, batch_size=self._config.batch_size, calls=_EMBED_CALLS)

    def _states(self, root: Root) -> SourceStates:
        return SourceStates(self._entities, (*self._place, root.id))

    def _examiner(self, root: Root) -> Examiner:
        spec = self._embedder.spec
        model = f"{spec.model}/{spec.dimension}"
        return Examiner(self._chunkers, self._config.max_file_bytes, model, (*self._place, root.id))


def _gone(listing: Listing, known: Mapping[str, Known]) -> list[str]:
    return sorted(set(known) - {file.uri for file in listing.files})


def _withheld(
    gone: Sequence[str], known: Mapping[str, Known], listing: Listing, max_fraction: float, delete: bool
) -> str:
    if not gone:
        return ""
    if not delete:
        return "removal was not wanted: delete=False"
    if not listing.complete:
        return "some folders could not be read, so nobody knows what is gone: make them readable and run again"
    if len(gone) > max_fraction * len(known):
        return (
            f"{len(gone)} of {len(known)} documents are gone, more than max_delete_fraction={max_fraction}: "
            "check the folder, then run again with max_delete_fraction=1"
        )
    return ""


def _in_order(plan: P) -> P:
    for uris in (plan.added, plan.changed, plan.unchanged, plan.removed):
        uris.sort()
    plan.failed.sort()
    plan.skipped.sort()
    return plan
