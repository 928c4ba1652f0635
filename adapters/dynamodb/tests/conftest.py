"""The local DynamoDB that all tests of this folder share, an empty place on it for each test, and where it differs."""

from __future__ import annotations

import tomllib
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the tests to fail that show how an emulator differs from DynamoDB, and tell when they no longer do."""
    known = tomllib.loads(Path(__file__).with_name("divergences.toml").read_text(encoding="utf-8"))
    reasons = {(row["emulator"], row["test"]): row["differs"] for row in known.get("divergence", [])}
    for item in items:
        emulator = getattr(getattr(item, "cls", None), "emulator", "ministack")
        for name in {item.name, getattr(item, "originalname", item.name)}:
            if (emulator, name) in reasons and item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.xfail(reason=f"{emulator}: {reasons[emulator, name]}", strict=True))
