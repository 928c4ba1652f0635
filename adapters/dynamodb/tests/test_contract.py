"""The adapter keeps the contract of the port it serves."""

from __future__ import annotations

from storycore.testing.entities import EntityStoreSuite


class TestDynamodbEntities(EntityStoreSuite):
    """The EntityStore contract on a DynamoDB table."""

    adapter = "dynamodb"
