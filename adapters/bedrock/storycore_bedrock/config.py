"""The settings of the adapter ``bedrock``."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from storycore_bedrock.models import DEFAULT_MODEL, named_model

__all__ = ["BedrockConfig", "BedrockEmbedderConfig", "BedrockRerankerConfig"]


class BedrockConfig(BaseModel):
    """Where the service is and how it is reached.

    Args:
        region: the AWS region; ``None``: what the environment says.
        endpoint_url: another server than AWS, for example ``http://127.0.0.1:8000``.
        profile_name: a profile of the AWS configuration files.
        access_key_id: with ``secret_access_key``, instead of boto3's own search for credentials.
        secret_access_key: belongs to ``access_key_id``.
        session_token: of temporary credentials.
        connections: how many requests may be under way at once; each has a connection and a thread.
        connect_timeout_seconds: how long to wait for a connection.
        read_timeout_seconds: how long to wait for an answer.
        max_attempts: how often a request is sent at most, the first time counted.
        retry_base_ms: the longest pause before the first repetition, in milliseconds; it doubles with each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str | None = None
    endpoint_url: str | None = None
    profile_name: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    connections: int = Field(default=16, ge=1, le=256)
    connect_timeout_seconds: float = Field(default=3.0, gt=0, le=60)
    read_timeout_seconds: float = Field(default=20.0, gt=0, le=300)
    max_attempts: int = Field(default=6, ge=1, le=50)
    retry_base_ms: int = Field(default=200, ge=0, le=60_000)

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together; give both or neither")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to access_key_id and secret_access_key; give all three")
        return self


class BedrockEmbedderConfig(BedrockConfig):
    """Which model embeds.

    Args:
        model: its identifier, or the ARN of a provisioned throughput or inference profile that names it.
        dimension: length of the vectors, where the model leaves a choice; ``None``: the model's longest.
    """

    model: str = DEFAULT_MODEL
    dimension: int | None = None

    @model_validator(mode="after")
    def _dimension_is_one_of_the_model(self) -> Self:
        known = named_model(self.model)
        if self.dimension is not None and self.dimension not in known.dimensions:
            raise ValueError(f"dimension of {known.name} is one of {', '.join(map(str, known.dimensions))}")
        return self


class BedrockRerankerConfig(BedrockConfig):
    """Which model reranks.

    Args:
        model: its identifier or its ARN.
    """

    model: str = Field(default="amazon.rerank-v1:0", min_length=1)
