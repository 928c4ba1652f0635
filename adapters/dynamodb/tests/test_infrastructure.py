"""The table for other tools: the same table as CreateTable makes, field by field, and as CloudFormation makes it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._drift import differences
from storycore_dynamodb._table import TTL_ATTRIBUTE, table_definition
from storycore_dynamodb._transport import Answer, Request
from storycore_dynamodb.config import DynamodbConfig, DynamodbEventsConfig
from storycore_dynamodb.entities import DynamodbEntityStore, open_entities
from storycore_dynamodb.infrastructure import infrastructure

from storycore.infrastructure import Declared, document
from storycore.ports.entities import Check, Delete, Key, Patch, Put, QueryPlan, Segment
from storycore.ports.environment import Environment
from storycore.ports.infrastructure import Infrastructure, Purpose
from storycore.ports.lifecycle import PortName, Provision
from storycore.testing.clock import ManualClock

PLAIN = DynamodbConfig(table="items")
FULL = DynamodbConfig(
    table="items",
    region="eu-central-1",
    point_in_time_recovery=True,
    deletion_protection=True,
    kms_key="arn:aws:kms:eu-central-1:111122223333:key/1234",
    tags={"team": "story"},
)
BARE = DynamodbConfig(table="items", stream=False, time_to_live=False)
EVENTS = DynamodbEventsConfig(table="events")
CONFIGS = {"plain": PLAIN, "full": FULL, "bare": BARE, "events": EVENTS}

each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def cloudformation(config: DynamodbConfig) -> Any:
    """The properties of the table in a template."""
    return infrastructure(config).resources[0].cloudformation["Properties"]


def terraform(config: DynamodbConfig) -> Any:
    """The arguments of the table in a configuration."""
    return infrastructure(config).resources[0].terraform["aws_dynamodb_table"]


def keys(schema: list[dict[str, str]]) -> dict[str, str]:
    """Role to attribute."""
    return {each["KeyType"]: each["AttributeName"] for each in schema}


@each_config
def test_cloudformation_declares_the_keys_and_indexes_that_createtable_declares(config: DynamodbConfig) -> None:
    """Word for word, for the two languages agree in them."""
    definition = table_definition(config)
    for name in ("TableName", "BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"):
        assert cloudformation(config).get(name) == definition.get(name)


@each_config
def test_terraform_declares_the_keys_and_indexes_that_createtable_declares(config: DynamodbConfig) -> None:
    """Attribute by attribute and index by index."""
    found, definition = terraform(config), table_definition(config)
    assert (found["name"], found["billing_mode"]) == (definition["TableName"], definition["BillingMode"])
    assert {each["name"]: each["type"] for each in found["attribute"]} == {
        each["AttributeName"]: each["AttributeType"] for each in definition["AttributeDefinitions"]
    }
    assert {"HASH": found["hash_key"], "RANGE": found["range_key"]} == keys(definition["KeySchema"])
    assert {
        each["name"]: ({"HASH": each["hash_key"], "RANGE": each["range_key"]}, each["projection_type"])
        for each in found["global_secondary_index"]
    } == {
        each["IndexName"]: (keys(each["KeySchema"]), each["Projection"]["ProjectionType"])
        for each in definition.get("GlobalSecondaryIndexes", ())
    }


@each_config
def test_every_attribute_that_is_declared_is_a_key(config: DynamodbConfig) -> None:
    """The service refuses a declared attribute that no key uses, and a key that is not declared."""
    definition = table_definition(config)
    schemas = [definition["KeySchema"], *(index["KeySchema"] for index in definition.get("GlobalSecondaryIndexes", ()))]
    assert {each["AttributeName"] for each in definition["AttributeDefinitions"]} == {
        each["AttributeName"] for schema in schemas for each in schema
    }


def test_everything_else_is_declared_in_both_languages() -> None:
    """Stream, time to live, backups, protection, encryption and tags, as the settings ask for them."""
    template, configuration = cloudformation(FULL), terraform(FULL)
    assert template["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert template["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
    assert template["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert template["DeletionProtectionEnabled"] is True
    assert template["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": FULL.kms_key}
    assert template["Tags"] == [{"Key": "team", "Value": "story"}]
    assert (configuration["stream_enabled"], configuration["stream_view_type"]) == (True, "NEW_AND_OLD_IMAGES")
    assert configuration["ttl"] == {"attribute_name": TTL_ATTRIBUTE, "enabled": True}
    assert configuration["point_in_time_recovery"] == {"enabled": True}
    assert configuration["deletion_protection_enabled"] is True
    assert configuration["server_side_encryption"] == {"enabled": True, "kms_key_arn": FULL.kms_key}
    assert configuration["tags"] == {"team": "story"}


def test_what_the_settings_do_not_ask_for_is_not_declared() -> None:
    """No stream and no time to live; no policy for a stream either."""
    absent = {"StreamSpecification", "TimeToLiveSpecification", "PointInTimeRecoverySpecification", "SSESpecification"}
    assert absent & set(cloudformation(BARE)) == set()
    assert {"stream_enabled", "ttl", "server_side_encryption"} & set(terraform(BARE)) == set()
    assert [each for each in infrastructure(BARE).permissions if "/stream/*" in each.suffixes] == []


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        (None, "arn:aws:dynamodb:*:*:table/items"),
        ("eu-central-1", "arn:aws:dynamodb:eu-central-1:*:table/items"),
        ("cn-north-1", "arn:aws-cn:dynamodb:cn-north-1:*:table/items"),
        ("us-gov-west-1", "arn:aws-us-gov:dynamodb:us-gov-west-1:*:table/items"),
    ],
)
def test_the_resource_name_belongs_to_the_region(region: str | None, arn: str) -> None:
    """Also in the partitions that have names of their own."""
    assert infrastructure(DynamodbConfig(table="items", region=region)).resources[0].arn == arn


def allowed(found: Infrastructure, purpose: Purpose) -> set[str]:
    """The operations that a policy allows."""
    return {
        action.removeprefix("dynamodb:")
        for permission in found.permissions
        if permission.purpose is purpose
        for action in permission.actions
    }


def test_an_application_may_not_change_the_table() -> None:
    """Its policy has no action that creates, alters or removes a table, and no wildcard."""
    use = allowed(infrastructure(FULL), Purpose.USE)
    assert [action for action in use if "*" in action or action.endswith(("Table", "Backups", "ToLive"))] == [
        "DescribeTable"
    ]


def created(definition: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What DescribeTable tells of a table that was created so."""
    table = {name: value for name, value in definition.items() if name not in ("BillingMode", "SSESpecification")}
    table["BillingModeSummary"] = {"BillingMode": definition["BillingMode"]}
    if "SSESpecification" in definition:
        table["SSEDescription"] = {"KMSMasterKeyArn": definition["SSESpecification"]["KMSMasterKeyId"]}
    return json.loads(json.dumps({**table, **changes}))


