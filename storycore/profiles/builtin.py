"""The profiles that need no file."""

from __future__ import annotations

from collections.abc import Mapping

from storycore.ports.lifecycle import PortName

__all__ = ["BUILTIN", "DEFAULTS", "DEFAULT_PROFILE"]

DEFAULT_PROFILE = "local"

DEFAULTS: Mapping[str, object] = {"dir": "./storycore-data"}
"""What holds in every profile until something else is said."""

BUILTIN: Mapping[str, Mapping[str, object]] = {
    "memory": {str(port): "memory://" for port in PortName},
    "local": {
        "entities": "sqlite:///{dir}/entities.db",
        "cache": "diskcache:///{dir}/cache",
        "vectors": "faiss:///{dir}/vectors.db",
        "blobs": "files:///{dir}/blobs",
        "events": "sqlite:///{dir}/events.db",
        "embedder": "minilm://",
    },
    "aws": {
        "entities": "dynamodb://storycore",
        "cache": "redis://localhost:6379/0",
        "vectors": "pinecone://storycore",
        "blobs": "s3://storycore",
        "events": "dynamodb://storycore-events",
        "embedder": "bedrock://",
    },
}
