"""The adapter keeps the contract of the ports it serves."""

from __future__ import annotations

from storycore.testing.entities import EntityStoreSuite
from storycore.testing.events import EventSinkSuite


class TestDynamodbEntities(EntityStoreSuite):
    """The EntityStore contract on a DynamoDB table."""

    adapter = "dynamodb"


class TestDynamodbEvents(EventSinkSuite):
    """The EventSink contract on a DynamoDB table."""

    adapter = "dynamodb"