@each_config
def test_a_table_as_it_was_created_does_not_differ(config: DynamodbConfig) -> None:
    """Whatever the settings ask for."""
    definition = table_definition(config)
    assert differences(definition, created(definition)) == []


def other_index(**changes: Any) -> list[dict[str, Any]]:
    """The indexes of the table, the first one changed."""
    first, *others = table_definition(FULL)["GlobalSecondaryIndexes"]
    return [{**first, **changes}, *others]


DRIFTED: Mapping[str, tuple[dict[str, Any], str]] = {
    "billing": ({"BillingModeSummary": {}}, "the table is billed as PROVISIONED, not PAY_PER_REQUEST"),
    "projection": (
        {"GlobalSecondaryIndexes": other_index(Projection={"ProjectionType": "KEYS_ONLY"})},
        "the index slot1 projects KEYS_ONLY, not ALL",
    ),
    "keys": (
        {"GlobalSecondaryIndexes": other_index(KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}])},
        "the index slot1 has the keys pk, not g1pk and g1sk",
    ),
    "extra index": (
        {"GlobalSecondaryIndexes": [*other_index(), {**other_index()[0], "IndexName": "mine"}]},
        "the index mine is not storycore's",
    ),
    "stream": (
        {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}},
        "the stream shows KEYS_ONLY, not NEW_AND_OLD_IMAGES",
    ),
    "protection": ({"DeletionProtectionEnabled": False}, "the table can be deleted by mistake"),
    "encryption": ({"SSEDescription": {}}, "the table is encrypted with a key of DynamoDB, not arn:aws:kms"),
}


@pytest.mark.parametrize(("changes", "said"), DRIFTED.values(), ids=DRIFTED)
def test_each_difference_is_told_in_one_sentence_with_its_cure(changes: dict[str, Any], said: str) -> None:
    """One change, one sentence, and something to do about it."""
    definition = table_definition(FULL)
    [sentence] = differences(definition, created(definition, **changes))
    assert sentence.startswith(said)
    assert "; " in sentence


