"""The table as data: its keys, its indexes and how it is provisioned, in the shape that CreateTable takes."""

from __future__ import annotations

from typing import Any, TypeAlias

from storycore.ports.entities import INDEX_SLOTS
from storycore_dynamodb.config import DynamodbConfig

__all__ = [
    "LAYOUT",
    "SLOTS",
    "TTL_ATTRIBUTE",
    "Definition",
    "attribute_definitions",
    "index_name",
    "slot_definition",
    "slots_of",
    "stream_definition",
    "table_definition",
]

Definition: TypeAlias = dict[str, Any]
"""A JSON object of the service's own shape."""

LAYOUT = 1
"""The number of the layout of items; the table holds it, and another number is refused."""

SLOTS = range(1, INDEX_SLOTS + 1)

TTL_ATTRIBUTE = "ttl"
"""Epoch seconds, rounded up: after them AWS may remove an item that has long been absent for storycore."""


def slots_of(config: DynamodbConfig) -> range:
    """The numbers of the table's indexes."""
    return range(1, config.slots + 1)


def index_name(slot: int) -> str:
    """The name of a slot's index (DynamoDB: at least 3 characters)."""
    return f"slot{slot}"


def slot_definition(slot: int) -> Definition:
    """One overloaded index with all attributes; sorted by the text of ``index_place``."""
    return {
        "IndexName": index_name(slot),
        "KeySchema": _key_schema(f"g{slot}pk", f"g{slot}sk"),
        "Projection": {"ProjectionType": "ALL"},
    }


def table_definition(config: DynamodbConfig) -> Definition:
    """The whole table: on demand, with its indexes, and what the settings ask for.

    Time to live (on ``TTL_ATTRIBUTE``) and continuous backups are not part of CreateTable; ``ensure()`` turns them on.
    """
    definition: Definition = {
        "TableName": config.table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attribute_definitions(config.slots),
        "KeySchema": _key_schema("pk", "sk"),
    }
    if config.slots:
        definition["GlobalSecondaryIndexes"] = [slot_definition(slot) for slot in slots_of(config)]
    if config.stream:
        definition["StreamSpecification"] = stream_definition()
    if config.deletion_protection:
        definition["DeletionProtectionEnabled"] = True
    if config.kms_key is not None:
        definition["SSESpecification"] = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": config.kms_key}
    if config.tags:
        definition["Tags"] = [{"Key": name, "Value": value} for name, value in config.tags.items()]
    return definition


def attribute_definitions(slots: int) -> list[Definition]:
    """The key attributes of the table and of so many indexes; all are text."""
    names = ["pk", "sk", *(f"g{slot}{part}" for slot in range(1, slots + 1) for part in ("pk", "sk"))]
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


def stream_definition() -> Definition:
    """The stream that the change feed is read from."""
    return {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


def _key_schema(pk: str, sk: str) -> list[Definition]:
    return [{"AttributeName": pk, "KeyType": "HASH"}, {"AttributeName": sk, "KeyType": "RANGE"}]
