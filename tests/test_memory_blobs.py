"""The reference blob store keeps the BlobStore contract."""

from __future__ import annotations

from storycore.testing.blobs import BlobStoreSuite


class TestMemoryBlobs(BlobStoreSuite):
    adapter = "memory"
