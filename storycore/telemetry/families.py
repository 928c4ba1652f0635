"""Families: metrics of one name and meaning with different labels, as every exporter can hand them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Distribution", "Family", "Kind", "Measured", "Sample"]


class Kind(StrEnum):
    """What a metric is."""

    COUNTER = "counter"
    """A sum since the store was opened; it never falls."""
    GAUGE = "gauge"
    """How something is now."""
    HISTOGRAM = "histogram"
    """A ``Distribution``."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often which values were seen.

    Args:
        bounds: ascending.
        within: how many values each bound is the first for that they do not exceed, and how many exceed all of them;
            one more than there are bounds.
        total: the sum of all values.
    """

    bounds: Sequence[float]
    within: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric of a family.

    Args:
        labels: name to value; of all samples of a family the same names.
        value: now.
    """

    labels: Mapping[str, str]
    value: float | Distribution


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics of one name.

    Args:
        name: words with dots between them, without a unit, for example ``"cache.memory.size"``.
        kind: of all samples.
        about: one sentence.
        samples: may be none.
        unit: ``"seconds"``, ``"bytes"`` or ``""``, which is a count.
    """

    name: str
    kind: Kind
    about: str
    samples: Sequence[Sample]
    unit: str = ""


class Measured(Protocol):
    """Whatever tells what it counted: a store, or its sync face."""

    def telemetry(self) -> Sequence[Family]:
        """The families."""
        ...
