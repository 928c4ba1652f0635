"""Plain files keep the BlobStore contract."""

from __future__ import annotations

from storycore.testing.blobs import BlobStoreSuite


class TestFileBlobs(BlobStoreSuite):
    adapter = "files"
