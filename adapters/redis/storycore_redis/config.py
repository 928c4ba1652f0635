"""The settings of the cache on Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

__all__ = ["RedisConfig"]


class RedisConfig(BaseModel):
    """Settings of the cache on Redis.

    Args:
        host: of the server, or of any node of a cluster.
        port: of the server.
        db: the database's number; a cluster has only 0.
        username: as which to log in; ``None``: the default user.
        password: of the user; ``None``: no login.
        unix_socket: the path of a socket to use instead of host and port.
        tls: whether the connection is encrypted.
        tls_ca_file: certificates of the authorities to trust instead of the system's.
        tls_cert_file: our certificate, where the server asks for one.
        tls_key_file: its key, when it is in a file of its own.
        tls_check_hostname: whether the server's certificate must name ``host``.
        namespace: begins the names of all keys; two caches with different ones never meet.
        deadline_ms: how long a command may take; 0: as long as the connection lives.
        connect_timeout_ms: how long connecting and logging in may take.
        stall_timeout_ms: after so long without an answer the connection counts as lost; while somebody listens, it is
            also probed as often.
        max_in_flight: how many commands may wait for their answers; one more is refused as ``Throttled``.
        awake_us: for how many microseconds at most the event loop stays awake for an answer instead of going to
            sleep; only while answers usually come so soon. 0: never.
        grace_seconds: how much longer than its ttl the server keeps a value. Expiry follows storycore's clock; this
            is how far the server's may be ahead of it.
        sentinels: ``host:port`` of each sentinel that is asked for the primary, instead of host and port.
        sentinel_service: under which name the sentinels know it.
        sentinel_username: as ``username``, for the sentinels.
        sentinel_password: as ``password``, for the sentinels.
        cluster: whether the server is a Redis Cluster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="localhost", min_length=1)
    port: int = Field(default=6379, ge=1, le=65535)
    db: int = Field(default=0, ge=0)
    username: str | None = None
    password: SecretStr | None = None
    unix_socket: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_check_hostname: bool = True
    namespace: str = Field(default="storycore", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    deadline_ms: int = Field(default=50, ge=0, le=60_000)
    connect_timeout_ms: int = Field(default=1000, ge=1, le=60_000)
    stall_timeout_ms: int = Field(default=2000, ge=10, le=60_000)
    max_in_flight: int = Field(default=10_000, ge=1)
    awake_us: int = Field(default=150, ge=0, le=1000)
    grace_seconds: int = Field(default=60, ge=0, le=86_400)
    sentinels: tuple[str, ...] = ()
    sentinel_service: str = ""
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    cluster: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if bool(self.sentinels) != bool(self.sentinel_service):
            raise ValueError("sentinels and sentinel_service are given together")
        if self.cluster and (self.db or self.unix_socket or self.sentinels):
            raise ValueError("a cluster has no db but 0, no unix_socket and no sentinels")
        if self.sentinels and self.unix_socket:
            raise ValueError("sentinels name a host and port; unix_socket is given instead of them")
        return self

    @property
    def place(self) -> str:
        """Where the server is, for people."""
        if self.sentinels:
            return f"redis service {self.sentinel_service!r} of {', '.join(self.sentinels)}, db {self.db}"
        if self.unix_socket:
            return f"redis at {self.unix_socket}, db {self.db}"
        return f"redis{' cluster' if self.cluster else ''} at {self.host}:{self.port}, db {self.db}"