@pytest.mark.parametrize(
    ("declared", "arn", "same"),
    [
        ("1234", "arn:aws:kms:eu-central-1:111122223333:key/1234", True),
        ("1234", "arn:aws:kms:eu-central-1:111122223333:key/51234", False),
        ("alias/story", "arn:aws:kms:eu-central-1:111122223333:key/1234", True),
        ("alias/story", None, False),
    ],
)
def test_a_key_is_known_by_its_id_its_resource_name_or_its_alias(declared: str, arn: str | None, same: bool) -> None:
    """DescribeTable tells the resource name only."""
    definition = table_definition(DynamodbConfig(table="items", kms_key=declared))
    described = created(definition, SSEDescription={} if arn is None else {"KMSMasterKeyArn": arn})
    assert (differences(definition, described) == []) is same


def client(service: str, server: Mapping[str, object]) -> Any:
    """A client of the local server."""
    return boto3.client(
        service,
        endpoint_url=str(server["endpoint_url"]),
        region_name=str(server["region"]),
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def named(server: Mapping[str, object], **settings: object) -> tuple[DynamodbConfig, Declared]:
    """A table of that name on the local server, and what it declares there."""
    config = DynamodbConfig.model_validate({**server, **settings})
    return config, Declared("aws", {PortName.ENTITIES: infrastructure(config)})


def settled(formation: Any, stack: str) -> str:
    """The status of a stack once it is at rest."""
    for _ in range(200):
        status: str = formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            return status
        time.sleep(0.02)
    raise AssertionError(f"The stack {stack} does not come to rest.")


def described(server: Mapping[str, object], table: str) -> Any:
    """What DescribeTable tells."""
    return client("dynamodb", server).describe_table(TableName=table)["Table"]


def test_a_stack_of_cloudformation_makes_the_table_that_is_declared(server: Mapping[str, object]) -> None:
    """The template is taken as it is, and what it makes does not differ from the definition."""
    config, needed = named(server, table="by-template")
    formation = client("cloudformation", server)
    body = json.dumps(document(needed, "cloudformation"))
    formation.create_stack(StackName="made", TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
    assert settled(formation, "made") == "CREATE_COMPLETE"
    definition, there = table_definition(config), described(server, "by-template")
    assert differences(definition, there) == []
    for name in ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "StreamSpecification"):
        assert there[name] == definition[name]


def test_a_table_that_exists_is_taken_over_by_cloudformation(server: Mapping[str, object]) -> None:
    """The template for an import is one that an import takes, and the table stays when its stack goes."""
    config, needed = named(server, table="taken-over")
    client("dynamodb", server).create_table(**table_definition(config))
    formation = client("cloudformation", server)
    [table] = needed.ports[PortName.ENTITIES].resources
    formation.create_change_set(
        StackName="taken",
        ChangeSetName="import",
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps(document(needed, "cloudformation", existing=True)),
        ResourcesToImport=[
            {
                "ResourceType": table.cloudformation["Type"],
                "LogicalResourceId": "EntitiesTable",
                "ResourceIdentifier": table.identity,
            }
        ],
    )
    formation.execute_change_set(StackName="taken", ChangeSetName="import")
    assert settled(formation, "taken") == "IMPORT_COMPLETE"
    formation.delete_stack(StackName="taken")
    assert described(server, "taken-over")["TableStatus"] == "ACTIVE"


async def provisioned(config: DynamodbConfig, *, dry_run: bool) -> Provision:
    """What the adapter finds to do, or does."""
    return await open_entities(config, Environment()).ensure(dry_run=dry_run)


async def test_a_table_made_by_cloudformation_lacks_nothing_but_the_mark(server: Mapping[str, object]) -> None:
    """Which ``ensure`` adds, and the table can be used. Time to live is off: the emulator's stacks leave it out."""
    config, needed = named(server, table="made-elsewhere", time_to_live=False)
    formation = client("cloudformation", server)
    body = json.dumps(document(needed, "cloudformation"))
    formation.create_stack(StackName="elsewhere", TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
    assert settled(formation, "elsewhere") == "CREATE_COMPLETE"
    found = await provisioned(config, dry_run=True)
    assert ([action for action in found.actions if "layout" not in action], found.differences) == ([], ())
    await provisioned(config, dry_run=False)
    assert await provisioned(config, dry_run=True) == Provision()
    async with open_entities(config, Environment()) as store:
        assert (await store.health()).ok


async def test_time_to_live_on_another_attribute_is_told(server: Mapping[str, object]) -> None:
    """It is on, but removes nothing that has expired."""
    config, _ = named(server, table="other-expiry")
    service = client("dynamodb", server)
    service.create_table(**table_definition(config))
    service.update_time_to_live(
        TableName="other-expiry", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    [sentence] = (await provisioned(config, dry_run=True)).differences
    assert sentence.startswith("time to live looks at 'until', not 'ttl'; ")


async def test_what_somebody_changed_by_hand_is_told_and_left(server: Mapping[str, object]) -> None:
    """An index of one's own and a stream of keys are differences; the index that was removed is something to do."""
    config, _ = named(server, table="changed-by-hand", time_to_live=False)
    await provisioned(config, dry_run=False)
    service = client("dynamodb", server)
    service.update_table(TableName="changed-by-hand", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "slot3"}}])
    service.update_table(
        TableName="changed-by-hand",
        AttributeDefinitions=table_definition(config)["AttributeDefinitions"],
        GlobalSecondaryIndexUpdates=[{"Create": {**other_index()[0], "IndexName": "mine"}}],
    )
    found = await provisioned(config, dry_run=True)
    assert ["slot3" in action for action in found.actions] == [True]
    assert ["mine" in difference for difference in found.differences] == [True]
    done = await provisioned(config, dry_run=False)
    assert done == found
    assert await provisioned(config, dry_run=True) == Provision((), found.differences)


