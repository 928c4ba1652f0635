"""The lean transport says what boto3 says: to the same requests, to the same faults, from the same settings."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from botocore.client import BaseClient
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._lean import LeanTransport
from storycore_dynamodb._origin import origin_of
from storycore_dynamodb._transport import Answer, Lost, Refused, Transport
from storycore_dynamodb.config import DynamodbConfig
from storycore_dynamodb.entities import open_entities

from storycore.errors import AccessDenied, ConfigError, Unavailable
from storycore.ports.entities import Key, Put
from storycore.ports.environment import Environment
from storycore.testing.entities import EntityStoreSuite
from storycore.testing.harness import Harness

HERE: dict[str, Any] = {"table": "none", "region": "us-east-1", "access_key_id": "name", "secret_access_key": "word"}


class TestDynamodbEntitiesOverLean(EntityStoreSuite):
    """The EntityStore contract over the lean transport."""

    adapter = "dynamodb"
    options: ClassVar = {"transport": "lean"}
    machine_examples = 2
    trace_steps = 15


@pytest_asyncio.fixture
async def both(harness: Harness) -> AsyncIterator[tuple[str, LeanTransport, BotoTransport]]:
    """A table, and both ways to it."""
    config = DynamodbConfig.model_validate(harness.settings())
    store = await harness.started()
    lean, boto = LeanTransport(config), BotoTransport(config)
    await lean.open()
    await boto.open()
    assert lean.detour is None
    yield config.table, lean, boto
    await lean.close()
    await boto.close()
    await store.close()


def requests_to(table: str) -> list[tuple[str, dict[str, Any]]]:
    """Requests of every kind, which leave the table as they found it, each answered in its own way."""
    key = {"pk": {"S": "p"}, "sk": {"S": 'é\0"B"'}}
    values = {
        "bytes": {"B": b"\x00\xff"},
        "many": {"BS": [b"a", b"\xfe"]},
        "B": {"M": {"B": {"B": b"x"}, "BS": {"S": "B"}, "l": {"L": [{"B": b""}, {"NULL": True}, {"N": "1E+5"}]}}},
        "text": {"S": '{"B": "not bytes"}'},
    }
    absent = {"ConditionExpression": "attribute_not_exists(pk)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    at = {"TableName": table, "Key": key}
    put = {"TableName": table, "Item": {**key, **values}}
    by_key = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p"}}}
    return [
        ("PutItem", {**put, "ReturnConsumedCapacity": "TOTAL"}),
        ("PutItem", {**put, **absent}),
        ("GetItem", {**at, "ConsistentRead": True}),
        ("GetItem", {"TableName": table, "Key": {"pk": {"S": "no"}, "sk": {"S": "no"}}}),
        ("BatchGetItem", {"RequestItems": {table: {"Keys": [key]}}}),
        ("TransactGetItems", {"TransactItems": [{"Get": at}]}),
        ("Query", {"TableName": table, **by_key, "Limit": 1}),
        ("Scan", {"TableName": table, "Segment": 0, "TotalSegments": 1}),
        ("UpdateItem", {**at, "UpdateExpression": "REMOVE many", "ReturnValues": "ALL_OLD"}),
        ("UpdateItem", {**at, "UpdateExpression": "no expression"}),
        ("TransactWriteItems", {"TransactItems": [{"Put": {**put, **absent}}]}),
        ("TransactWriteItems", {"TransactItems": [{"Delete": at}]}),
        ("DeleteItem", {**at, "ReturnValues": "ALL_OLD"}),
        ("GetItem", {"TableName": "no-such-table", "Key": key}),
        ("DescribeTable", {"TableName": table}),
        ("GetShardIterator", {"StreamArn": "arn:none", "ShardId": "s" * 30, "ShardIteratorType": "LATEST"}),
        ("GetRecords", {"ShardIterator": "none"}),
    ]


async def said(transport: Transport, operation: str, request: Mapping[str, Any]) -> object:
    """What came of a request, without what is about the connection."""
    try:
        return _bare(await transport.call(operation, request))
    except Refused as refused:
        told = {name: refused.answer.get(name) for name in ("Item", "CancellationReasons")}
        return refused.code, refused.message, told
    except Lost as lost:
        return lost.effect, lost.timed_out


def _bare(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("ResponseMetadata", "Table")}


async def test_the_same_requests_have_the_same_answers(both: tuple[str, LeanTransport, BotoTransport]) -> None:
    """Values, bytes within values, refusals with what they show, transactions that are cancelled, streams."""
    table, lean, boto = both
    answers = [[await said(way, *request) for request in requests_to(table)] for way in (boto, lean)]
    assert answers[0] == answers[1]
    assert {"bytes": {"B": b"\x00\xff"}}.items() <= answers[1][2]["Item"].items()  # type: ignore[index]  # of a success


async def test_records_of_the_stream_are_the_same(harness: Harness) -> None:
    """The feed tells the same changes at the same positions over either transport."""
    one = await harness.started(transport="lean")
    two = await harness.started(transport="boto3")
    await one.write([Put(key=Key("p", "a"), kind="k", body=b"\xff\x00", fields={"n": 1})])
    assert (await one.changes()).changes == (await two.changes()).changes != []
    await one.close()
    await two.close()


async def test_many_calls_share_few_connections_and_no_threads(harness: Harness) -> None:
    """While 64 calls are under way a ticker ticks, and nothing but the rare requests of opening has had a thread."""
    store = await harness.started(connections=4, transport="lean")
    before = {thread.name for thread in threading.enumerate()}
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticker = asyncio.create_task(tick())
    await asyncio.gather(*(store.write([Put(key=Key("p", f"{i}"), kind="k")]) for i in range(64)))
    ticker.cancel()
    assert ticks >= 10
    assert {thread.name for thread in threading.enumerate()} <= before
    assert len([record for record in await store.get([Key("p", f"{i}") for i in range(64)]) if record]) == 64
    await store.close()


async def test_the_raw_client_is_boto3s(harness: Harness) -> None:
    """What the port does not offer is done with the client itself."""
    store = await harness.started(transport="lean")
    assert store.native(BaseClient).meta.service_model.service_name == "dynamodb"
    await store.close()


async def test_an_address_where_nobody_listens_is_unavailable() -> None:
    """Nothing was sent, so nothing was done."""
    config = DynamodbConfig(**HERE, endpoint_url="http://127.0.0.1:9", transport="lean", max_attempts=2)
    with pytest.raises(Unavailable, match="endpoint_url"):
        await open_entities(config, Environment()).open()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing says who it is or where."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("bare")
async def test_missing_credentials_and_regions_are_named() -> None:
    """As over boto3, though already when the store is opened."""
    where = {"table": "none", "endpoint_url": "http://127.0.0.1:9", "transport": "lean"}
    with pytest.raises(AccessDenied, match="secret_access_key"):
        await open_entities(DynamodbConfig.model_validate({**where, "region": "us-east-1"}), Environment()).open()
    with pytest.raises(AccessDenied, match="profile_name"):
        unknown = DynamodbConfig.model_validate({**where, "region": "us-east-1", "profile_name": "nobody"})
        await open_entities(unknown, Environment()).open()
    with pytest.raises(ConfigError, match="region"):
        await open_entities(DynamodbConfig.model_validate({**HERE, **where, "region": None}), Environment()).open()


async def opened(**settings: object) -> LeanTransport:
    """A transport that has learned its way, and sends nothing."""
    transport = LeanTransport(DynamodbConfig.model_validate({**HERE, **settings}))
    await transport.open()
    await transport.close()
    return transport


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("environment", "host"),
    [
        ({}, "dynamodb.eu-west-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "dynamodb.eu-west-1.api.aws"),
        ({"AWS_USE_FIPS_ENDPOINT": "true", "AWS_REGION": "x"}, "dynamodb-fips.eu-west-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL_DYNAMODB": "http://[::1]:8123/"}, "[::1]:8123"),
    ],
)
async def test_endpoints_are_botocores(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], host: str) -> None:
    """Regions, their variants and what the environment says lead where botocore's rules lead."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    boto = BotoTransport(DynamodbConfig.model_validate({**HERE, "region": "eu-west-1"}))
    await boto.open()
    origin = await boto.run(lambda: origin_of(boto.core(), boto.new_client("dynamodb"), "get_item", {"Key": {}}))
    await boto.close()
    assert (origin.header, origin.region, origin.service) == (host, "eu-west-1", "dynamodb")
    assert origin.target == "DynamoDB_20120810"
    assert (origin.tls is None) is host.startswith("[")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("environment", "settings", "why"),
    [
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, {}, "proxy"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "amazonaws.com"}, {}, None),
        ({}, {"endpoint_url": "http://127.0.0.1:9/path"}, "path"),
        ({"AWS_CA_BUNDLE": "/no/such/file"}, {}, "certificates"),
        ({"AWS_CA_BUNDLE": "/no/such/file"}, {"endpoint_url": "http://127.0.0.1:9"}, None),
    ],
)
async def test_what_is_unusual_is_left_to_boto3(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], settings: dict[str, object], why: str | None
) -> None:
    """Proxies, paths and certificates that cannot be read; the reason is told."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    detour = (await opened(**settings)).detour
    assert detour is None if why is None else why in str(detour)


async def test_a_detour_still_arrives(monkeypatch: pytest.MonkeyPatch, harness: Harness) -> None:
    """With a proxy in the environment that the server is not behind, requests go over boto3 and are answered."""
    monkeypatch.setenv("HTTP_PROXY", str(harness.settings()["endpoint_url"]))
    monkeypatch.setenv("NO_PROXY", "example.org")
    store = await harness.started(transport="lean")
    await store.write([Put(key=Key("p", "a"), kind="k")])
    assert (await store.get([Key("p", "a")]))[0] is not None
    assert "proxy" in str((await store.health()).facts["transport"])
    await store.close()


async def test_a_call_after_closing_fails_at_once(harness: Harness) -> None:
    """And a transport that was closed can be opened again."""
    config = DynamodbConfig.model_validate(harness.settings())
    transport = LeanTransport(config)
    for _ in range(2):
        await transport.open()
        assert (await transport.call("DescribeLimits", {}))["AccountMaxReadCapacityUnits"] > 0
        await transport.close()
        with pytest.raises(Refused, match="Closed"):
            await transport.call("GetItem", {"TableName": config.table, "Key": {}})


async def test_opening_does_not_block_the_event_loop() -> None:
    """Clients, endpoints and certificates are worked out in a thread."""
    longest, last = 0.0, time.perf_counter()
    transport = LeanTransport(DynamodbConfig.model_validate({**HERE, "region": "eu-west-1"}))
    opening = asyncio.create_task(transport.open())
    while not opening.done():
        await asyncio.sleep(0)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert longest < 0.5
    await transport.close()
