"""Versions: the present in microseconds, and always above everything that this store has seen."""

from __future__ import annotations

from storycore.ports.conditions import Version
from storycore.ports.environment import Clock
from storycore.ports.instants import micros

__all__ = ["Versions"]


class Versions:
    """A hybrid clock. It keeps versions growing where no stored version is left to compare with.

    Args:
        clock: of the store; machines whose clocks agree issue versions that grow across machines.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    @property
    def ahead(self) -> Version | None:
        """The last version, if the clock has not come that far; it must not be forgotten."""
        return Version(self._last) if self._last > micros(self._clock.now()) else None

    @property
    def present(self) -> Version:
        """What has been issued or seen so far, or the clock's present if that is later; issues nothing."""
        return Version(max(self._last, micros(self._clock.now())))

    def next(self, above: int = 0) -> Version:
        """A new version above ``above`` and above all that was issued or seen."""
        self._last = max(self._last + 1, above + 1, micros(self._clock.now()))
        return Version(self._last)

    def saw(self, version: int) -> None:
        """Take note of a stored version."""
        self._last = max(self._last, version)
