"""What adapters and services take from outside so that tests own it: time, ids and randomness."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "Environment", "SystemClock"]


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The present as an aware UTC datetime."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present as an aware UTC datetime."""
        return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Environment:
    """Handed to every adapter and service when it is opened.

    Args:
        clock: tells the time; expiry follows it, never the machine's clock behind its back.
        new_id: makes a fresh unique id of 1 to 64 ASCII letters and digits.
        random: for jitter and sampling.
    """

    clock: Clock = field(default_factory=SystemClock)
    new_id: Callable[[], str] = _new_id
    random: random.Random = field(default_factory=random.Random)
