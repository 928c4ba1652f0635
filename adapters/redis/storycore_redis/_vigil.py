"""The vigil: while an answer is due at any moment, the event loop does not go to sleep.

To fall asleep and be woken takes longer than a server nearby needs for an answer. So after a write the loop goes round
and round, which holds nobody up, until the answer came or the time for it is over. What answers take is always
measured, and where they take longer there is no vigil.
"""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["Vigil"]

_SHARE: Final = 1 / 8
"""The weight of the last answer in what answers take; an outlier counts as four vigils."""


class Vigil:
    """Keeps one loop awake for one connection.

    Args:
        loop: is to stay awake.
        seconds: for how long at most after a write, and after each part of an answer; 0: not at all.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._usual = 0.0
        self._written_at = 0.0
        self._until = 0.0
        self._is_kept = False

    def begin(self, now: float) -> None:
        """Something was written at this moment of the loop."""
        self._written_at = self._written_at or now
        if self._usual < self._seconds:
            self._until = now + self._seconds
            if not self._is_kept:
                self._is_kept = True
                self._loop.call_soon(self._stay)

    def heard(self, now: float, *, is_over: bool) -> None:
        """Something came; ``is_over``: nobody waits for anything more."""
        if self._written_at:
            took = min(now - self._written_at, 4 * self._seconds)
            self._usual += (took - self._usual) * _SHARE
            self._written_at = 0.0
        self._until = 0.0 if is_over else now + self._seconds

    def _stay(self) -> None:
        if self._loop.time() < self._until:
            self._loop.call_soon(self._stay)
        else:
            self._is_kept = False
