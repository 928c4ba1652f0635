"""The reference blob store keeps the BlobStore contract."""

from __future__ import annotations

from typing import ClassVar

from storycore.testing.blobs import BlobStoreSuite


class TestMemoryBlobs(BlobStoreSuite):
    adapter = "memory"


class TestMemoryBlobsWithVersionsAndLocks(BlobStoreSuite):
    adapter = "memory"
    options: ClassVar = {"versions": True, "lock": True}
