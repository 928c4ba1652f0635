"""Entities and events of storycore in DynamoDB, each in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.backup_formats import BackupFormat
from storycore.ports.lifecycle import PortName
from storycore_dynamodb.config import DynamodbConfig, DynamodbEventsConfig

__all__ = ["storycore_adapters", "storycore_backup_formats"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for entities and for events."""
    return [
        Adapter(
            name="dynamodb",
            ports={
                PortName.ENTITIES: "storycore_dynamodb.entities:open_entities",
                PortName.EVENTS: "storycore_dynamodb.events:open_events",
            },
            config={PortName.ENTITIES: DynamodbConfig, PortName.EVENTS: DynamodbEventsConfig},
            url_path="table",
            distribution="storycore-dynamodb",
            summary="Entities, and events, each in one DynamoDB table, for any number of machines.",
            conformance={"table": "kit-{name}", "time_to_live": False, "stream_lag_ms": 20},
            server="storycore_dynamodb.testing:server",
            infrastructure="storycore_dynamodb.infrastructure:infrastructure",
        )
    ]


@hookimpl
def storycore_backup_formats() -> Mapping[str, Callable[[], BackupFormat]]:
    """The layout of DynamoDB's export to S3 and import from S3."""
    return {"dynamodb-json": _dynamodb_json}


def _dynamodb_json() -> BackupFormat:
    from storycore_dynamodb.exports import DynamodbJson

    return DynamodbJson()
