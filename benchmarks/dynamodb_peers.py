"""The programs that are measured against each other: each gets, puts and queries the same stories its own way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from storycore_dynamodb._wire import item_of, record_of
from storycore_dynamodb.config import DynamodbConfig
from storycore_dynamodb.entities import open_entities

from storycore.entities.codec import to_put
from storycore.layers.checks import checked
from storycore.ports.conditions import Version
from storycore.ports.entities import EntityStore, Put, QueryPlan, Record
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import STORY, GenerationMetrics, Story, StoryVersion

REGION, ACCESS, SECRET = "us-east-1", "AKIDEXAMPLE", "secretsecretsecret"
TABLE = "peers"
PARTITION = "user#u1"
PAGE = 20
_TEXT = "the James falls thirty metres over rocks in the middle of Richmond where a canal and mills once stood"
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

Call = Callable[[int], Awaitable[object]]


@dataclass
class Side:
    """One program: how it gets and puts story number n, and how it reads the page of all."""

    name: str
    get: Call
    put: Call
    query: Call


Opener = Callable[[str, int, AsyncExitStack], Awaitable[Side]]


def story(n: int) -> Story:
    """A story of 1.6 KB, with what a story has."""
    at = datetime(2026, 11, 1, 12, tzinfo=UTC) + timedelta(seconds=n)
    return Story(
        story_id=f"st{n:08d}",
        user_id="u1",
        session_id=f"session{n:012d}",
        title="The falls of the James",
        content=" ".join([str(n), *[_TEXT] * 8]),
        tags={"river", "richmond", "history", "canal"},
        generation=GenerationMetrics(model="large", seconds=1.25, prompt_tokens=210, completion_tokens=640),
        revision=3,
        versions=[
            StoryVersion(revision=r, title="Falls", content="short", word_count=1, replaced_at=at, note="edit")
            for r in (1, 2)
        ],
        views=n * 7,
        created_at=at,
        updated_at=at,
    )


def plain(n: int) -> dict[str, Any]:
    """The story as an item of plain values, as people store it: every field an attribute."""
    values = {name: value for name, value in story(n).model_dump(mode="json").items() if value is not None}
    return {"pk": PARTITION, "sk": f"story#{n:08d}", **values}


def exact(value: Any) -> Any:
    """Floats as decimals, which boto3 asks for."""
    return json.loads(json.dumps(value), parse_float=Decimal)


def put_of(n: int) -> Put:
    """The story as storycore stores it: what is declared as promoted beside one document, and its index keys."""
    return to_put(STORY, story(n))


async def storycore(url: str, tasks: int, stack: AsyncExitStack) -> Side:
    """The port as an application uses it: the adapter behind its checks, over its own transport."""
    return await _storycore("storycore", {"transport": "lean"}, url, tasks, stack)


async def storycore_boto3(url: str, tasks: int, stack: AsyncExitStack) -> Side:
    """The same over boto3."""
    return await _storycore("over boto3", {"transport": "boto3"}, url, tasks, stack)


async def _storycore(name: str, settings: Mapping[str, object], url: str, tasks: int, stack: AsyncExitStack) -> Side:
    config = DynamodbConfig.model_validate(
        {
            "table": "storycore",
            "endpoint_url": url,
            "region": REGION,
            "access_key_id": ACCESS,
            "secret_access_key": SECRET,
            "connections": min(tasks, 32),
            "stream": False,
            "time_to_live": False,
            **settings,
        }
    )
    store: EntityStore = checked(PortName.ENTITIES, open_entities(config, Environment()))
    await store.ensure()
    await stack.enter_async_context(store)
    puts = [put_of(n) for n in range(PAGE)]

    async def get(n: int) -> object:
        return await store.get([puts[n % PAGE].key])

    async def put(n: int) -> object:
        return await store.write([puts[n % PAGE]])

    async def query(n: int) -> object:
        return await store.query(QueryPlan(pk=puts[0].index_keys[1].pk, slot=1, limit=PAGE))

    return Side(name, get, put, query)


async def boto3(url: str, tasks: int, stack: AsyncExitStack) -> Side:
    """boto3's low-level client in threads, with its own codec."""
    import boto3 as library
    from botocore.config import Config

    client: Any = library.client(
        "dynamodb",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        config=Config(max_pool_connections=tasks),
    )
    _create(client)
    threads = stack.enter_context(ThreadPoolExecutor(tasks, "boto3"))
    stack.callback(client.close)
    items = [exact(plain(n)) for n in range(PAGE)]

    def get(n: int) -> object:
        found = client.get_item(TableName=TABLE, Key=_key(n))["Item"]
        return {name: _deserialize(value) for name, value in found.items()}

    def put(n: int) -> object:
        item = {name: _serialize(value) for name, value in items[n % PAGE].items()}
        return client.put_item(TableName=TABLE, Item=item)

    def query(n: int) -> object:
        found = client.query(**_QUERY)["Items"]
        return [{name: _deserialize(value) for name, value in item.items()} for item in found]

    def threaded(call: Callable[[int], object]) -> Call:
        return lambda n: asyncio.get_running_loop().run_in_executor(threads, call, n)

    return Side("boto3", threaded(get), threaded(put), threaded(query))


