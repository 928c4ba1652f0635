"""How long the steps of a search took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Stopwatch"]


class Stopwatch:
    """Adds up wall time by step; ``milliseconds`` has the steps in the order in which they began."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        begun = time.perf_counter()
        self.milliseconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self.milliseconds[name] += (time.perf_counter() - begun) * 1000
