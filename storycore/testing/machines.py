"""State machines over stores: Hypothesis drives an adapter and the reference with one trace and compares answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from storycore.errors import StorycoreError

__all__ = ["StoreMachine", "outcome", "run_machine"]

T = TypeVar("T")


class StoreMachine(RuleBasedStateMachine):
    """A state machine whose rules call coroutines; each run has an event loop of its own.

    ``new_loop`` is the loop's class; ``None``: the usual one.
    """

    new_loop: ClassVar[type[asyncio.AbstractEventLoop] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=self.new_loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result."""
        return self._runner.run(coroutine)

    def outcome(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """The coroutine's result, or the class of the storycore error that it raised."""
        return self.run(outcome(coroutine))

    def teardown(self) -> None:
        """Close the loop."""
        self._runner.close()


async def outcome(call: Awaitable[object]) -> object:
    """What a call gave: its result, or the class of the storycore error that it raised."""
    try:
        return await call
    except StorycoreError as error:
        return type(error)


async def run_machine(machine: type[StoreMachine], *, examples: int, steps: int, shrink: bool = True) -> None:
    """Run a machine to the end in a thread of its own; the same modules imported, the same examples.

    Args:
        machine: its class.
        examples: how many traces.
        steps: how long they are at most.
        shrink: whether a failing trace is made as short as can be before it is reported.
    """
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        print_blob=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=False,
    )
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=chosen)
