"""Findings: what ``storycore doctor`` found, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "State", "worst"]


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


def worst(found: Iterable[Finding]) -> State:
    """How bad the worst of them is; ``OK`` where there are none."""
    return max((each.state for each in found), key=tuple(State).index, default=State.OK)
