"""A batch of reads may see one half of another's transaction; no refusal rests on what never was."""

from __future__ import annotations

import pytest
from storycore_dynamodb._scripted import FaultyTransport, Send, refused
from storycore_dynamodb._transport import Answer, Request

from storycore.errors import TransactionConflict
from storycore.ports.conditions import ABSENT, PRESENT
from storycore.ports.entities import Check, EntityStore, Key, Put

ONE, OTHER = Key("p", "one"), Key("p", "other")


def put(key: Key, **more: object) -> Put:
    """A put of nothing much."""
    return Put(key=key, kind="k", **more)  # type: ignore[arg-type]  # the parts of a put


async def half(send: Send, operation: str, request: Request) -> Answer:
    """The answer as if the record ``other`` were not yet there."""
    answer = await send(operation, request)
    found = {
        table: [item for item in items if item["sk"]["S"] != OTHER.sk] for table, items in answer["Responses"].items()
    }
    return {**answer, "Responses": found}


async def test_a_write_that_a_torn_read_would_refuse_is_done(store: EntityStore, transport: FaultyTransport) -> None:
    """Its conditions held all the time."""
    await store.write([put(ONE), put(OTHER)], atomic=True)
    transport.expect("BatchGetItem", half)
    done = await store.write([Check(key=ONE), put(OTHER, when=PRESENT)], atomic=True)
    assert [written.created for written in done] == [False, False]
    assert "TransactGetItems" in transport.sent


async def test_a_refusal_names_what_failed_at_one_moment(store: EntityStore, transport: FaultyTransport) -> None:
    """Not what a torn read missed."""
    await store.write([put(ONE), put(OTHER)], atomic=True)
    transport.expect("BatchGetItem", half)
    with pytest.raises(TransactionConflict) as refusal:
        await store.write([put(ONE, when=ABSENT), put(OTHER, when=PRESENT)], atomic=True)
    assert list(refusal.value.reasons) == [0]


async def test_a_snapshot_that_others_are_in_the_way_of_is_asked_for_again(
    store: EntityStore, transport: FaultyTransport
) -> None:
    """The service cancels it; the refusal comes all the same."""
    await store.write([put(ONE), put(OTHER)], atomic=True)
    transport.expect("TransactGetItems", refused("TransactionCanceledException"))
    with pytest.raises(TransactionConflict):
        await store.write([put(ONE, when=ABSENT), put(OTHER)], atomic=True)
    assert transport.sent.count("TransactGetItems") == 2
