"""The settings of the adapter ``dynamodb``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from storycore.ports.entities import INDEX_SLOTS

__all__ = ["DynamodbConfig", "DynamodbEventsConfig"]


class DynamodbConfig(BaseModel):
    """Which table, where, how it is reached and how it is provisioned.

    Args:
        table: the table's name, 3 to 255 letters, digits, ``_``, ``-`` and ``.``.
        region: the AWS region; ``None``: what the environment says.
        endpoint_url: another server than AWS, for example ``http://127.0.0.1:8000``.
        profile_name: a profile of the AWS configuration files.
        access_key_id: with ``secret_access_key``, instead of boto3's own search for credentials.
        secret_access_key: belongs to ``access_key_id``.
        session_token: of temporary credentials.
        transport: how requests of data are sent: ``"boto3"``, or ``"lean"``, which needs a fraction of its CPU time.
        connections: how many requests may be under way at once; each has a connection, and over boto3 a thread.
        connect_timeout_seconds: how long to wait for a connection.
        read_timeout_seconds: how long to wait for an answer.
        max_attempts: how often a request is sent at most, the first time counted.
        retry_base_ms: the longest pause before the first repetition, in milliseconds; it doubles with each.
        eventual_reads: let reads that do not ask for consistency lag by a moment, at half the price.
        sweeps: whether ``expire()`` scans the table for what has expired; without it AWS removes that in its own time.
        time_to_live: whether ``ensure()`` has AWS remove what has expired; turn it off where the store's clock is not
            the machines', as in tests.
        stream: whether ``ensure()`` turns on the stream, which is the change feed.
        stream_lag_ms: how long a change may take to be in the stream; a backup waits so long for its last changes. AWS
            promises no number ("near real time").
        point_in_time_recovery: whether ``ensure()`` turns on continuous backups.
        deletion_protection: whether the table is made so that it cannot be deleted by mistake.
        kms_key: the KMS key that encrypts the table; ``None``: a key of DynamoDB's own.
        tags: of the table.
        provision_timeout_seconds: how long ``ensure()`` waits until the table or an index is ready.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slots: ClassVar[int] = INDEX_SLOTS
    """How many indexes the table has."""
    holds: ClassVar[str] = "entities"
    """What lies in it; the mark of its layout says so."""

    table: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")
    region: str | None = None
    endpoint_url: str | None = None
    profile_name: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    transport: Literal["boto3", "lean"] = "boto3"
    connections: int = Field(default=32, ge=1, le=256)
    connect_timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    read_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    max_attempts: int = Field(default=8, ge=1, le=50)
    retry_base_ms: int = Field(default=25, ge=0, le=10_000)
    eventual_reads: bool = False
    sweeps: bool = True
    time_to_live: bool = True
    stream: bool = True
    stream_lag_ms: int = Field(default=2000, ge=0, le=60_000)
    point_in_time_recovery: bool = False
    deletion_protection: bool = False
    kms_key: str | None = None
    tags: Mapping[str, str] = Field(default_factory=dict)
    provision_timeout_seconds: float = Field(default=600.0, gt=0)

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together; give both or neither")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to access_key_id and secret_access_key; give all three")
        return self


class DynamodbEventsConfig(DynamodbConfig):
    """The same for a table of events: it has no indexes, nothing in it expires, and nobody follows its stream."""

    slots: ClassVar[int] = 0
    holds: ClassVar[str] = "events"

    time_to_live: bool = False
    stream: bool = False