async def aiobotocore(url: str, tasks: int, stack: AsyncExitStack) -> Side:
    """aiobotocore with boto3's codec."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    client: Any = await stack.enter_async_context(
        get_session().create_client(
            "dynamodb",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=AioConfig(max_pool_connections=tasks),
        )
    )
    items = [exact(plain(n)) for n in range(PAGE)]

    async def get(n: int) -> object:
        found = (await client.get_item(TableName=TABLE, Key=_key(n)))["Item"]
        return {name: _deserialize(value) for name, value in found.items()}

    async def put(n: int) -> object:
        item = {name: _serialize(value) for name, value in items[n % PAGE].items()}
        return await client.put_item(TableName=TABLE, Item=item)

    async def query(n: int) -> object:
        found = (await client.query(**_QUERY))["Items"]
        return [{name: _deserialize(value) for name, value in item.items()} for item in found]

    return Side("aiobotocore", get, put, query)


async def aiodynamo(url: str, tasks: int, stack: AsyncExitStack) -> Side:
    """aiodynamo over aiohttp."""
    import aiohttp
    from aiodynamo.client import Client
    from aiodynamo.credentials import Key as Credentials
    from aiodynamo.credentials import StaticCredentials
    from aiodynamo.expressions import HashKey, RangeKey
    from aiodynamo.http.aiohttp import AIOHTTP
    from yarl import URL

    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=tasks)))
    credentials = StaticCredentials(Credentials(ACCESS, SECRET))
    table: Any = Client(AIOHTTP(session), credentials, REGION, endpoint=URL(url), numeric_type=Decimal).table(TABLE)
    items = [exact(plain(n)) for n in range(PAGE)]

    async def get(n: int) -> object:
        return await table.get_item({"pk": PARTITION, "sk": items[n % PAGE]["sk"]})

    async def put(n: int) -> object:
        return await table.put_item(items[n % PAGE])

    async def query(n: int) -> object:
        condition = HashKey("pk", PARTITION) & RangeKey("sk").begins_with("story#")
        return (await table.query_single_page(condition, limit=PAGE)).items

    return Side("aiodynamo", get, put, query)


async def pynamodb(url: str, tasks: int, stack: AsyncExitStack) -> Side:
    """PynamoDB in threads."""
    from pynamodb.attributes import ListAttribute, MapAttribute, NumberAttribute, UnicodeAttribute
    from pynamodb.models import Model

    numbers = {name for name, value in plain(0).items() if isinstance(value, int)}
    lists = {name for name, value in plain(0).items() if isinstance(value, list)}
    maps = {name for name, value in plain(0).items() if isinstance(value, dict)}
    attributes: dict[str, Any] = {
        name: NumberAttribute()
        if name in numbers
        else ListAttribute()
        if name in lists
        else MapAttribute()
        if name in maps
        else UnicodeAttribute(hash_key=name == "pk", range_key=name == "sk")
        for name in plain(0)
    }
    meta = {"table_name": TABLE, "region": REGION, "host": url, "max_pool_connections": tasks}
    meta |= {"aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET}
    model: Any = type("Item", (Model,), {"Meta": type("Meta", (), meta), **attributes})
    threads = stack.enter_context(ThreadPoolExecutor(tasks, "pynamodb"))
    items = [plain(n) for n in range(PAGE)]

    def threaded(call: Callable[[int], object]) -> Call:
        return lambda n: asyncio.get_running_loop().run_in_executor(threads, call, n)

    return Side(
        "pynamodb",
        threaded(lambda n: model.get(PARTITION, items[n % PAGE]["sk"])),
        threaded(lambda n: model(**items[n % PAGE]).save()),
        threaded(lambda n: list(model.query(PARTITION, model.sk.startswith("story#"), limit=PAGE))),
    )


async def pydynox(url: str, tasks: int, stack: AsyncExitStack) -> Side:
    """pydynox, whose core is in Rust."""
    from pydynox import DynamoDBClient

    client = DynamoDBClient(region=REGION, access_key=ACCESS, secret_key=SECRET, endpoint_url=url)
    items = [plain(n) for n in range(PAGE)]
    names = {"#p": "pk", "#s": "sk"}
    values = {":p": PARTITION, ":s": "story#"}

    async def query(n: int) -> object:
        found = client.query(
            TABLE,
            "#p = :p AND begins_with(#s, :s)",
            expression_attribute_names=names,
            expression_attribute_values=values,
            limit=PAGE,
            page_size=PAGE,
        )
        return [item async for item in found]

    async def get(n: int) -> object:
        return await client.get_item(TABLE, {"pk": PARTITION, "sk": items[n % PAGE]["sk"]})

    async def put(n: int) -> object:
        return await client.put_item(TABLE, items[n % PAGE])

    return Side("pydynox", get, put, query)


OPENERS: Mapping[str, Opener] = {
    "storycore": storycore,
    "over boto3": storycore_boto3,
    "boto3": boto3,
    "aiobotocore": aiobotocore,
    "aiodynamo": aiodynamo,
    "pynamodb": pynamodb,
    "pydynox": pydynox,
}
"""Program to what opens it for a server and a number of tasks; one that is not installed raises ``ImportError``."""

_QUERY = {
    "TableName": TABLE,
    "KeyConditionExpression": "pk = :p AND begins_with(sk, :s)",
    "ExpressionAttributeValues": {":p": {"S": PARTITION}, ":s": {"S": "story#"}},
    "Limit": PAGE,
}


def _key(n: int) -> dict[str, dict[str, str]]:
    return {"pk": {"S": PARTITION}, "sk": {"S": f"story#{n % PAGE:08d}"}}


def _create(client: Any) -> None:
    """The table of all peers, where it is not there yet."""
    if TABLE in client.list_tables()["TableNames"]:
        return
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    )


def codecs() -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Name, one encoding and one decoding of a story: in storycore's layout, and in boto3's types."""
    given = put_of(7)
    whole = story(7).model_dump_json().encode()
    yield _codec("document alone", replace(_record(given), index_keys={}, fields={}, body=whole))
    yield _codec("as declared", _record(given))
    values = exact(plain(7))
    attributes = {name: _serialize(value) for name, value in values.items()}
    yield (
        "boto3",
        lambda: {name: _serialize(value) for name, value in values.items()},
        lambda: {name: _deserialize(value) for name, value in attributes.items()},
    )


def _record(given: Put) -> Record:
    return Record(
        key=given.key,
        kind=given.kind,
        version=Version(7),
        index_keys=given.index_keys,
        fields=given.fields,
        body=given.body,
    )


def _codec(name: str, record: Record) -> tuple[str, Callable[[], object], Callable[[], object]]:
    item = item_of(record, write_id="w" * 32, written_at=1)
    return name, lambda: item_of(record, write_id="w" * 32, written_at=1), lambda: record_of(item)
