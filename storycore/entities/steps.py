"""Steps: one instance's write together with all that must happen in the same atomic write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from storycore.errors import StorycoreError, TransactionConflict
from storycore.ports.entities import EntityStore, Write, Written

__all__ = ["Companion", "Step", "carried_out"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Companion:
    """A write that goes with an instance's own: a marker of uniqueness, a check, the other half of a move.

    Args:
        write: under a key of its own.
        refusal: what it means that its condition does not hold; ``None``: what the store says.
    """

    write: Write
    refusal: StorycoreError | None = None


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What one change of one instance asks of the store.

    Args:
        write: the instance's own.
        settle: called with its outcome once everything is written; gives the caller's result.
        companions: written with it or not at all.
    """

    write: Write
    settle: Callable[[Written], T]
    companions: tuple[Companion, ...] = ()

    @property
    def writes(self) -> list[Write]:
        """All writes, the instance's own first."""
        return [self.write, *(companion.write for companion in self.companions)]

    def refusal(self, reasons: Mapping[int, StorycoreError]) -> StorycoreError:
        """The one error that tells why the step was refused, by the failing positions in ``writes``."""
        position = min(reasons)
        told = None if position == 0 else self.companions[position - 1].refusal
        return reasons[position] if told is None else told


async def carried_out(store: EntityStore, step: Step[T]) -> T:
    """The step's result, once all of it is written.

    Raises:
        StorycoreError: nothing was written; the error of the instance's own write if that is one of those refused.
    """
    if not step.companions:
        [written] = await store.write([step.write])
        return step.settle(written)
    try:
        written, *_ = await store.write(step.writes, atomic=True)
    except TransactionConflict as exc:
        raise step.refusal(exc.reasons) from exc
    return step.settle(written)
