"""What happens when requests are lost, refused or overtaken: nothing twice, and no conflict that is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from storycore_dynamodb._scripted import (
    FaultyTransport,
    Send,
    after,
    before,
    late,
    lost_after,
    lost_before,
    refused,
    unsent,
)
from storycore_dynamodb._transport import Answer, Refused, Request
from storycore_dynamodb.config import DynamodbConfig

from storycore.errors import (
    AccessDenied,
    AlreadyExists,
    Effect,
    StorycoreError,
    Throttled,
    Unavailable,
)
from storycore.ports.conditions import ABSENT, PRESENT, Matches, Version
from storycore.ports.entities import Delete, EntityStore, Key, Patch, Put, Write
from storycore.testing.harness import Harness

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


Make: TypeAlias = Callable[[Version], Write]

SINGLE: dict[str, tuple[str, Make, object]] = {
    "put": ("PutItem", lambda v: put(2), {"n": 2}),
    "put over a version": ("PutItem", lambda v: put(2, when=Matches(v)), {"n": 2}),
    "put over anything": ("PutItem", lambda v: put(2, when=PRESENT), {"n": 2}),
    "add": ("UpdateItem", lambda v: Patch(key=ROOT, add={"n": 1}), {"n": 2}),
    "add to a version": ("UpdateItem", lambda v: Patch(key=ROOT, add={"n": 1}, when=Matches(v)), {"n": 2}),
    "delete": ("DeleteItem", lambda v: Delete(key=ROOT), None),
}
"""A write of a record that holds 1: its operation, how it is made, and what is stored then."""


@pytest.mark.parametrize("name", SINGLE)
async def test_a_write_whose_answer_was_lost_is_found_done(
    store: EntityStore, transport: FaultyTransport, name: str
) -> None:
    """It is read back, not repeated, and the result is that of a write that went well."""
    operation, make, after_it = SINGLE[name]
    await store.write([put(1)])
    write = make(await version_of(store))
    transport.expect(operation, lost_after)
    transport.sent.clear()
    (written,) = await store.write([write])
    assert transport.sent == [operation, "GetItem"]
    assert await fields_of(store) == after_it
    assert written.record == (await store.get([ROOT]))[0]


async def test_a_creation_whose_answer_was_lost_has_created(store: EntityStore, transport: FaultyTransport) -> None:
    """Under ABSENT it is certain that the write created, and its repetition is no conflict."""
    transport.expect("PutItem", lost_after)
    (written,) = await store.write([put(1, when=ABSENT)])
    assert (written.created, written.version) == (True, await version_of(store))


@pytest.mark.parametrize("name", [name for name in SINGLE if name != "add"])
async def test_a_write_that_was_lost_on_its_way_is_done_once(
    store: EntityStore, transport: FaultyTransport, name: str
) -> None:
    """What was read back shows that it was not done, so it is sent again."""
    operation, make, after_it = SINGLE[name]
    await store.write([put(1)])
    write = make(await version_of(store))
    transport.expect(operation, lost_before)
    await store.write([write])
    assert transport.sent.count(operation) == (3 if operation == "PutItem" else 2)
    assert await fields_of(store) == after_it


async def test_a_sum_that_may_have_been_added_is_not_added_again(
    store: EntityStore, transport: FaultyTransport
) -> None:
    """Whether a patch without a version was done cannot be told from another's item, so the error says so."""
    await store.write([put(1)])
    transport.expect("UpdateItem", lost_before)
    with pytest.raises(Unavailable) as caught:
        await store.write([Patch(key=ROOT, add={"n": 1})])
    assert caught.value.effect is Effect.UNKNOWN
    assert (transport.sent.count("UpdateItem"), await fields_of(store)) == (1, {"n": 1})


@pytest.mark.parametrize("name", SINGLE)
async def test_a_write_that_arrives_late_is_no_conflict(
    store: EntityStore, transport: FaultyTransport, name: str
) -> None:
    """The first request takes effect after it was given up: the second one meets its own work, or is not sent."""
    operation, make, after_it = SINGLE[name]
    await store.write([put(1)])
    write = make(await version_of(store))
    transport.expect(operation, late(transport))
    try:
        await store.write([write])
    except StorycoreError as exc:
        assert (name, exc.effect) == ("add", Effect.UNKNOWN)
    else:
        assert await fields_of(store) == after_it


@pytest.mark.parametrize("name", SINGLE)
async def test_what_another_wrote_after_a_lost_write_stays(
    store: EntityStore, transport: FaultyTransport, rival: EntityStore, harness: Harness, name: str
) -> None:
    """A write that was done and written over is not done again, and is not called a conflict."""
    operation, make, _ = SINGLE[name]
    await store.write([put(1)])
    write = make(await version_of(store))

    async def write_later() -> None:
        harness.clock.advance(0.001)
        await rival.write([put(9)])

    transport.expect(operation, after(write_later))
    with pytest.raises(StorycoreError) as caught:
        await store.write([write])
    assert (caught.value.effect, await fields_of(store)) == (Effect.UNKNOWN, {"n": 9})


@pytest.mark.parametrize("code", ["InternalServerError", "ServiceUnavailable", "503"])
async def test_a_failure_of_the_service_may_have_been_a_success(
    store: EntityStore, transport: FaultyTransport, code: str
) -> None:
    """A server's own error is treated like silence: read back."""

    async def failed_after(send: Send, operation: str, request: Request) -> Answer:
        await send(operation, request)
        raise Refused(code)

    transport.expect("PutItem", failed_after)
    await store.write([put(1, when=ABSENT)])
    assert transport.sent == ["PutItem", "GetItem"]