class Recording(BotoTransport):
    """The real way to the service, which remembers what was asked."""

    def __init__(self, config: DynamodbConfig) -> None:
        super().__init__(config)
        self.asked: set[str] = set()

    async def call(self, operation: str, request: Request) -> Answer:
        """Send it, and remember its name."""
        actions = {"TransactWriteItems": _WRITES, "TransactGetItems": {"GetItem"}}.get(operation, {operation})
        self.asked |= actions
        return await super().call(operation, request)


_WRITES = {"ConditionCheckItem", "DeleteItem", "PutItem", "UpdateItem"}


async def test_an_application_needs_no_more_and_no_less_than_its_policy_allows(server: Mapping[str, object]) -> None:
    """Every operation of the port is done once, and what was asked of the service is compared with the policy."""
    config, _ = named(server, table="least-privilege")
    await provisioned(config, dry_run=False)
    transport = Recording(config)
    clock = ManualClock(datetime.now(UTC))
    async with DynamodbEntityStore(config, Environment(clock=clock), transport) as store:
        await every_operation(store, clock)
    assert transport.asked == allowed(infrastructure(config), Purpose.USE)


async def every_operation(store: DynamodbEntityStore, clock: ManualClock) -> None:
    """Read and write in every way, and sweep what has expired."""
    keys = [Key("p", name) for name in "abc"]
    soon = clock.now() + timedelta(seconds=1)
    await store.write([Put(key=key, kind="k", expires_at=soon, index_keys={1: Key("i", "j")}) for key in keys])
    await store.write([Patch(key=keys[0], add={"n": 1})])
    await store.write([Check(key=keys[0]), Delete(key=keys[1])], atomic=True, token="once")
    await store.get(keys[:1])
    await store.get(keys)
    await store.query(QueryPlan(pk="p"))
    await store.query(QueryPlan(pk="i", slot=1))
    await store.scan(Segment())
    await store.changes()
    clock.advance(60)
    assert await store.expire(clock.now()) == 2
    await store.health(deep=True)


async def test_init_needs_no_more_than_its_policy_allows(server: Mapping[str, object]) -> None:
    """Making the table with everything the settings can ask for, and comparing it afterwards."""
    config, _ = named(server, table="made-by-init", point_in_time_recovery=True, tags={"team": "story"})
    transport = Recording(config)
    await DynamodbEntityStore(config, Environment(), transport).ensure()
    client("dynamodb", server).update_table(
        TableName="made-by-init", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "slot8"}}]
    )
    await DynamodbEntityStore(config, Environment(), transport).ensure()
    tagging = {"TagResource"}  # asked by CreateTable with tags, which is no operation of its own
    assert transport.asked | tagging == allowed(infrastructure(config), Purpose.PROVISION)
