"""Findings: what ``storycore doctor`` found, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "State"]


class State(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        check: what was looked at, for example ``"health.cache"``.
        state: how bad it is.
        detail: what was found.
        cure: what to do about it, or where to look; ``""`` when nothing, or when the detail says it.
    """

    check: str
    state: State
    detail: str
    cure: str = ""
