"""Is a file new, changed or unchanged, and into which chunks does it fall. Reads and cuts in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storycore.ingestion.chunkers import chunker_fingerprint, pick_chunker
from storycore.ingestion.documents import Chunk, Chunker, digest, make_chunks
from storycore.ingestion.listing import SourceFile
from storycore.ingestion.reading import ReadDocument, read_document
from storycore.ingestion.state import Known
from storycore.ingestion.updating import StageFailed

__all__ = ["MOST_CHUNKS", "Examiner", "Found"]

MOST_CHUNKS = 12_000
"""Chunks of one document at most, so that its state is one record (DynamoDB: 400 KB an item; 24 bytes a chunk)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A document that has been read.

    Args:
        fingerprint: of its content and of how it is cut and embedded.
        chunks: ``None`` when it is unchanged and was not cut.
        changed: whether it has to be brought up to date.
    """

    fingerprint: str
    chunks: Sequence[Chunk] | None
    changed: bool


@dataclass(frozen=True, slots=True)
class Examiner:
    """Reads and cuts the files of one root.

    Args:
        chunkers: by content type.
        max_file_bytes: larger files are not read.
        model: identity of the embedding model.
        place: what tells this root and pipeline from all others.
    """

    chunkers: Mapping[str, Chunker]
    max_file_bytes: int
    model: str
    place: tuple[str, ...]

    async def examine(self, file: SourceFile, known: Known | None, *, cut: bool = False) -> Found:
        """Look at one file.

        Args:
            known: what the state says about it.
            cut: give the chunks even when nothing has changed.

        Raises:
            NoDocument: the file holds nothing that could be ingested.
            StageFailed: it could not be read or cut.
        """
        return await asyncio.to_thread(self._examine, file, known, cut)

    def _examine(self, file: SourceFile, known: Known | None, cut: bool) -> Found:
        try:
            read = read_document(file, self.max_file_bytes)
        except OSError as exc:
            raise StageFailed("read", f"cannot be read: {exc.strerror or exc}") from exc
        chunker = pick_chunker(self.chunkers, read.document.content_type)
        fingerprint = self._fingerprint(read, chunker)
        changed = known is None or known.pending or known.fingerprint != fingerprint
        return Found(fingerprint, self._cut(read, chunker) if changed or cut else None, changed)

    def _fingerprint(self, read: ReadDocument, chunker: Chunker) -> str:
        return digest((self.model, read.document.content_type, chunker_fingerprint(chunker), read.raw))

    def _cut(self, read: ReadDocument, chunker: Chunker) -> list[Chunk]:
        place = (*self.place, read.document.uri)
        try:
            chunks = make_chunks(read.document, chunker(read.document), place=place, model=self.model)
        except Exception as exc:  # a chunker may be anyone's, and whatever it raises concerns this document alone
            raise StageFailed("chunk", f"cannot be cut: {type(exc).__name__}: {exc}") from exc
        if len(chunks) > MOST_CHUNKS:
            raise StageFailed("chunk", f"gives {len(chunks)} chunks, {MOST_CHUNKS} are possible; split the file")
        return chunks
