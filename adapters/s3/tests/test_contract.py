"""The adapter keeps the contract of the port it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from storycore_s3._names import Names

from storycore.ports.blobs import BlobStore
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_back_door import BackDoor
from storycore.testing.blob_locks import BlobLocks
from storycore.testing.blob_revisions import BlobRevisions
from storycore.testing.blobs import BlobStoreSuite
from storycore.testing.harness import Harness
from storycore.testing.lifecycle import LifecycleSuite


class Bucket:
    """What another client sees of the bucket."""

    def __init__(self, store: BlobStore, harness: Harness) -> None:
        settings = harness.settings()
        self._client: Any = store.native(object)
        self._bucket = settings["bucket"]
        self._names = Names(str(settings["prefix"]), "portable")

    def content(self, key: str) -> bytes | None:
        try:
            content: bytes = self._client.get_object(**self._place(key))["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        return content

    def damage(self, key: str, change: Callable[[bytes], bytes]) -> None:
        found = self._client.get_object(**self._place(key))
        self._client.put_object(**self._place(key), Body=change(found["Body"].read()), Metadata=found["Metadata"])

    def remove(self, key: str) -> None:
        self._client.delete_object(**self._place(key))

    def _place(self, key: str) -> dict[str, object]:
        return {"Bucket": self._bucket, "Key": self._names.of(key)}


class TestS3Blobs(BlobStoreSuite):
    """The BlobStore contract on a server that keeps objects in a file system."""

    adapter = "s3"

    @staticmethod
    def back_door(store: BlobStore, harness: Harness) -> BackDoor:
        """The bucket, through a client of its own."""
        return Bucket(store, harness)


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
