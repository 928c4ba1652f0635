"""A hit: a found passage, read back from the metadata that ingestion wrote with its vector."""

from __future__ import annotations

from dataclasses import dataclass

from storycore.ports.vectors import Match, Metadata
from storycore.search.snippets import snippet

__all__ = ["Hit", "hit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage that answers a query.

    Args:
        id: the chunk's id in the index.
        score: higher is better; see ``Match.score``.
        source: the document's path or address.
        title: the document's title.
        section: the headings above the passage, outermost first.
        start: where the passage begins in the document, in characters; ``-1`` when it is not known.
        end: where it ends, exclusive; ``-1`` when it is not known.
        snippet: at most 240 characters around the query's words, on one line.
        text: the whole passage.
        metadata: everything that is stored with the passage.
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


def hit(match: Match, query: str) -> Hit:
    """Read a match as a hit; what its metadata does not say is empty."""
    text = _text(match.metadata, "text")
    return Hit(
        id=match.id,
        score=match.score,
        source=_text(match.metadata, "source"),
        title=_text(match.metadata, "title"),
        section=_text(match.metadata, "section"),
        start=_offset(match.metadata, "start"),
        end=_offset(match.metadata, "end"),
        snippet=snippet(text, query),
        text=text,
        metadata=match.metadata,
    )


def _text(metadata: Metadata, key: str) -> str:
    value = metadata.get(key, "")
    if isinstance(value, (list, tuple)):
        return " › ".join(value)
    return value if isinstance(value, str) else str(value)


def _offset(metadata: Metadata, key: str) -> int:
    value = metadata.get(key)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else -1
