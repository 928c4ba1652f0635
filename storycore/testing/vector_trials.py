"""Trials of the VectorIndex suite itself: does a test fail over an index that is faulty on purpose?"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storycore.layers.checks import checked
from storycore.memory.config import MemoryVectorConfig
from storycore.memory.vectors import MemoryVectorIndex, open_vectors
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.machines import run_machine
from storycore.testing.trials import attempt, examples
from storycore.testing.vector_examples import DIMENSION
from storycore.testing.vector_machine import machine_for
from storycore.testing.vector_settling import VectorHarness, settled
from storycore.testing.vectors import VectorIndexSuite

__all__ = ["demand_index_caught", "index_failure"]


@dataclass
class _Trial(VectorHarness):
    """A place for the index on trial."""

    cls: type[MemoryVectorIndex] = MemoryVectorIndex

    def make(self, **overrides: object) -> Any:
        """The index on trial behind its checks, not yet open."""
        config = MemoryVectorConfig.model_validate(self.settings(**overrides))
        return settled(checked(self.port, self.cls(open_vectors(config, self.env).spec)))

    def fresh(self) -> _Trial:
        """Another empty place with a clock of its own."""
        return _Trial(self.port, self.adapter, self.options, super().fresh().path, cls=self.cls)


class _Suite(VectorIndexSuite):
    """The suite over fewer vectors."""

    adapter = "memory"
    recall_size = 1000
    recall_queries = 4

    async def test_any_trace_agrees_with_the_reference(self, harness: Harness) -> None:
        """The same, without making a failing trace short."""
        await run_machine(machine_for(harness), examples=40, steps=25, shrink=False)


async def index_failure(cls: type[MemoryVectorIndex], path: Path, tests: Iterable[str] | None = None) -> str | None:
    """Run tests over indexes of a class, up to the first example that fails.

    Args:
        cls: derives from the reference.
        path: an empty directory.
        tests: their names; ``None``: all that are asynchronous.

    Returns:
        What failed, or ``None`` when every example passed or was skipped.
    """
    suite = _Suite()
    names = tests or [name for name, _ in inspect.getmembers(suite, inspect.iscoroutinefunction) if "test_" in name]
    for name in names:
        method = getattr(suite, name)
        for number, arguments in enumerate(examples(method)):
            place = path / f"{name}-{number}"
            place.mkdir()
            harness = _Trial(PortName.VECTORS, "memory", {"dimension": DIMENSION}, place, cls=cls)
            if (problem := await attempt(method, harness, arguments)) is not None:
                return f"{name}{arguments or ''}: {problem}"
    return None


async def demand_index_caught(cls: type[MemoryVectorIndex], test: str, path: Path) -> None:
    """Raise ``AssertionError`` unless one test fails over an index of the class and passes over the reference."""
    for name in ("faulty", "sound"):
        (path / name).mkdir()
    assert await index_failure(cls, path / "faulty", [test]) is not None, f"{test} does not see that {cls.__doc__}"
    problem = await index_failure(MemoryVectorIndex, path / "sound", [test])
    assert problem is None, f"the reference fails as well: {problem}"
