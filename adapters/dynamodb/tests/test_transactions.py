"""What happens to atomic writes when requests are lost, refused or overtaken: all of them once, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from storycore_dynamodb._scripted import (
    Fault,
    FaultyTransport,
    before,
    lost_after,
    lost_before,
    refused,
)

from storycore.errors import (
    AccessDenied,
    Effect,
    InvalidArgument,
    StorageFull,
    StorycoreError,
    TransactionConflict,
    Unavailable,
    VersionConflict,
)
from storycore.ports.conditions import ABSENT, PRESENT, Matches, Version
from storycore.ports.entities import Check, Delete, EntityStore, Key, Patch, Put, Write

ROOT = Key("p", "a")
OTHER = Key("p", "b")


async def version_of(store: EntityStore, key: Key = ROOT) -> Version:
    """The stored version."""
    (record,) = await store.get([key])
    assert record is not None
    return record.version


async def fields_of(store: EntityStore, key: Key = ROOT) -> object:
    """The stored fields; ``None`` where nothing is stored."""
    (record,) = await store.get([key])
    return None if record is None else dict(record.fields)


def put(n: int, *, key: Key = ROOT, **more: Any) -> Put:
    """A put of one number."""
    return Put(key=key, kind="k", fields={"n": n}, **more)


async def atomic(store: EntityStore, *writes: Write, token: str | None = None) -> Sequence[object]:
    """An atomic write."""
    return await store.write(writes, atomic=True, token=token)


@pytest.mark.parametrize("token", [None, "token"])
@pytest.mark.parametrize("fault", ["lost_after", "lost_before"])
async def test_a_transaction_without_an_answer_is_done_once(
    store: EntityStore, transport: FaultyTransport, fault: str, token: str | None
) -> None:
    """It is sent again under the same request token."""
    await store.write([put(1)])
    transport.expect("TransactWriteItems", {"lost_after": lost_after, "lost_before": lost_before}[fault])
    await atomic(store, Patch(key=ROOT, add={"n": 1}), put(1, key=OTHER, when=ABSENT), token=token)
    assert (await fields_of(store), await fields_of(store, OTHER)) == ({"n": 2}, {"n": 1})


async def test_a_transaction_that_never_gets_an_answer_is_found_done(
    store: EntityStore, transport: FaultyTransport
) -> None:
    """After the last attempt the items are read back; when they are not its own, the effect is unknown."""
    await store.write([put(1)])
    transport.expect("TransactWriteItems", lost_after, *[lost_before] * 3)
    await atomic(store, Patch(key=ROOT, add={"n": 1}))
    assert await fields_of(store) == {"n": 2}
    transport.expect("TransactWriteItems", *[lost_before] * 4)
    with pytest.raises(Unavailable) as caught:
        await atomic(store, Patch(key=ROOT, add={"n": 1}))
    assert (caught.value.effect, await fields_of(store)) == (Effect.UNKNOWN, {"n": 2})


async def test_a_transaction_that_is_cancelled_after_it_was_done_is_found_done(
    store: EntityStore, transport: FaultyTransport
) -> None:
    """The repetition is not what was done, so its refusal is no refusal of the call."""
    transport.expect("TransactWriteItems", lost_after, cancelled("ThrottlingError"))
    await atomic(store, put(1, when=ABSENT), put(2, key=OTHER, when=ABSENT))
    assert [await fields_of(store), await fields_of(store, OTHER)] == [{"n": 1}, {"n": 2}]


async def test_a_removal_that_is_cancelled_after_it_was_done_stays_unknown(
    store: EntityStore, transport: FaultyTransport
) -> None:
    """What is gone cannot tell who removed it, so that it is gone is no proof that this call did nothing."""
    await store.write([put(1)])
    transport.expect("TransactWriteItems", lost_after, cancelled("ThrottlingError"))
    with pytest.raises(Unavailable) as refusal:
        await atomic(store, Delete(key=ROOT, when=PRESENT))
    assert (refusal.value.effect, await fields_of(store)) == (Effect.UNKNOWN, None)


def cancelled(code: str) -> Fault:
    """The service cancels the transaction for this reason."""
    return refused("TransactionCanceledException", reasons=[code])


async def test_a_transaction_that_was_overtaken_is_judged_anew(
    store: EntityStore, transport: FaultyTransport, rival: EntityStore
) -> None:
    """A change between its reading and its writing is no conflict, unless it breaks a condition."""
    await store.write([put(1), put(1, key=OTHER)])
    change = before(lambda: rival.write([Patch(key=ROOT, add={"n": 10})]))
    transport.expect("TransactWriteItems", change)
    await atomic(store, Patch(key=ROOT, add={"n": 1}), put(2, key=OTHER))
    assert await fields_of(store) == {"n": 12}
    transport.expect("TransactWriteItems", change)
    with pytest.raises(TransactionConflict) as caught:
        await atomic(store, Check(key=ROOT, when=Matches(await version_of(store))), put(3, key=OTHER))
    assert [(i, type(error)) for i, error in caught.value.reasons.items()] == [(0, VersionConflict)]
    assert await fields_of(store, OTHER) == {"n": 2}


@pytest.mark.parametrize(
    "codes", [["TransactionConflict", "None"], ["None", "ThrottlingError"], ["ProvisionedThroughputExceeded", "None"]]
)
async def test_a_transaction_in_the_way_of_others_waits(
    store: EntityStore, transport: FaultyTransport, codes: list[str]
) -> None:
    """What is cancelled without a condition being broken is done again."""
    transport.expect("TransactWriteItems", *[refused("TransactionCanceledException", reasons=codes)] * 3)
    await atomic(store, put(1), put(2, key=OTHER))
    assert (await fields_of(store), transport.sent.count("TransactWriteItems")) == ({"n": 1}, 4)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ValidationError", InvalidArgument),
        ("ItemCollectionSizeLimitExceeded", StorageFull),
        ("AccessDenied", AccessDenied),
        ("SomethingNew", Unavailable),
    ],
)
async def test_a_transaction_that_cannot_succeed_is_refused(
    store: EntityStore, transport: FaultyTransport, code: str, error: type[StorycoreError]
) -> None:
    """Each of the service's reasons is an error of storycore's, and nothing is sent again."""
    transport.expect("TransactWriteItems", refused("TransactionCanceledException", reasons=["None", code]))
    with pytest.raises(error):
        await atomic(store, put(1), put(2, key=OTHER))
    assert transport.sent.count("TransactWriteItems") == 1


async def test_of_two_calls_with_one_token_one_writes(
    store: EntityStore, transport: FaultyTransport, rival: EntityStore
) -> None:
    """The second finds the first one's result, also when both have begun."""
    await store.write([put(1)])
    writes = [Patch(key=ROOT, add={"n": 1})]
    firsts: list[object] = []

    async def first() -> None:
        firsts.extend(await rival.write(writes, atomic=True, token="same"))

    transport.expect("TransactWriteItems", before(first))
    assert await atomic(store, *writes, token="same") == firsts
    assert await fields_of(store) == {"n": 2}
    together = await asyncio.gather(*(each.write(writes, atomic=True, token="new") for each in (store, rival) * 4))
    assert all(each == together[0] for each in together)
    assert await fields_of(store) == {"n": 3}
