"""What the demonstration found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storycore.cli.places import Place
    from storycore.search import Hit

__all__ = ["Answer", "Backed", "Demonstration", "Ingested", "Listed", "Read", "Stories"]


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
class Backed:
    """What was backed up, proved and brought back.

    Args:
        backup_id: by which it can be restored.
        is_full: whether it stands alone, or builds on an earlier one.
        items: how many of each port there are in that state.
        size_bytes: of what was written for it, compressed and encrypted.
        seconds: how long it took.
        notices: what somebody should do now.
        is_whole: whether it was restored into an empty store, and found to be the same there.
        verify_seconds: how long that took.
        deleted: the story that was deleted afterwards, by title.
        was_gone: whether it was gone then.
        moment: the moment before, whose state was asked for.
        brought_back: how many items that wrote.
        is_back: whether the story is there again.
    """

    backup_id: str
    is_full: bool
    items: Mapping[str, int]
    size_bytes: int
    seconds: float
    notices: Sequence[str]
    is_whole: bool
    verify_seconds: float
    deleted: str
    was_gone: bool
    moment: datetime
    brought_back: int
    is_back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """Everything that was done, in order.

    Args:
        semantic: whether the embedder knows meaning or only words.
        backup: what was backed up, or why that cannot be done here.
    """

    profile: str
    semantic: bool
    created: Mapping[str, Sequence[str]]
    ingested: Ingested
    answers: Sequence[Answer]
    stories: Stories
    backup: Backed | str
    places: Sequence[Place]
    next_steps: Sequence[str]
    seconds: float
