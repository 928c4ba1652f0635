"""Assembly: the steps and checks of a unit become one atomic write, and its refusal is told in the unit's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from storycore.entities.steps import Companion, Step
from storycore.errors import InvalidArgument, StorycoreError, TransactionConflict
from storycore.ports.conditions import ABSENT, ANY
from storycore.ports.entities import Delete, Key, Put, Write

__all__ = ["Assembly", "Part", "refused"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one key of a unit asks for.

    Args:
        title: what is done with what, for messages.
        step: the write, or ``None`` for a check alone.
        companions: of the step, or the check.
    """

    title: str
    step: Step[object] | None
    companions: Sequence[Companion]

    @property
    def writes(self) -> list[tuple[Write, StorycoreError | None]]:
        """All writes, each with what its refusal means."""
        own: list[tuple[Write, StorycoreError | None]] = [] if self.step is None else [(self.step.write, None)]
        return own + [(companion.write, companion.refusal) for companion in self.companions]


@dataclass(slots=True)
class Assembly:
    """One atomic write, made of parts.

    Args:
        parts: in the unit's order.

    Raises:
        TransactionConflict: two parts claim the same unique value.
    """

    parts: Sequence[Part]
    writes: list[Write] = field(default_factory=list)
    own: dict[int, int] = field(default_factory=dict)
    _owners: list[tuple[int, StorycoreError | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        places: dict[Key, int] = {}
        for number, part in enumerate(self.parts):
            for position, (write, meaning) in enumerate(part.writes):
                if part.step is not None and position == 0:
                    self.own[number] = len(self.writes)
                self._add(places, number, write, meaning)

    def conflict(self, reasons: Mapping[int, StorycoreError]) -> TransactionConflict:
        """The unit's refusal, by the failing positions of the write; the first reason of each part counts."""
        told: dict[int, StorycoreError] = {}
        for position in sorted(reasons):
            number, meaning = self._owners[position]
            told.setdefault(number, meaning or reasons[position])
        return refused(self.parts, told)

    def _add(self, places: dict[Key, int], number: int, write: Write, meaning: StorycoreError | None) -> None:
        """One value given back by one part and claimed by another becomes one write of its marker."""
        place = places.setdefault(write.key, len(self.writes))
        if place == len(self.writes):
            self.writes.append(write)
            self._owners.append((number, meaning))
            return
        there = self.writes[place]
        claims = [found for found in (there, write) if isinstance(found, Put) and found.when == ABSENT]
        if len(claims) == 1 and any(isinstance(found, Delete) for found in (there, write)):
            self.writes[place] = replace(claims[0], when=ANY)
            return
        raise refused(self.parts, {number: meaning or self._owners[place][1] or _twice(write.key)})


def refused(parts: Sequence[Part], reasons: Mapping[int, StorycoreError]) -> TransactionConflict:
    """The refusal of a unit, by the failing parts."""
    ordered = dict(sorted(reasons.items()))
    told = [f"{parts[number].title}: {reason.message}" for number, reason in ordered.items()]
    more = f" ({len(told) - 1} more failed)" if len(told) > 1 else ""
    return TransactionConflict(f"The unit was refused, nothing was written. {told[0]}{more}", reasons=ordered)


def _twice(key: Key) -> StorycoreError:
    return InvalidArgument(f"The key ({key.pk!r}, {key.sk!r}) would be written twice; make two units of it.")
