"""One long trace over several entity stores: seeded random steps, after each of which all must agree.

await run_trace([Harness(PortName.ENTITIES, name, {}, path / name) for name in ("memory", "mine")], seed=7, steps=2000)
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from storycore.testing.entity_agreement import Agreement
from storycore.testing.entity_steps import Step, any_step
from storycore.testing.harness import Harness

__all__ = ["TraceReport", "run_trace"]

_LAST_STEPS = 8


@dataclass(frozen=True)
class TraceReport:
    """What a trace has shown.

    Args:
        stores: the adapters that agreed; the first was the reference.
        seed: of the random choices.
        steps: how many were taken.
        kinds: how often each kind of step was taken.
        outcomes: how often each kind of outcome was seen, errors by their class.
    """

    stores: Sequence[str]
    seed: int
    steps: int
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)


async def run_trace(harnesses: Sequence[Harness], *, seed: int, steps: int, **lags: float) -> TraceReport:
    """Drive the harnesses' adapters, each in a fresh place, with one trace.

    Args:
        harnesses: of entity stores; the first is the reference.
        seed: the same seed gives the same steps.
        steps: how many.
        lags: as ``Agreement`` takes them, for stores whose indexes or feeds may lag.

    Raises:
        AssertionError: two stores did not answer alike; the message holds the seed, the step's number, and the last
            steps.
    """
    choose = random.Random(seed)
    agreement = await Agreement.of(harnesses, **lags)
    taken: list[Step] = []
    try:
        for _ in range(steps):
            taken.append(any_step(choose))
            await agreement.play(taken[-1])
        await agreement.compare()
    except AssertionError as exc:
        last = "\n".join(f"  {step}" for step in taken[-_LAST_STEPS:])
        raise AssertionError(f"seed {seed}, step {len(taken)}: {exc}\nThe last steps:\n{last}") from exc
    finally:
        await agreement.close()
    stores = [harness.spec.name for harness in harnesses]
    kinds = Counter(type(step).__name__ for step in taken)
    return TraceReport(stores, seed, len(taken), kinds, agreement.outcomes)
