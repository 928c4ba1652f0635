"""What a sweep removes, and what it leaves."""

from __future__ import annotations

from datetime import timedelta

from storycore_dynamodb._scripted import FaultyTransport, before, lost_after
from storycore_dynamodb._tokens import token_key
from storycore_dynamodb._wire import key_values
from storycore_dynamodb.config import DynamodbConfig

from storycore.ports.entities import EntityStore, Key, Put
from storycore.testing.harness import Harness

HERE = Key("p", "a")
MINUTE = timedelta(minutes=1)


async def is_stored(transport: FaultyTransport, config: DynamodbConfig, key: Key) -> bool:
    """Whether the table holds an item, live or not."""
    answer = await transport.call("GetItem", {"TableName": config.table, "Key": key_values(key)})
    return "Item" in answer


async def test_old_tokens_are_removed_and_not_counted(
    store: EntityStore, transport: FaultyTransport, config: DynamodbConfig, harness: Harness
) -> None:
    """A token takes room for its 10 minutes, and until the next sweep."""
    await store.write([Put(key=HERE, kind="k")], atomic=True, token="t")
    assert await store.expire(harness.clock.now()) == 0
    assert await is_stored(transport, config, token_key("t"))
    harness.clock.advance(10 * MINUTE)
    assert await store.expire(harness.clock.now()) == 0
    assert not await is_stored(transport, config, token_key("t"))
    assert await is_stored(transport, config, HERE)


async def test_what_is_written_during_the_sweep_stays(
    store: EntityStore, transport: FaultyTransport, rival: EntityStore, harness: Harness
) -> None:
    """A record that was made anew since the sweep found it is neither marked nor removed."""
    old = Put(key=HERE, kind="k", expires_at=harness.clock.now() + MINUTE)
    for operation in ("UpdateItem", "DeleteItem"):
        await store.write([old])
        harness.clock.advance(MINUTE)
        transport.expect(operation, before(lambda: rival.write([Put(key=HERE, kind="new")])))
        assert await store.expire(harness.clock.now()) == 0
        (record,) = await store.get([HERE])
        assert record is not None
        assert record.kind == "new"


async def test_a_mark_whose_answer_was_lost_is_made_again(
    store: EntityStore, transport: FaultyTransport, harness: Harness
) -> None:
    """Marking twice does no harm, so the record is removed and counted."""
    await store.write([Put(key=HERE, kind="k", expires_at=harness.clock.now())])
    transport.expect("UpdateItem", lost_after)
    assert await store.expire(harness.clock.now()) == 1


async def test_a_removal_whose_answer_was_lost_is_counted(
    store: EntityStore, transport: FaultyTransport, harness: Harness
) -> None:
    """The repetition finds nothing more to remove, for the first attempt removed it."""
    await store.write([Put(key=HERE, kind="k", expires_at=harness.clock.now())])
    transport.expect("DeleteItem", lost_after)
    assert await store.expire(harness.clock.now()) == 1


async def test_a_store_that_leaves_sweeping_to_the_service_reads_nothing(harness: Harness) -> None:
    """With ``sweeps`` off nothing is scanned; what has expired is absent all the same."""
    store = await harness.started(sweeps=False)
    await store.write([Put(key=HERE, kind="k", expires_at=harness.clock.now())])
    before_it = store.inner.consumed().get("Scan")
    assert await store.expire(harness.clock.now()) == 0
    assert (store.inner.consumed().get("Scan"), await store.get([HERE])) == (before_it, [None])
    await store.close()
