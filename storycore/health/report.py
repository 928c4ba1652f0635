"""What a look at a store's health found: a line for each part, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from storycore.ports.lifecycle import Health

__all__ = ["HealthReport", "Level", "State"]


class Level(StrEnum):
    """How far a look goes."""

    LIVE = "live"
    """The event loop answers. Touches no port, so that what a port suffers restarts no process."""
    READY = "ready"
    """The required ports can be read and written; jobs do well. Cheap enough for a probe every few seconds."""
    DETAIL = "detail"
    """Every port, jobs, and whatever plugins add, with versions, counts and sizes."""


class State(StrEnum):
    """What the lines come to."""

    OK = "ok"
    DEGRADED = "degraded"
    """Something is wrong that the store can do without for a while."""
    DOWN = "down"
    """A required part does not serve."""


@dataclass(frozen=True, slots=True)
class HealthReport(Mapping[str, Health]):
    """The lines by name: of ports, of ``jobs``, of what plugins add.

    Args:
        level: how far was looked.
        lines: what was found.
        required: the names without which the store does not serve.
    """

    level: Level
    lines: Mapping[str, Health]
    required: frozenset[str] = field(default_factory=frozenset)

    @property
    def state(self) -> State:
        """``DOWN`` only where a required line is not well."""
        ill = {name for name, line in self.lines.items() if not line.ok}
        if ill & self.required:
            return State.DOWN
        return State.DEGRADED if ill else State.OK

    def __getitem__(self, name: str) -> Health:
        return self.lines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)
