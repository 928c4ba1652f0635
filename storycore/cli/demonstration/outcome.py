"""What the demonstration found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storycore.cli.places import Place
    from storycore.search import Hit

__all__ = ["Answer", "Demonstration", "Ingested", "Listed", "Read", "Stories"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What ingestion did.

    Args:
        source: the folder or file.
        documents: how many it holds that can be read.
        embedded: how many pieces of text were embedded in this run.
        indexed: how many are in the index now.
        seconds: how long it took.
        problems: documents that could not be read, each with the reason.
    """

    source: str
    documents: int
    embedded: int
    indexed: int
    seconds: float
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What search found for a question, best first."""

    question: str
    hits: Sequence[Hit]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a listing, told by titles.

    Args:
        what: which listing it is, for people.
        titles: in the order of the page.
        cursor: where the next page begins; ``None`` when nothing is left.
    """

    what: str
    titles: Sequence[str]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One read of a story: which tier answered, and how long it took."""

    answered_by: str
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stories:
    """What was saved, listed and read.

    Args:
        saved: kind to how many.
        published: the story that was published, by title.
        exported: the blob that holds its text.
        listings: as asked for.
        reads: the same story twice.
    """

    saved: Mapping[str, int]
    published: str
    exported: str
    listings: Sequence[Listed]
    reads: Sequence[Read]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """Everything that was done, in order; ``semantic`` tells whether the embedder knows meaning or only words."""

    profile: str
    semantic: bool
    created: Mapping[str, Sequence[str]]
    ingested: Ingested
    answers: Sequence[Answer]
    stories: Stories
    places: Sequence[Place]
    next_steps: Sequence[str]
    seconds: float
