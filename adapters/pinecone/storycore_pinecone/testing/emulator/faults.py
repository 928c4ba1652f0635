"""Failures that a test orders: which calls, how they fail, and whether they took effect before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .calls import Call
from .settings import checked

__all__ = ["Fault", "Faults"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One order.

    Attributes:
        operation: which call fails; ``*``: each.
        status: of the answer; 0: the connection is cut instead, in the middle of the answer if the call takes
            effect; 200: the call succeeds, late.
        times: how many calls fail; 0: all from now on.
        every: of the calls that are meant, each so-and-so-many-th fails.
        after: how many calls that are meant pass before.
        record: only calls about the record with this id are meant; empty: all.
        namespace: only calls in this namespace are meant, by its name in the request; empty: all.
        retry_after: seconds in the header Retry-After; negative: there is none.
        takes_effect: whether the call is carried out before it fails.
        latency_ms: how long the answer takes on top, in milliseconds.
        message: of the error.
    """

    operation: str = "*"
    status: int = 503
    times: int = 1
    every: int = 1
    after: int = 0
    record: str = ""
    namespace: str = ""
    retry_after: float = -1.0
    takes_effect: bool = False
    latency_ms: float = 0.0
    message: str = "ordered by a test"

    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after < 0 else {"retry-after": f"{self.retry_after:g}"}

    def means(self, call: Call) -> bool:
        """Whether the order is about such a call."""
        return (
            self.operation in ("*", call.operation)
            and (not self.namespace or self.namespace == call.namespace())
            and (not self.record or self.record in call.ids())
        )


class Faults:
    """The orders of a server, the oldest first.

    Args:
        operations: all that there are.
    """

    def __init__(self, operations: Collection[str]) -> None:
        self._operations = ("*", *operations)
        self._orders: list[_Order] = []

    def order(self, body: Mapping[str, object]) -> None:
        """Take an order.

        Raises:
            Refusal: it is none.
        """
        self._orders.append(_Order(Fault(**checked(Fault, body, {"operation": self._operations}))))

    def clear(self) -> None:
        """Forget all orders."""
        self._orders.clear()

    def due(self, call: Call) -> Fault | None:
        """The order that makes this call fail."""
        for order in list(self._orders):
            if order.fault.means(call) and order.is_due():
                if order.failed == order.fault.times:
                    self._orders.remove(order)
                return order.fault
        return None


@dataclass(slots=True, eq=False)
class _Order:
    """An order with how many calls it met, and how many of them failed."""

    fault: Fault
    met: int = 0
    failed: int = 0

    def is_due(self) -> bool:
        """Count a call, and tell whether it fails."""
        self.met += 1
        due = self.met > self.fault.after and (self.met - self.fault.after) % max(1, self.fault.every) == 0
        self.failed += due
        return due
