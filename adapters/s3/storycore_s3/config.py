"""The settings of the adapter ``s3``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

__all__ = ["S3Config"]

_MIB = 1024 * 1024


class S3Config(BaseModel):
    """Which bucket, where, how it is reached, how it is encrypted and how it is provisioned.

    Args:
        bucket: the bucket's name.
        prefix: what the names of all objects begin with, for example ``"storycore/"``; at most 512 bytes.
        keys: how keys become names of objects: ``"plain"``: as they are; ``"portable"``: for servers that keep objects
            in a file system, such as MinIO and SeaweedFS, and cannot keep every name. It cannot be changed later.
        region: the AWS region; ``None``: what the environment says.
        endpoint_url: another server than AWS, for example ``http://127.0.0.1:8333``.
        path_style: whether the bucket stands in the path of a URL and not in its host; ``None``: where an
            ``endpoint_url`` is given.
        profile_name: a profile of the AWS configuration files.
        access_key_id: with ``secret_access_key``, instead of boto3's own search for credentials.
        secret_access_key: belongs to ``access_key_id``.
        session_token: of temporary credentials.
        connections: how many requests may be under way at once; each has a thread and a connection.
        connect_timeout_seconds: how long to wait for a connection.
        read_timeout_seconds: how long an answer may be silent.
        max_attempts: how often a request is sent at most, the first time counted.
        retry_base_ms: the longest pause before the first repetition, in milliseconds; it doubles with each.
        part_bytes: content up to this size is sent in one request, and larger content in parts of this size; it grows
            where ten thousand parts would not be enough (S3: multipart upload limits).
        parallel_parts: how many parts of one content may be under way at once; each of them is held in memory.
        encryption: ``"AES256"`` (SSE-S3), ``"aws:kms"`` (SSE-KMS), or ``None``: as the bucket says.
        kms_key: id or ARN of the KMS key for ``"aws:kms"``; ``None``: the account's own for S3.
        customer_key: 32 bytes in Base64 with which the service encrypts without keeping them (SSE-C).
        versions: whether the bucket keeps old revisions; ``ensure()`` turns that on.
        lock: whether blobs can be locked; ``ensure()`` makes the bucket so. Needs ``versions``.
        lock_mode: ``"GOVERNANCE"``: who has the permission may lift a lock; ``"COMPLIANCE"``: nobody may.
        block_public_access: whether ``ensure()`` forbids that the bucket is ever public.
        tags: of a bucket that ``ensure()`` makes.
        abandon_after_days: ``ensure()`` removes what uploads have left that were begun earlier and never finished.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9!_.*'()/=-]*$", max_length=512)
    keys: Literal["plain", "portable"] = "plain"
    region: str | None = None
    endpoint_url: str | None = None
    path_style: bool | None = None
    profile_name: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    connections: int = Field(default=16, ge=1, le=256)
    connect_timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    read_timeout_seconds: float = Field(default=20.0, gt=0, le=300)
    max_attempts: int = Field(default=8, ge=1, le=50)
    retry_base_ms: int = Field(default=50, ge=0, le=10_000)
    part_bytes: int = Field(default=8 * _MIB, ge=5 * _MIB, le=1024 * _MIB)
    parallel_parts: int = Field(default=4, ge=1, le=64)
    encryption: Literal["AES256", "aws:kms"] | None = None
    kms_key: str | None = None
    customer_key: SecretStr | None = None
    versions: bool = False
    lock: bool = False
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    block_public_access: bool = True
    tags: Mapping[str, str] = Field(default_factory=dict)
    abandon_after_days: int = Field(default=7, ge=1, le=365)

    @field_validator("customer_key")
    @classmethod
    def _customer_key_has_32_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(_decoded(value.get_secret_value())) != 32:
            raise ValueError("customer_key must be 32 bytes in Base64")
        return value

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together; give both or neither")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to access_key_id and secret_access_key; give all three")
        if self.kms_key is not None and self.encryption != "aws:kms":
            raise ValueError("kms_key belongs to encryption = 'aws:kms'")
        if self.customer_key is not None and self.encryption is not None:
            raise ValueError("customer_key and encryption exclude each other; give one of them")
        if self.lock and not self.versions:
            raise ValueError("lock needs versions = true (S3: Object Lock works only in versioned buckets)")
        return self


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