async def test_a_write_stays_unknown_when_nothing_can_be_read_back(
    store: EntityStore, transport: FaultyTransport
) -> None:
    """A service that stays silent leaves the effect unknown."""
    transport.expect("PutItem", lost_after)
    transport.expect("GetItem", *[lost_before] * 4)
    with pytest.raises(Unavailable) as caught:
        await store.write([put(1)])
    assert caught.value.effect is Effect.UNKNOWN


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException"])
async def test_a_throttled_write_is_sent_again(store: EntityStore, transport: FaultyTransport, code: str) -> None:
    """Within the attempts a throttle is not seen; beyond them it is Throttled, and nothing was done."""
    transport.expect("PutItem", refused(code), unsent, refused("TransactionConflictException"))
    await store.write([put(1)])
    transport.expect("PutItem", *[refused(code)] * 4)
    with pytest.raises(Throttled) as caught:
        await store.write([put(2)])
    assert (caught.value.effect, await fields_of(store)) == (Effect.NONE, {"n": 1})


async def test_puts_that_overtake_each_other_are_no_conflict(
    store: EntityStore, transport: FaultyTransport, rival: EntityStore
) -> None:
    """A put under ANY that arrives behind a newer version takes a newer one still."""
    transport.expect("PutItem", *[before(lambda: rival.write([put(9)]))] * 3)
    (written,) = await store.write([put(1)])
    assert (await fields_of(store), await version_of(store)) == ({"n": 1}, written.version)


async def test_what_the_service_leaves_out_is_asked_for_again(store: EntityStore, transport: FaultyTransport) -> None:
    """Unprocessed keys cost nothing but time, and the order stays; when they never come it is Throttled."""
    keys = [Key("p", f"{i:03d}") for i in range(120)]
    await store.write([put(i, key=key) for i, key in enumerate(keys)])

    async def halved(send: Send, operation: str, request: Request) -> Answer:
        ((table, asked),) = request["RequestItems"].items()
        middle = len(asked["Keys"]) // 2
        first, rest = ({**asked, "Keys": part} for part in (asked["Keys"][:middle], asked["Keys"][middle:]))
        answer = await send(operation, {**request, "RequestItems": {table: first}})
        return {**answer, "UnprocessedKeys": {table: rest}}

    async def nothing(send: Send, operation: str, request: Request) -> Answer:
        return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}

    transport.expect("BatchGetItem", halved, halved, halved, nothing)
    found = await store.get([*reversed(keys), keys[5]])
    assert [record and record.fields["n"] for record in found] == [*reversed(range(120)), 5]
    transport.expect("BatchGetItem", *[nothing] * 20)
    with pytest.raises(Throttled):
        await store.get(keys[:2])


async def test_a_refusal_tells_no_secret(
    store: EntityStore, transport: FaultyTransport, config: DynamodbConfig
) -> None:
    """Refused credentials are AccessDenied with a cure, without the credentials."""
    for code in ("UnrecognizedClientException", "ExpiredTokenException", "AccessDeniedException"):
        transport.expect("GetItem", refused(code))
        with pytest.raises(AccessDenied) as caught:
            await store.get([ROOT])
        assert config.secret_access_key is not None
        assert config.secret_access_key.get_secret_value() not in caught.value.message.split()


async def test_a_conflict_is_told_without_a_repetition(store: EntityStore, transport: FaultyTransport) -> None:
    """A condition that fails is an answer: one request, no reading back."""
    await store.write([put(1)])
    transport.sent.clear()
    with pytest.raises(AlreadyExists):
        await store.write([put(2, when=ABSENT)])
    assert transport.sent == ["PutItem"]


async def test_a_late_put_that_was_written_over_is_not_put_again(
    store: EntityStore, transport: FaultyTransport, rival: EntityStore, harness: Harness
) -> None:
    """The first request arrives after it was read back, another writes over it: the repetition must not."""
    await store.write([put(1)])
    requests: list[Request] = []

    async def held_back(send: Send, operation: str, request: Request) -> Answer:
        requests.append(request)
        return await lost_before(send, operation, request)

    async def arrive_and_overwrite() -> None:
        await transport.call("PutItem", requests[0])
        harness.clock.advance(0.001)
        await rival.write([put(9)])

    transport.expect("PutItem", held_back, before(arrive_and_overwrite))
    with pytest.raises(Unavailable) as caught:
        await store.write([put(2)])
    assert (caught.value.effect, await fields_of(store)) == (Effect.UNKNOWN, {"n": 9})


async def test_requests_that_were_given_up_keep_nobody_waiting(store: EntityStore, transport: FaultyTransport) -> None:
    """A throttled store sends less; what was cancelled while it waited for its turn has no turn."""
    transport.expect("PutItem", refused("ThrottlingException"))
    await store.write([put(1)])
    waiting = [asyncio.create_task(store.get([Key("p", str(i))])) for i in range(500)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(2):
        assert await fields_of(store) == {"n": 1}


@pytest.mark.parametrize(
    ("operation", "code"),
    [("GetRecords", "ProvisionedThroughputExceededException"), ("DescribeStream", "LimitExceededException")],
)
async def test_a_throttled_feed_keeps_no_reads_waiting(
    store: EntityStore, transport: FaultyTransport, operation: str, code: str
) -> None:
    """A stream has limits of its own, which many readers reach; the table knows nothing of it."""
    transport.expect(operation, refused(code))
    await store.changes()
    async with asyncio.timeout(2):
        assert await asyncio.gather(*(store.get([ROOT]) for _ in range(100))) == [[None]] * 100
