"""A hit: a found passage, read back from the metadata that ingestion wrote with its vector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from storycore.ports.vectors import DEFAULT_NAMESPACE, Metadata
from storycore.ports.words import words
from storycore.search.candidates import Candidate, Parts
from storycore.search.snippets import Wanted, snippet, wanted_by

__all__ = ["Hit", "hits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage that answers a query.

    Args:
        id: the chunk's id in the index.
        score: what the hit is ordered by, higher is better: nearness in meaning (``Match.score``), BM25, the sum of
            reciprocal ranks, or the reranker's score; ``parts`` tells which.
        source: the document's path or address.
        title: the document's title.
        section: the headings above the passage, outermost first.
        start: where the passage begins in the document, in characters; ``-1`` when it is not known.
        end: where it ends, exclusive; ``-1`` when it is not known.
        snippet: at most 240 characters around the query's words, on one line.
        text: the whole passage.
        metadata: everything that is stored with the passage.
        namespace: where it was found.
        parts: what the score was made of.
        highlights: where in ``text`` words of the query are, in characters: begin and end, exclusive, in order.
    """

    id: str
    score: float
    source: str
    title: str
    section: str
    start: int
    end: int
    snippet: str
    text: str
    metadata: Metadata
    namespace: str = DEFAULT_NAMESPACE
    parts: Parts = field(default_factory=Parts)
    highlights: tuple[tuple[int, int], ...] = ()


def hits(candidates: Iterable[Candidate], query: str) -> list[Hit]:
    """Read candidates as hits; what their metadata does not say is empty."""
    wanted = wanted_by(query)
    return [_hit(candidate, wanted) for candidate in candidates]


def _hit(candidate: Candidate, wanted: Wanted) -> Hit:
    match = candidate.match
    text = _text(match.metadata, "text")
    return Hit(
        id=match.id,
        score=candidate.score,
        source=_text(match.metadata, "source"),
        title=_text(match.metadata, "title"),
        section=_text(match.metadata, "section"),
        start=_offset(match.metadata, "start"),
        end=_offset(match.metadata, "end"),
        snippet=snippet(text, wanted),
        text=text,
        metadata=match.metadata,
        namespace=match.namespace,
        parts=candidate.parts,
        highlights=_highlights(text, wanted),
    )


def _highlights(text: str, wanted: Wanted) -> tuple[tuple[int, int], ...]:
    return tuple((word.start, word.end) for word in words(text) if word.text in wanted.words)


def _text(metadata: Metadata, key: str) -> str:
    value = metadata.get(key, "")
    if isinstance(value, (list, tuple)):
        return " › ".join(value)
    return value if isinstance(value, str) else str(value)


def _offset(metadata: Metadata, key: str) -> int:
    value = metadata.get(key)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else -1
