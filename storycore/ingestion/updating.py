"""One document into the index, in steps that a crash may end anywhere: note, words, vectors, deletions, state.

Every step may be repeated. The note names all chunks that the steps can leave behind, so that the next run finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from storycore.errors import ConditionFailed, StorycoreError
from storycore.ingestion.documents import Chunk, ChunkSink
from storycore.ingestion.embedding import EmbeddingQueue
from storycore.ingestion.reports import Stage
from storycore.ingestion.state import Chunks, Loaded, SourceStates, chunk_marks
from storycore.ports.vectors import Vector, VectorIndex, VectorItem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Counts", "StageFailed", "Targets", "remove_document", "update_document"]

T = TypeVar("T")

_OVERTAKEN = "another run is changing it at the same time; run again when that one has ended"
_BATCH = 100
"""Vectors per call (Pinecone: at most 1000 vectors or 2 MB an upsert; 100 with text stay below it)."""


class StageFailed(Exception):
    """A step failed for a reason that the report names. Stays inside this package."""

    def __init__(self, stage: Stage, error: str) -> None:
        super().__init__(error)
        self.stage: Stage = stage
        self.error = error


class Overtaken(StageFailed):
    """Another run changed the same document meanwhile. Stays inside this module."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a document's chunks."""

    embedded: int = 0
    kept: int = 0
    deleted: int = 0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class Targets:
    """Where chunks go."""

    vectors: VectorIndex
    namespace: str
    sink: ChunkSink | None

    async def delete(self, ids: Sequence[str]) -> None:
        """Remove chunks everywhere."""
        for batch in _batches(ids):
            with _stage("delete"):
                if self.sink is not None:
                    await self.sink.delete(batch)
                await self.vectors.delete(ids=batch, namespace=self.namespace)

    async def save(self, chunks: Sequence[Chunk]) -> None:
        """Hand chunks to the sink, if there is one."""
        for batch in _batches(chunks if self.sink else ()):
            with _stage("sink"):
                if self.sink is not None:
                    await self.sink.save(batch)

    async def stored(self, ids: Sequence[str]) -> dict[str, VectorItem]:
        """Those items that the index has."""
        found: dict[str, VectorItem] = {}
        for batch in _batches(ids):
            with _stage("index"):
                items = await self.vectors.fetch(batch, namespace=self.namespace)
            found.update((item.id, item) for item in items if item is not None)
        return found

    async def upsert(self, items: Sequence[VectorItem]) -> None:
        """Write items into the index."""
        for batch in _batches(items):
            with _stage("index"):
                await self.vectors.upsert(batch, namespace=self.namespace)


async def update_document(
    uri: str,
    fingerprint: str,
    chunks: Sequence[Chunk],
    *,
    states: SourceStates,
    targets: Targets,
    queue: EmbeddingQueue,
    verify: bool,
) -> Counts:
    """Make the index hold exactly ``chunks`` for the document ``uri``.

    Where another run is at the same document, it is left to that run if both want the same.

    Args:
        verify: trust nothing but the index itself about what it holds.

    Raises:
        StageFailed: a step failed; the next run begins again.
    """
    with _stage("state"):
        loaded = await states.load(uri)
    try:
        return await _attempt(
            uri, fingerprint, chunks, loaded, states=states, targets=targets, queue=queue, verify=verify
        )
    except Overtaken:
        with _stage("state"):
            now = await states.load(uri)
        if (marks := chunk_marks(chunks)) == (now.chunks if now.intended is None else now.intended):
            return Counts(kept=len(chunks))
        await _withdraw(uri, marks, now, states, targets)
        raise


async def _attempt(
    uri: str,
    fingerprint: str,
    chunks: Sequence[Chunk],
    loaded: Loaded,
    *,
    states: SourceStates,
    targets: Targets,
    queue: EmbeddingQueue,
    verify: bool,
) -> Counts:
    marks = chunk_marks(chunks)
    trusted = loaded.chunks if not verify and loaded.intended is None else {}
    todo = [chunk for chunk in chunks if trusted.get(chunk.id) != marks[chunk.id]]
    leftover = [id_ for id_ in loaded.intended or () if id_ not in marks]
    stale = [id_ for id_ in loaded.chunks if id_ not in marks]
    await targets.delete(leftover)  # before the note that names them is replaced
    with _stage("state"):
        note = await states.begin(uri, marks, loaded)
    await targets.save(todo)
    embedded = await _index(todo, loaded.possible, targets, queue, verify)
    await targets.delete(stale)
    with _stage("state"):
        await states.finish(uri, fingerprint, marks, loaded, note)
    characters = sum(len(chunk.embedded) for chunk in embedded)
    return Counts(len(embedded), len(chunks) - len(embedded), len({*leftover, *stale}), characters)


async def remove_document(uri: str, *, states: SourceStates, targets: Targets) -> Counts:
    """Take the document ``uri`` out of the index.

    Raises:
        StageFailed: a step failed; the next run begins again.
    """
    with _stage("state"):
        loaded = await states.load(uri)
        note = await states.begin(uri, {**loaded.chunks, **(loaded.intended or {})}, loaded)
    ids = sorted(loaded.possible)
    await targets.delete(ids)
    try:
        with _stage("state"):
            await states.forget(uri, loaded, note)
    except Overtaken:
        with _stage("state"):
            now = await states.load(uri)
        await _withdraw(uri, {}, now, states, targets)
        raise
    return Counts(deleted=len(ids))


async def _withdraw(uri: str, mine: Chunks, now: Loaded, states: SourceStates, targets: Targets) -> None:
    """Leave the document to the run that was faster: take away what only this run wrote, and have the next run look
    into the index for what this run may have deleted."""
    await targets.delete([id_ for id_ in mine if id_ not in now.possible])
    if now.short is not None:
        with _stage("state"), suppress(ConditionFailed):
            await states.begin(uri, now.chunks if now.intended is None else now.intended, now)


async def _index(
    chunks: Sequence[Chunk], possible: set[str], targets: Targets, queue: EmbeddingQueue, verify: bool
) -> Sequence[Chunk]:
    """Write chunks into the index; gives those that were embedded for it."""
    stored = await targets.stored([chunk.id for chunk in chunks if verify or chunk.id in possible])
    missing = [chunk for chunk in chunks if chunk.id not in stored]
    with _stage("embed"):
        vectors = await queue.embed([chunk.embedded for chunk in missing])
    values: dict[str, Vector] = {id_: item.values for id_, item in stored.items()}
    values.update((chunk.id, vector) for chunk, vector in zip(missing, vectors, strict=True))
    items = [VectorItem(chunk.id, values[chunk.id], chunk.metadata) for chunk in chunks]
    await targets.upsert([item for item in items if item != stored.get(item.id)])
    return missing


@contextmanager
def _stage(stage: Stage) -> Iterator[None]:
    try:
        yield
    except ConditionFailed as exc:
        raise Overtaken(stage, _OVERTAKEN) from exc
    except StorycoreError as exc:
        raise StageFailed(stage, exc.message) from exc


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch
