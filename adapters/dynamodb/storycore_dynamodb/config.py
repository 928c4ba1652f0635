"""The settings of the adapter ``dynamodb``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DynamodbConfig"]


class DynamodbConfig(BaseModel):
    """Which table, where, and how it is reached.

    Args:
        table: the table's name, 3 to 255 letters, digits, ``_``, ``-`` and ``.``.
        region: the AWS region; ``None``: what the environment says.
        endpoint_url: another server than AWS, for example ``http://127.0.0.1:8000``.
        connections: how many requests may be under way at once; each has a thread and a connection.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")
    region: str | None = None
    endpoint_url: str | None = None
    connections: int = Field(default=32, ge=1, le=256)
