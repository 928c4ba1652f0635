"""The adapter keeps the contract of the port it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio

from storycore.ports.blobs import BlobStore
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_locks import BlobLocks
from storycore.testing.blob_revisions import BlobRevisions
from storycore.testing.blobs import BlobStoreSuite
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite


class TestS3Blobs(BlobStoreSuite):
    """The BlobStore contract on a server that keeps objects in a file system."""

    adapter = "s3"


class TestS3BlobsWithVersionsAndLocks(LifecycleSuite, BlobRevisions, BlobLocks):
    """What the contract says of revisions and locks, on a bucket that has both."""

    adapter = "s3"
    options: ClassVar = {"bucket": "storycore-locked", "versions": True, "lock": True}

    @pytest.fixture
    def harness(self, tmp_path: Path, served: Mapping[str, object]) -> Harness:
        """A place of its own."""
        return Harness(PortName.BLOBS, self.adapter, self.options, tmp_path, served=served)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[BlobStore]:
        """The opened adapter."""
        opened = await harness.started()
        yield opened
        await opened.close()

    async def probe(self, store: BlobStore) -> object:
        """Look for a blob."""
        return await store.head("a")
