"""What ``ensure`` makes, and the same as data for other tools."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from storycore_s3.config import S3Config
from storycore_s3.infrastructure import infrastructure

from storycore.errors import NotProvisioned
from storycore.ports.infrastructure import Purpose
from storycore.testing.harness import Harness


async def test_a_bucket_is_made_as_it_is_wanted(harness: Harness, raw: Any) -> None:
    """With versions, locks and tags; a second time there is nothing to do."""
    bucket = f"made-{harness.name}"
    wanted: dict[str, object] = {"bucket": bucket, "versions": True, "lock": True, "tags": {"team": "story"}}
    store = harness.make(**wanted)
    planned = list((await store.ensure(dry_run=True)).actions)
    assert list((await store.ensure()).actions) == planned
    assert list((await store.ensure()).actions) == []
    assert raw.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert raw.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert raw.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "team", "Value": "story"}]
    await store.open()
    await store.close()


async def test_what_the_settings_ask_for_later_is_turned_on(harness: Harness) -> None:
    """A bucket without versions does not open where they are asked for, until ``ensure`` has been there."""
    bucket = f"later-{harness.name}"
    await harness.make(bucket=bucket).ensure()
    store = harness.make(bucket=bucket, versions=True)
    with pytest.raises(NotProvisioned, match="versions"):
        await store.open()
    assert list((await store.ensure()).actions) == [f"turn on the versions of the bucket {bucket!r}"]
    await store.open()
    await store.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket": "No"},
        {"bucket": "b1x", "access_key_id": "a"},
        {"bucket": "b1x", "session_token": "a"},
        {"bucket": "b1x", "customer_key": "c2hvcnQ="},
        {"bucket": "b1x", "kms_key": "k"},
        {"bucket": "b1x", "lock": True},
        {"bucket": "b1x", "part_bytes": 1024},
        {"bucket": "b1x", "surprise": 1},
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    """Before anything is connected to."""
    with pytest.raises(ValidationError):
        S3Config.model_validate(wrong)


def test_the_bucket_is_declared_for_other_tools() -> None:
    """CloudFormation and Terraform make what ``ensure`` makes; an application's role may make nothing."""
    config = S3Config(bucket="stories", prefix="app/", region="eu-central-1", versions=True, lock=True)
    declared = infrastructure(config)
    (bucket,) = declared.resources
    properties: Any = bucket.cloudformation["Properties"]
    assert bucket.arn == "arn:aws:s3:::stories"
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["ObjectLockEnabled"] is True
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert set(bucket.terraform) == {
        "aws_s3_bucket",
        "aws_s3_bucket_versioning",
        "aws_s3_bucket_public_access_block",
    }
    used = [each for each in declared.permissions if each.purpose is Purpose.USE]
    assert ("/app/*",) in [tuple(each.suffixes) for each in used]
    assert not any("Bucket" in action and action.startswith("s3:Put") for each in used for action in each.actions)
