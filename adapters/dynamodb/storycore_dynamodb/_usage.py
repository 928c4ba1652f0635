"""What the table's owner will pay for: capacity consumed, by operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storycore.ports.metering import Meter

__all__ = ["READS", "Consumed", "Usage"]

READS = frozenset(
    {
        *("BatchGetItem", "GetItem", "Query", "Scan", "TransactGetItems"),
        *("DescribeContinuousBackups", "DescribeTable", "DescribeTimeToLive", "ListTables"),
        *("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"),
    }
)
"""Operations that change nothing."""


@dataclass(slots=True)
class Consumed:
    """What one operation has consumed since the store was opened, in capacity units."""

    calls: int = 0
    read_units: float = 0.0
    write_units: float = 0.0


class Usage(Meter):
    """Adds up the capacity that answers report."""

    def __init__(self) -> None:
        self._by_operation: dict[str, Consumed] = {}

    def count(self, operation: str, answer: Mapping[str, Any]) -> None:
        """Count an answer with its ``ConsumedCapacity``, which is one object or a list."""
        consumed = self._by_operation.setdefault(operation, Consumed())
        consumed.calls += 1
        reported = answer.get("ConsumedCapacity") or ()
        entries: Iterable[Mapping[str, Any]] = (reported,) if isinstance(reported, Mapping) else reported
        units = sum(float(entry.get("CapacityUnits") or 0.0) for entry in entries)
        if operation in READS:
            consumed.read_units += units
        else:
            consumed.write_units += units

    def by_operation(self) -> dict[str, Consumed]:
        """The sums, a copy."""
        return {
            name: Consumed(each.calls, each.read_units, each.write_units)
            for name, each in sorted(self._by_operation.items())
        }

    def consumed(self) -> Mapping[str, Mapping[str, float]]:
        """The sums as plain values."""
        return {
            name: {"calls": each.calls, "read_units": each.read_units, "write_units": each.write_units}
            for name, each in sorted(self._by_operation.items())
        }

    def facts(self) -> dict[str, float]:
        """The sums as flat plain values: ``"GetItem.read_units"`` and the like."""
        facts: dict[str, float] = {}
        for name, each in sorted(self._by_operation.items()):
            facts[f"{name}.calls"] = each.calls
            if each.read_units:
                facts[f"{name}.read_units"] = each.read_units
            if each.write_units:
                facts[f"{name}.write_units"] = each.write_units
        return facts
