"""The checker of histories knows an order from a disorder, and a store without a feed is no failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from storycore.memory.entities import MemoryEntityStore
from storycore.ports.capabilities import Capabilities
from storycore.ports.conditions import Version
from storycore.ports.lifecycle import PortName
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.entity_histories import Call, is_linearizable
from storycore.testing.entity_transactions import Touch, Transaction, is_serializable
from storycore.testing.trials import failure

V1, V2 = Version(1), Version(2)

ORDERS = {
    "nothing at all": [],
    "one after the other": [Call(0, 1, "put", None, True, V1), Call(2, 3, "get", None, True, V1)],
    "a read during a write may see either": [Call(0, 3, "put", None, True, V1), Call(1, 2, "get", None, True, None)],
    "a refused write saw the winner": [Call(0, 3, "put", None, True, V1), Call(1, 2, "put", None, False, None)],
    "deleted and created anew": [
        Call(0, 1, "put", None, True, V1),
        Call(2, 3, "delete", V1, True, V1),
        Call(4, 5, "put", None, True, V2),
        Call(6, 7, "put", V1, False, V2),
    ],
}
DISORDERS = {
    "a read misses a write that returned": [
        Call(0, 1, "put", None, True, V1),
        Call(2, 3, "get", None, True, None),
    ],
    "a read sees what was replaced": [
        Call(0, 1, "put", None, True, V1),
        Call(2, 3, "put", V1, True, V2),
        Call(4, 5, "get", None, True, V1),
    ],
    "two creators win": [Call(0, 3, "put", None, True, V1), Call(1, 2, "put", None, True, V2)],
    "a write is refused for nothing": [Call(0, 1, "put", None, False, None)],
    "an old version matches again": [
        Call(0, 1, "put", None, True, V1),
        Call(2, 3, "delete", V1, True, V1),
        Call(4, 5, "put", None, True, V2),
        Call(6, 7, "delete", V1, True, V1),
    ],
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_explainable_history_is_accepted(name: str) -> None:
    """Some order of the calls gives every answer."""
    assert is_linearizable(ORDERS[name])


@pytest.mark.parametrize("name", DISORDERS)
def test_an_inexplicable_history_is_rejected(name: str) -> None:
    """No order of the calls gives every answer."""
    assert not is_linearizable(DISORDERS[name])


def put(name: str, expected: Version | None, seen: Version | None) -> Touch:
    return Touch(name, "put", expected, seen)


def check(name: str, expected: Version | None) -> Touch:
    return Touch(name, "check", expected)


def got(begin: int, name: str, seen: Version | None) -> Transaction:
    return Transaction(begin, begin + 1, (Touch(name, "get", seen=seen),))


BOTH = (put("a", None, V1), put("b", None, V1))
SERIAL = {
    "nothing at all": [],
    "both are written, then read": [Transaction(0, 1, BOTH), got(2, "a", V1), got(4, "b", V1)],
    "a read between others sees neither": [Transaction(0, 5, BOTH), got(1, "a", None), got(3, "b", None)],
    "a refusal names what the winner wrote": [
        Transaction(0, 5, BOTH),
        Transaction(1, 4, (check("c", None), put("b", V2, None)), {1: V1}),
    ],
    "a refusal without a version": [Transaction(0, 1, BOTH), Transaction(2, 3, BOTH, {0: -1, 1: -1})],
    "deleted together": [
        Transaction(0, 1, BOTH),
        Transaction(2, 3, (Touch("a", "delete", V1), Touch("b", "delete", V1))),
        got(4, "a", None),
        got(6, "b", None),
    ],
}
ANOMALIES = {
    "half of it is seen": [Transaction(0, 5, BOTH), got(1, "a", V1), got(3, "b", None)],
    "what was refused is there": [Transaction(0, 1, BOTH, {0: -1}), got(2, "a", V1)],
    "a position is refused for nothing": [Transaction(0, 1, BOTH), Transaction(2, 3, (check("a", V1),), {0: V1})],
    "a failing position is not named": [
        Transaction(0, 1, BOTH),
        Transaction(2, 3, (put("a", None, None), put("b", None, None)), {0: -1}),
    ],
    "another version is named than is stored": [
        Transaction(0, 1, BOTH),
        Transaction(2, 3, (put("a", V2, None),), {0: V2}),
    ],
    "each has checked what the other wrote": [
        Transaction(0, 2, (check("a", None), put("b", None, V1))),
        Transaction(1, 3, (check("b", None), put("a", None, V1))),
    ],
    "an update is lost": [
        Transaction(0, 1, BOTH),
        Transaction(2, 5, (put("a", V1, V2),)),
        Transaction(3, 4, (put("a", V1, Version(3)),)),
    ],
}


@pytest.mark.parametrize("name", SERIAL)
def test_transactions_that_an_order_explains_are_accepted(name: str) -> None:
    """Some order of whole transactions gives every answer."""
    assert is_serializable(SERIAL[name])


@pytest.mark.parametrize("name", ANOMALIES)
def test_anomalies_are_rejected(name: str) -> None:
    """No order of whole transactions gives every answer."""
    assert not is_serializable(ANOMALIES[name])


class Feedless(MemoryEntityStore):
    """A sound store that claims no change feed."""

    @property
    def capabilities(self) -> Capabilities:
        """Nothing beyond the port."""
        return Capabilities()


@pytest.mark.parametrize(
    "test",
    [
        "test_a_store_without_a_feed_says_so",
        "test_every_write_is_told_in_order",
        "test_a_gap_is_an_error",
        "test_it_agrees_with_the_reference",
    ],
)
async def test_a_store_without_a_feed_is_conformant(test: str, tmp_path: Path) -> None:
    """What is not claimed is not demanded, only that asking for it is refused."""
    assert await failure(EntityStoreSuite, PortName.ENTITIES, test, Feedless, tmp_path) is None
