"""The local DynamoDB that all tests of this folder share, and an empty place on it for each test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

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
