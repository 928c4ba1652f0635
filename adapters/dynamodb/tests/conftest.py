"""The local DynamoDB that all tests of this folder share, and an empty place on it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._scripted import FaultyTransport
from storycore_dynamodb.config import DynamodbConfig
from storycore_dynamodb.entities import DynamodbEntityStore

from storycore.layers.checks import checked
from storycore.ports.entities import EntityStore
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.servers import served


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Mapping[str, object]:
    """The settings that lead to the server; the conformance suite uses the same one."""
    return served("dynamodb", request.config)


@pytest.fixture
def harness(tmp_path: Path, server: Mapping[str, object]) -> Harness:
    """A table's name that nobody else has, and a clock that stands still."""
    return Harness(PortName.ENTITIES, "dynamodb", {}, tmp_path, served=server)


@pytest.fixture
def config(harness: Harness) -> DynamodbConfig:
    """The settings, with short pauses and few attempts."""
    return DynamodbConfig.model_validate(harness.settings(retry_base_ms=1, max_attempts=4))


@pytest.fixture
def transport(config: DynamodbConfig) -> FaultyTransport:
    """The way to the server, without faults so far."""
    return FaultyTransport(BotoTransport(config))


@pytest_asyncio.fixture
async def store(harness: Harness, config: DynamodbConfig, transport: FaultyTransport) -> AsyncIterator[EntityStore]:
    """An open store over the faulty transport."""
    made: EntityStore = checked(PortName.ENTITIES, DynamodbEntityStore(config, harness.env, transport))
    await made.ensure()
    await made.open()
    transport.sent.clear()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def rival(harness: Harness, store: EntityStore) -> AsyncIterator[EntityStore]:
    """Another store on the same table."""
    made: EntityStore = harness.make()
    await made.open()
    yield made
    await made.close()
