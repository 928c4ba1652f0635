"""What goes into a chunker and what comes out: documents, pieces, and the chunks that are made of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from storycore.ports.filters import MetadataValue

__all__ = ["Chunk", "ChunkSink", "Chunked", "Chunker", "Document", "Piece", "digest", "make_chunks"]

_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Document:
    """A source that has been read.

    Args:
        uri: the path below the root, with ``/``.
        text: the whole text; offsets count its characters.
        content_type: for example ``"text/markdown"``.
    """

    uri: str
    text: str
    content_type: str

    @property
    def stem(self) -> str:
        """The file's name without folders and suffix: the title when the text names none."""
        name = self.uri.rpartition("/")[2]
        return name.rpartition(".")[0] or name


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document that stands for itself.

    Args:
        text: what is embedded and shown.
        start: where in the document's text the part begins, in characters.
        end: behind its last character.
        section: the headings above it, joined by ``" > "``.
    """

    text: str
    start: int
    end: int
    section: str = ""


@dataclass(frozen=True, slots=True)
class Chunked:
    """What a chunker makes of a document.

    Args:
        pieces: in the order of the document.
        title: ``""`` when the document names none.
        source_type: what the document says it is, for example ``"news"``.
    """

    pieces: Sequence[Piece]
    title: str = ""
    source_type: str = ""


class Chunker(Protocol):
    """Cuts a document into pieces. Any exception it raises is reported as this document's failure.

    An attribute ``fingerprint: str`` may tell its version and options: when it changes, its documents are cut anew.
    """

    def __call__(self, document: Document, /) -> Chunked:
        """The pieces of ``document``; the same document always gives the same. Runs in a thread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece with its identity.

    Args:
        id: 32 ASCII hex digits; stays the same when the text moves within its document, differs between documents.
        source: the document's uri.
        ordinal: position among the document's chunks, from 0.
        text: what is shown.
        start: where the source's text has it, in characters.
        end: behind its last character.
        title: the document's title.
        section: the headings above it, joined by ``" > "``.
        content_type: the document's.
        source_type: ``"document"``, ``"data"``, ``"code"``, or what the document calls itself.
    """

    id: str
    source: str
    ordinal: int
    text: str
    start: int
    end: int
    title: str
    section: str
    content_type: str
    source_type: str

    @property
    def embedded(self) -> str:
        """The text that is embedded: title and section first, because they say what the text is about."""
        return _with_context(self.title, self.section, self.text)

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        """What a vector index keeps beside the vector."""
        return {
            "source": self.source,
            "title": self.title,
            "content_type": self.content_type,
            "source_type": self.source_type,
            "section": self.section,
            "start": self.start,
            "end": self.end,
            "ordinal": self.ordinal,
            "text": self.text,
        }


class ChunkSink(Protocol):
    """Receives the chunks beside the vector index, for example to search their words."""

    async def save(self, chunks: Sequence[Chunk]) -> None:
        """Replace or add; the same chunks may come again."""
        ...

    async def delete(self, ids: Sequence[str]) -> None:
        """Remove; unknown ids are no error."""
        ...


def make_chunks(document: Document, chunked: Chunked, *, place: Sequence[str], model: str) -> list[Chunk]:
    """Give the pieces of a document that are not blank their identity.

    Args:
        document: where the pieces come from.
        chunked: the pieces.
        place: what tells this document from all others.
        model: identity of the embedding model; another model gives other ids.
    """
    title = _shortened(chunked.title or document.stem)
    repeats: Counter[str] = Counter()
    chunks = []
    for ordinal, piece in enumerate(piece for piece in chunked.pieces if piece.text.strip()):
        section = _shortened(piece.section)
        content = digest((model, _with_context(title, section, piece.text)))
        chunks.append(
            Chunk(
                id=digest((*place, content, str(repeats[content])))[:32],
                source=document.uri,
                ordinal=ordinal,
                text=piece.text,
                start=piece.start,
                end=piece.end,
                title=title,
                section=section,
                content_type=document.content_type,
                source_type=_shortened(chunked.source_type) or _source_type(document.content_type),
            )
        )
        repeats[content] += 1
    return chunks


def digest(parts: Iterable[str | bytes]) -> str:
    """SHA-256 over length-framed parts, so that ``("ab", "c")`` and ``("a", "bc")`` differ."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        sha.update(len(raw).to_bytes(8, "big"))
        sha.update(raw)
    return sha.hexdigest()


def _with_context(title: str, section: str, text: str) -> str:
    context = section if section.startswith(title) else " > ".join(part for part in (title, section) if part)
    return f"{context}\n{text}" if context else text


def _shortened(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _NAME_CHARS else line[: _NAME_CHARS - 1] + "…"


def _source_type(content_type: str) -> str:
    if content_type in ("application/json", "application/x-ndjson", "text/csv"):
        return "data"
    return "code" if content_type == "text/x-source" else "document"
