"""The settings of the vector index on Pinecone."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, SecretStr

from storycore.ports.vectors import VectorConfig

__all__ = ["PineconeConfig"]


class PineconeConfig(VectorConfig):
    """Which index, where, how it is reached and how it is provisioned; and what every vector index has.

    Args:
        index: the index's name: 1 to 45 lower-case letters, digits and hyphens.
        api_key: of the project.
        endpoint_url: the control plane; another one for a local server, for example ``http://127.0.0.1:5080``.
        index_url: the index's own address; ``None``: what the control plane says. With it, nothing is asked of the
            control plane but by ``ensure()``.
        cloud: where ``ensure()`` makes the index.
        region: of the cloud.
        deletion_protection: whether the index is made so that it cannot be deleted by mistake.
        tags: of the index, up to 19; ``storycore-embedding`` is the adapter's own.
        timeout_seconds: how long one request may take.
        parallel_requests: how many requests may be under way at once.
        max_attempts: how often a request is sent at most, the first time counted.
        retry_base_ms: the longest pause before the first repetition, in milliseconds; it doubles with each.
        retry_seconds: how long a request and its repetitions may take together.
        trust_types_seconds: for how long the types of fields that are known are taken for true. At 0 each write of
            metadata, and each filter with a negated comparison, asks the index first, which takes a request, and sees
            when another process has forgotten them.
        provision_timeout_seconds: how long ``ensure()`` waits until the index is ready.
    """

    index: str = Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,43}[a-z0-9])?$")
    api_key: SecretStr | None = None
    endpoint_url: str = "https://api.pinecone.io"
    index_url: str | None = None
    cloud: str = "aws"
    region: str = "us-east-1"
    deletion_protection: bool = False
    tags: Mapping[str, str] = Field(default_factory=dict, max_length=19)
    timeout_seconds: float = Field(default=20.0, gt=0, le=600)
    parallel_requests: int = Field(default=8, ge=1, le=64)
    max_attempts: int = Field(default=6, ge=1, le=50)
    retry_base_ms: int = Field(default=100, ge=0, le=10_000)
    retry_seconds: float = Field(default=30.0, gt=0, le=600)
    trust_types_seconds: float = Field(default=0.0, ge=0)
    provision_timeout_seconds: float = Field(default=300.0, gt=0)
