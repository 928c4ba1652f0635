"""The bucket as other tools declare it: from one definition to CloudFormation, Terraform and policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storycore.ports.infrastructure import Infrastructure, Permission, Purpose, Resource
from storycore_s3._provision import PUBLIC_ACCESS
from storycore_s3.config import S3Config

__all__ = ["infrastructure"]

_BUCKET = "Bucket"


def infrastructure(config: S3Config) -> Infrastructure:
    """The bucket of ``config`` and what may be done with it; connects to nothing."""
    bucket = Resource(
        name=_BUCKET,
        identity={"BucketName": config.bucket},
        arn=f"arn:{_partition(config.region)}:s3:::{config.bucket}",
        definition=_definition(config),
        cloudformation={"Type": "AWS::S3::Bucket", "Properties": _cloudformation(config)},
        terraform=_terraform(config),
    )
    return Infrastructure(resources=(bucket,), permissions=_permissions(config))


def _permissions(config: S3Config) -> Sequence[Permission]:
    use, provision = Purpose.USE, Purpose.PROVISION
    inside = (f"/{config.prefix}*",)
    objects = ["AbortMultipartUpload", "DeleteObject", "GetObject", "PutObject"]
    bucket = ["ListBucket"]
    if config.versions:
        objects += ["GetObjectVersion"]
        bucket += ["GetBucketVersioning", "ListBucketVersions"]
    if config.lock:
        objects += ["GetObjectRetention", "PutObjectRetention"]
        bucket += ["GetBucketObjectLockConfiguration"]
    making = [
        *("CreateBucket", "ListBucket", "ListBucketMultipartUploads", "GetBucketVersioning", "PutBucketVersioning"),
        *("GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock", "PutBucketTagging"),
        *("GetBucketObjectLockConfiguration", "PutBucketObjectLockConfiguration"),
    ]
    kept = ["AbortMultipartUpload", "DeleteObject", "GetObject", "PutObject"]
    return [
        Permission(purpose=use, resource=_BUCKET, actions=_actions(sorted(bucket))),
        Permission(purpose=use, resource=_BUCKET, actions=_actions(sorted(objects)), suffixes=inside),
        Permission(purpose=provision, resource=_BUCKET, actions=_actions(sorted(making))),
        Permission(purpose=provision, resource=_BUCKET, actions=_actions(kept), suffixes=inside),
    ]


def _actions(operations: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"s3:{operation}" for operation in operations)


def _definition(config: S3Config) -> dict[str, Any]:
    """The request of CreateBucket."""
    definition: dict[str, Any] = {"Bucket": config.bucket}
    if config.region not in (None, "us-east-1"):
        definition["CreateBucketConfiguration"] = {"LocationConstraint": config.region}
    if config.lock:
        definition["ObjectLockEnabledForBucket"] = True
    return definition


def _cloudformation(config: S3Config) -> dict[str, Any]:
    """The properties of ``AWS::S3::Bucket``."""
    properties: dict[str, Any] = {
        "BucketName": config.bucket,
        "LifecycleConfiguration": {
            "Rules": [
                {
                    "Status": "Enabled",
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": config.abandon_after_days},
                }
            ]
        },
    }
    if config.block_public_access:
        properties["PublicAccessBlockConfiguration"] = dict(PUBLIC_ACCESS)
    if config.versions:
        properties["VersioningConfiguration"] = {"Status": "Enabled"}
    if config.lock:
        properties["ObjectLockEnabled"] = True
    if config.tags:
        properties["Tags"] = [{"Key": key, "Value": value} for key, value in config.tags.items()]
    return properties


def _terraform(config: S3Config) -> dict[str, dict[str, Any]]:
    """The bucket and what belongs to it (hashicorp/aws)."""
    bucket: dict[str, Any] = {"bucket": config.bucket, "tags": dict(config.tags)}
    if config.lock:
        bucket["object_lock_enabled"] = True
    found: dict[str, dict[str, Any]] = {"aws_s3_bucket": bucket}
    if config.versions:
        found["aws_s3_bucket_versioning"] = {
            "bucket": config.bucket,
            "versioning_configuration": {"status": "Enabled"},
        }
    if config.block_public_access:
        found["aws_s3_bucket_public_access_block"] = {
            "bucket": config.bucket,
            "block_public_acls": True,
            "ignore_public_acls": True,
            "block_public_policy": True,
            "restrict_public_buckets": True,
        }
    return found


def _partition(region: str | None) -> str:
    """AWS: Amazon Resource Names: the partitions of China and of GovCloud have names of their own."""
    if region is not None and region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region is not None and region.startswith("us-gov-") else "aws"
