"""Items that somebody else put into the table: each operation that meets one says so."""

from __future__ import annotations

from decimal import Decimal

import pytest
import pytest_asyncio
from storycore_dynamodb._scripted import FaultyTransport
from storycore_dynamodb.config import DynamodbConfig

from storycore.errors import Corrupt
from storycore.ports.conditions import ABSENT
from storycore.ports.entities import Check, Delete, EntityStore, Key, Patch, Put, Write

HERE = Key("p", "a")
OTHER = Key("p", "b")


@pytest_asyncio.fixture(params=[{}, {"_v": {"S": "newest"}}], ids=["without a version", "with a text as version"])
async def foreign(
    request: pytest.FixtureRequest, store: EntityStore, transport: FaultyTransport, config: DynamodbConfig
) -> None:
    """The item of another program, at a place where a record could be."""
    item = {"pk": {"S": HERE.pk}, "sk": {"S": HERE.sk}, "colour": {"S": "blue"}, **request.param}
    await transport.call("PutItem", {"TableName": config.table, "Item": item})


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    "write",
    [
        Put(key=HERE, kind="k"),
        Put(key=HERE, kind="k", when=ABSENT),
        Patch(key=HERE, set={"n": 1}),
        Patch(key=HERE, add={"n": Decimal("0.5")}),
    ],
)
async def test_a_write_over_a_foreign_item_is_refused(store: EntityStore, write: Write) -> None:
    """Nobody knows what it means, so nothing is written over it."""
    with pytest.raises(Corrupt, match="not one that storycore wrote"):
        await store.write([write])


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("write", [Put(key=HERE, kind="k"), Delete(key=HERE), Check(key=HERE, when=ABSENT)])
async def test_an_atomic_write_over_a_foreign_item_is_refused(store: EntityStore, write: Write) -> None:
    """As a whole: nothing of it is there."""
    with pytest.raises(Corrupt, match="not one that storycore wrote"):
        await store.write([Put(key=OTHER, kind="k"), write], atomic=True)
    assert await store.get([OTHER]) == [None]
