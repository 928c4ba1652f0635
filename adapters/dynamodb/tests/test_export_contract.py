"""The format ``dynamodb-json`` keeps the promises of every format."""

from __future__ import annotations

from storycore.testing.backup_formats import BackupFormatSuite


class TestDynamodbJson(BackupFormatSuite):
    """The whole suite."""

    format = "dynamodb-json"
