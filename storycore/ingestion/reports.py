"""What ingestion tells: before a run, while it goes on, and after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Failure", "Outcome", "Plan", "Progress", "Report", "Skipped", "Stage"]

Stage: TypeAlias = Literal["list", "read", "chunk", "state", "sink", "embed", "index", "delete"]
Outcome: TypeAlias = Literal["added", "changed", "unchanged", "removed", "skipped", "failed"]


class Failure(NamedTuple):
    """A document that could not be brought up to date; it stays as it was.

    Args:
        uri: which document.
        stage: what was being done.
        error: what went wrong, for people.
    """

    uri: str
    stage: Stage
    error: str


class Skipped(NamedTuple):
    """Something below the root that holds no document, and why."""

    uri: str
    reason: str


class Progress(NamedTuple):
    """One document is done.

    Args:
        done: so many are done.
        total: of so many.
        uri: this one.
        outcome: what became of it.
    """

    done: int
    total: int
    uri: str
    outcome: Outcome


@dataclass(slots=True, kw_only=True)
class Plan:
    """What a run would do.

    Args:
        added: documents that are new.
        changed: documents whose content or whose way of being cut or embedded has changed.
        unchanged: documents that would not be touched.
        removed: documents that are gone from the root.
        failed: documents that cannot be read or cut.
        skipped: what holds no document.
        complete: whether all folders could be read; if not, nothing would be removed.
        chunks_embedded: chunks that would be embedded.
        chunks_kept: chunks that stay.
        chunks_deleted: chunks that would be deleted.
        characters_embedded: the length of the texts that would be embedded, by which services charge.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    complete: bool = True
    chunks_embedded: int = 0
    chunks_kept: int = 0
    chunks_deleted: int = 0
    characters_embedded: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def documents(self) -> int:
        """How many documents lie below the root and can be read."""
        return len(self.added) + len(self.changed) + len(self.unchanged)


@dataclass(slots=True, kw_only=True)
class Report(Plan):
    """What a run did; the fields mean what they mean in a plan, in the past tense.

    Args:
        withheld: documents that are gone but were not removed: too many at once, folders that could not be read, or
            removal was not wanted.
        withheld_reason: which of these, and the cure; ``""`` when nothing was withheld.
        seconds: how long it took.
    """

    withheld: list[str] = field(default_factory=list)
    withheld_reason: str = ""
    seconds: float = 0.0
