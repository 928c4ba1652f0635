"""The table as other tools declare it: from the one definition to CloudFormation, Terraform and policies."""

from __future__ import annotations

from collections.abc import Sequence

from storycore.ports.infrastructure import Infrastructure, Permission, Purpose, Resource
from storycore_dynamodb._table import TTL_ATTRIBUTE, Definition, table_definition
from storycore_dynamodb.config import DynamodbConfig

__all__ = ["infrastructure"]

_TABLE = "Table"

_USE_TABLE = (
    "BatchGetItem",
    "ConditionCheckItem",
    "DeleteItem",
    "DescribeTable",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "UpdateItem",
)
_USE_STREAM = ("DescribeStream", "GetRecords", "GetShardIterator")
_PROVISION = (
    "CreateTable",
    "DescribeContinuousBackups",
    "DescribeTable",
    "DescribeTimeToLive",
    "GetItem",
    "PutItem",
    "TagResource",
    "UpdateContinuousBackups",
    "UpdateTable",
    "UpdateTimeToLive",
)


def infrastructure(config: DynamodbConfig) -> Infrastructure:
    """The table of ``config`` and what may be done with it; connects to nothing."""
    definition = table_definition(config)
    table = Resource(
        name=_TABLE,
        identity={"TableName": config.table},
        arn=f"arn:{_partition(config.region)}:dynamodb:{config.region or '*'}:*:table/{config.table}",
        definition=definition,
        cloudformation={"Type": "AWS::DynamoDB::Table", "Properties": _cloudformation(definition, config)},
        terraform={"aws_dynamodb_table": _terraform(definition, config)},
    )
    return Infrastructure(resources=(table,), permissions=_permissions(config))


def _permissions(config: DynamodbConfig) -> Sequence[Permission]:
    use, provision = Purpose.USE, Purpose.PROVISION
    permissions = [Permission(purpose=use, resource=_TABLE, actions=_actions(_USE_TABLE))]
    if config.slots:
        permissions.append(
            Permission(purpose=use, resource=_TABLE, actions=_actions(("Query",)), suffixes=("/index/*",))
        )
    if config.stream:
        permissions.append(
            Permission(purpose=use, resource=_TABLE, actions=_actions(_USE_STREAM), suffixes=("/stream/*",))
        )
    permissions.append(Permission(purpose=provision, resource=_TABLE, actions=_actions(_PROVISION)))
    return permissions


def _actions(operations: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"dynamodb:{operation}" for operation in operations)


def _cloudformation(definition: Definition, config: DynamodbConfig) -> Definition:
    """The properties of ``AWS::DynamoDB::Table``, which differ from CreateTable in two names and two additions."""
    properties = dict(definition)
    if "StreamSpecification" in properties:
        properties["StreamSpecification"] = {"StreamViewType": definition["StreamSpecification"]["StreamViewType"]}
    if "SSESpecification" in properties:
        encryption = dict(definition["SSESpecification"])
        properties["SSESpecification"] = {"SSEEnabled": encryption.pop("Enabled"), **encryption}
    if config.time_to_live:
        properties["TimeToLiveSpecification"] = {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
    if config.point_in_time_recovery:
        properties["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}
    return properties


def _terraform(definition: Definition, config: DynamodbConfig) -> Definition:
    """The arguments of ``aws_dynamodb_table`` (hashicorp/aws)."""
    found: Definition = {
        "name": definition["TableName"],
        "billing_mode": definition["BillingMode"],
        **_keys(definition),
        "attribute": [
            {"name": each["AttributeName"], "type": each["AttributeType"]}
            for each in definition["AttributeDefinitions"]
        ],
        "global_secondary_index": [_index(each) for each in definition.get("GlobalSecondaryIndexes", ())],
        "point_in_time_recovery": {"enabled": config.point_in_time_recovery},
        "deletion_protection_enabled": config.deletion_protection,
        "tags": dict(config.tags),
    }
    if "StreamSpecification" in definition:
        stream = definition["StreamSpecification"]
        found |= {"stream_enabled": stream["StreamEnabled"], "stream_view_type": stream["StreamViewType"]}
    if "SSESpecification" in definition:
        encryption = definition["SSESpecification"]
        found["server_side_encryption"] = {
            "enabled": encryption["Enabled"],
            "kms_key_arn": encryption["KMSMasterKeyId"],
        }
    if config.time_to_live:
        found["ttl"] = {"attribute_name": TTL_ATTRIBUTE, "enabled": True}
    return found


def _keys(definition: Definition) -> dict[str, str]:
    roles = {each["KeyType"]: each["AttributeName"] for each in definition["KeySchema"]}
    return {"hash_key": roles["HASH"], "range_key": roles["RANGE"]}


def _index(definition: Definition) -> Definition:
    return {
        "name": definition["IndexName"],
        **_keys(definition),
        "projection_type": definition["Projection"]["ProjectionType"],
    }


def _partition(region: str | None) -> str:
    """AWS: Amazon Resource Names: the partitions of China and of GovCloud have names of their own."""
    if region is not None and region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region is not None and region.startswith("us-gov-") else "aws"
