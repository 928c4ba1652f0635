"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]


class ManualClock:
    """Time in a test's hands.

    Args:
        start: the first present, aware UTC.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """The present."""
        return self._now

    def advance(self, by: timedelta | float) -> None:
        """Move on by a timedelta or a number of seconds."""
        self._now += by if isinstance(by, timedelta) else timedelta(seconds=by)
