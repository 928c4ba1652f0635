"""The local Bedrock that the tests of this folder share, with its knobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from storycore_bedrock.testing import Knobs

from storycore.ports.embeddings import Embedder
from storycore.ports.lifecycle import PortName
from storycore.ports.reranking import Reranker
from storycore.testing.harness import Harness
from storycore.testing.servers import served

QUICK: Mapping[str, Any] = {"retry_base_ms": 1, "max_attempts": 3, "dimension": 256}


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Mapping[str, object]:
    """The settings that lead to the server; the conformance suites use the same one."""
    return served("bedrock", request.config)


@pytest.fixture
def knobs(server: Mapping[str, object]) -> Knobs:
    """The server's knobs, with nothing seen so far."""
    knobs = Knobs(server)
    knobs.seen()
    return knobs


@pytest.fixture
def harness(tmp_path: Path, server: Mapping[str, object]) -> Harness:
    """Makes embedders on the server."""
    return Harness(PortName.EMBEDDER, "bedrock", {}, tmp_path, served=server)


@pytest_asyncio.fixture
async def embedder(harness: Harness) -> AsyncIterator[Embedder]:
    """An open Titan that repeats quickly, three times at most."""
    opened: Embedder = await harness.started(**QUICK)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def reranker(tmp_path: Path, server: Mapping[str, object]) -> AsyncIterator[Reranker]:
    """An open reranker that repeats quickly."""
    harness = Harness(PortName.RERANKER, "bedrock", {}, tmp_path, served=server)
    opened: Reranker = await harness.started(retry_base_ms=1, max_attempts=3)
    yield opened
    await opened.close()
