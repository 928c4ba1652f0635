"""The state machine that drives an entity store and the reference with one trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from storycore.ports.lifecycle import PortName
from storycore.testing.entity_agreement import Agreement
from storycore.testing.entity_steps import CHOICES, Step
from storycore.testing.harness import Harness
from storycore.testing.machines import StoreMachine

__all__ = ["machine_for"]


def machine_for(harness: Harness, **lags: float) -> type[EntityMachine]:
    """The machine for one adapter; each run has a fresh place, and ``lags`` are those of ``Agreement``."""
    reference = Harness(PortName.ENTITIES, "memory", {}, harness.path / "reference")
    return type("EntityMachineRun", (EntityMachine,), {"reference": reference, "origin": harness, "lags": lags})


def _steps(kind: str) -> st.SearchStrategy[Step]:
    choice: Callable[[random.Random], Step] = CHOICES[kind]
    return st.randoms(use_true_random=False).map(choice)


class EntityMachine(StoreMachine):
    """Each kind of step is a rule, so that a failing trace can be read and shrunk."""

    reference: ClassVar[Harness]
    origin: ClassVar[Harness]
    lags: ClassVar[dict[str, float]] = {}

    @initialize()
    def begin(self) -> None:
        """Open both stores in empty places, under one clock."""
        self.agreement = self.run(Agreement.of([self.reference, self.origin], **self.lags))

    def teardown(self) -> None:
        """Compare everything once more, then close both stores."""
        try:
            if hasattr(self, "agreement"):
                self.run(self.agreement.compare())
        finally:
            if hasattr(self, "agreement"):
                self.run(self.agreement.close())
            super().teardown()


def _rule_of(kind: str) -> Any:  # Hypothesis turns the function into a rule object
    def play(self: EntityMachine, step: Step) -> None:
        self.origin.count("steps of the machine")
        self.run(self.agreement.play(step))

    play.__name__ = kind
    return rule(step=_steps(kind))(play)


for _kind in CHOICES:
    setattr(EntityMachine, _kind, _rule_of(_kind))
