"""Provisioning: what is missing is made, what is there stays, and what is not storycore's is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._scripted import FaultyTransport, refused
from storycore_dynamodb._table import attribute_definitions, table_definition
from storycore_dynamodb._transport import Answer, Request
from storycore_dynamodb.config import DynamodbConfig, DynamodbEventsConfig
from storycore_dynamodb.entities import DynamodbEntityStore, open_entities
from storycore_dynamodb.events import open_events

from storycore.errors import InvalidArgument, NotProvisioned, SchemaMismatch, Unavailable
from storycore.ports.entities import EntityStore
from storycore.testing.harness import Harness


async def sent(config: DynamodbConfig, operation: str, **request: Any) -> Answer:
    """The answer to one request."""
    transport = BotoTransport(config)
    await transport.open()
    try:
        return await transport.call(operation, {"TableName": config.table, **request})
    finally:
        await transport.close()


async def mark_with(config: DynamodbConfig, layout: object) -> None:
    """Overwrite the mark of the layout."""
    item = {"pk": {"S": "\0storycore"}, "sk": {"S": "layout"}, "layout": layout}
    await sent(config, "PutItem", Item=item)


async def test_a_table_is_made_as_it_is_configured(harness: Harness) -> None:
    """Keys, indexes, stream, expiry, continuous backups and tags are as the settings say, and then nothing is left."""
    store = harness.make(time_to_live=True, point_in_time_recovery=True, deletion_protection=False, tags={"team": "a"})
    planned = await store.ensure(dry_run=True)
    config = DynamodbConfig.model_validate(harness.settings(time_to_live=True))
    done = await store.ensure()
    assert list(planned.actions) == list(done.actions)
    assert (await store.ensure()).actions == ()
    table = (await sent(config, "DescribeTable"))["Table"]
    assert [index["IndexName"] for index in table["GlobalSecondaryIndexes"]] == [f"slot{n}" for n in range(1, 9)]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    expiry = (await sent(config, "DescribeTimeToLive"))["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "ttl")


async def test_what_a_live_table_lacks_is_added(harness: Harness) -> None:
    """A table with fewer indexes and without a stream cannot be opened, and can after ensure."""
    config = DynamodbConfig.model_validate(harness.settings())
    definition = table_definition(config)
    del definition["StreamSpecification"]
    definition["GlobalSecondaryIndexes"] = definition["GlobalSecondaryIndexes"][:6]
    keys = {each["AttributeName"] for index in definition["GlobalSecondaryIndexes"] for each in index["KeySchema"]}
    definition["AttributeDefinitions"] = [
        each for each in attribute_definitions(config.slots) if each["AttributeName"] in {"pk", "sk", *keys}
    ]
    await sent(config, "CreateTable", **definition)
    with pytest.raises(NotProvisioned, match="slot7"):
        await harness.make().open()
    planned = await harness.make().ensure(dry_run=True)
    assert [sentence.split()[0:3] for sentence in planned.actions] == [
        ["add", "the", "index"],
        ["add", "the", "index"],
        ["turn", "on", "the"],
        ["mark", "the", "table"],
    ]
    assert (await harness.make().ensure()).actions == planned.actions
    store: EntityStore = await harness.started()
    await store.close()


async def test_machines_that_provision_together_do_not_hinder_each_other(harness: Harness) -> None:
    """What a table lacks is made by the first; the others find it made."""
    config = DynamodbConfig.model_validate(harness.settings(time_to_live=True))
    await harness.make(time_to_live=True).ensure()
    for slot in ("slot3", "slot7"):
        await sent(config, "UpdateTable", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": slot}}])
    await sent(config, "UpdateTable", StreamSpecification={"StreamEnabled": False})
    makers = [harness.make(time_to_live=True) for _ in range(4)]
    await asyncio.gather(*(maker.ensure() for maker in makers))
    assert (await makers[0].ensure()).actions == ()


async def test_a_step_that_stays_impossible_is_told(harness: Harness) -> None:
    """It is tried again only while others may be at it."""
    config = DynamodbConfig.model_validate(harness.settings(time_to_live=True, retry_base_ms=0))
    transport = FaultyTransport(BotoTransport(config))
    transport.expect("UpdateTimeToLive", *[refused("ValidationException")] * 20)
    with pytest.raises(InvalidArgument):
        await DynamodbEntityStore(config, harness.env, transport).ensure()
    assert transport.sent.count("UpdateTimeToLive") < 20


async def test_a_table_without_a_mark_is_marked_by_ensure(harness: Harness) -> None:
    """A table that another tool made from the exported definition is usable after ensure."""
    config = DynamodbConfig.model_validate(harness.settings())
    await sent(config, "CreateTable", **table_definition(config))
    with pytest.raises(NotProvisioned, match="mark"):
        await harness.make().open()
    assert [*(await harness.make().ensure()).actions] == ["mark the table with layout 1"]
    await (await harness.started()).close()


@pytest.mark.parametrize("layout", [{"N": "2"}, {"N": "0"}, {"S": "new"}])
async def test_another_layout_is_refused(harness: Harness, layout: object) -> None:
    """A table that another version works with is neither opened nor changed."""
    await harness.make().ensure()
    await mark_with(DynamodbConfig.model_validate(harness.settings()), layout)
    for attempt in (harness.make().open(), harness.make().ensure()):
        with pytest.raises(SchemaMismatch):
            await attempt


async def test_entities_and_events_do_not_share_a_table(harness: Harness) -> None:
    """Whichever comes second is told, and the table stays as it is."""
    settings = harness.settings()
    events = open_events(DynamodbEventsConfig.model_validate(settings), harness.env)
    await events.ensure()
    assert (
        "GlobalSecondaryIndexes" not in (await sent(DynamodbConfig.model_validate(settings), "DescribeTable"))["Table"]
    )
    for attempt in (harness.make().open(), harness.make().ensure()):
        with pytest.raises(SchemaMismatch, match="holds events"):
            await attempt
    other = settings | {"table": f"{settings['table']}-2"}
    await open_entities(DynamodbConfig.model_validate(other), harness.env).ensure()
    second = open_events(DynamodbEventsConfig.model_validate(other), harness.env)
    for attempt in (second.open(), second.ensure()):
        with pytest.raises(SchemaMismatch, match="holds entities"):
            await attempt


async def test_a_table_with_other_keys_is_refused(harness: Harness) -> None:
    """Another program's table is SchemaMismatch, and stays as it is."""
    config = DynamodbConfig.model_validate(harness.settings())
    await sent(
        config,
        "CreateTable",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    before = await sent(config, "DescribeTable")
    for attempt in (harness.make().open(), harness.make().ensure()):
        with pytest.raises(SchemaMismatch, match="id"):
            await attempt
    assert (await sent(config, "DescribeTable"))["Table"]["KeySchema"] == before["Table"]["KeySchema"]


async def test_ensure_waits_no_longer_than_it_may(harness: Harness) -> None:
    """A table that does not become active is Unavailable, and a later call goes on."""
    config = DynamodbConfig.model_validate(harness.settings(provision_timeout_seconds=0.05))
    transport = FaultyTransport(BotoTransport(config))

    async def creating(send: Any, operation: str, request: Request) -> Answer:
        answer = await send(operation, request)
        return {"Table": {**answer["Table"], "TableStatus": "CREATING"}}

    transport.expect("DescribeTable", refused("ResourceNotFoundException"), *[creating] * 20)
    with pytest.raises(Unavailable, match="again"):
        await DynamodbEntityStore(config, harness.env, transport).ensure()
    await harness.make().ensure()
    transport.expect("DescribeTable", *[creating] * 20)
    with pytest.raises(Unavailable, match="creating"):
        await DynamodbEntityStore(config, harness.env, transport).open()
