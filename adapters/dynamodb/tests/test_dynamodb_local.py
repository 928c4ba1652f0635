"""The adapter keeps the contract on AWS's own DynamoDB Local too, where ``scripts/dynamodb-local`` has started one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

import pytest

from storycore.testing.entities import EntityStoreSuite

_ADDRESS = os.environ.get("STORYCORE_DYNAMODB_LOCAL", "")

if not _ADDRESS:
    pytest.skip("asked for by: scripts/check dynamodb --local", allow_module_level=True)


@pytest.mark.dynamodb_local
class TestDynamodbLocalEntities(EntityStoreSuite):
    """The EntityStore contract on AWS DynamoDB Local."""

    adapter = "dynamodb"
    options: ClassVar[Mapping[str, object]] = {
        "endpoint_url": _ADDRESS,
        "region": "us-east-1",
        "access_key_id": "test",
        "secret_access_key": "test",
    }
    serve = False
    emulator = "dynamodb-local"
    machine_examples = 5
