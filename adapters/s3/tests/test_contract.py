"""The adapter keeps the contract of the port it serves."""

from __future__ import annotations

from typing import ClassVar

from storycore.testing.blobs import BlobStoreSuite


class TestS3Blobs(BlobStoreSuite):
    """The BlobStore contract on a server that keeps objects in a file system."""

    adapter = "s3"
    options: ClassVar = {"keys": "portable"}
