"""Drift: how a table that is there differs from its definition in what ``ensure`` leaves to people."""

from __future__ import annotations

from collections.abc import Iterator

from storycore_dynamodb._table import TTL_ATTRIBUTE, Definition

__all__ = ["differences"]


def differences(definition: Definition, table: Definition, expiry: Definition | None = None) -> list[str]:
    """One sentence for each difference that is not repaired, because it costs money, data or time; with the cure.

    Args:
        definition: the table as it is declared, in the shape of CreateTable.
        table: the table as it is, in the shape of DescribeTable.
        expiry: its time to live, in the shape of DescribeTimeToLive; ``None``: none is declared, or nobody asked.
    """
    looks = (_billing, _indexes, _stream, _rest)
    return [sentence for look in looks for sentence in look(definition, table)] + list(_expiry(expiry or {}))


def _billing(definition: Definition, table: Definition) -> Iterator[str]:
    # DescribeTable leaves the summary out for a table that has always been provisioned
    mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if mode != definition["BillingMode"]:
        yield (
            f"the table is billed as {mode}, not {definition['BillingMode']}; "
            "switch it with UpdateTable, which AWS allows a few times a day"
        )


def _indexes(definition: Definition, table: Definition) -> Iterator[str]:
    there = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", ())}
    declared = {index["IndexName"]: index for index in definition.get("GlobalSecondaryIndexes", ())}
    for name, index in declared.items():
        if name in there:
            yield from _index(name, index, there[name])
    for name in there.keys() - declared.keys():
        yield f"the index {name} is not storycore's and costs a write with each item; delete it if nothing reads it"


def _index(name: str, declared: Definition, there: Definition) -> Iterator[str]:
    rebuild = "delete the index, and `storycore init` makes it anew"
    if _keys(declared) != _keys(there):
        yield f"the index {name} has the keys {_keys(there)}, not {_keys(declared)}; {rebuild}"
    projected, wanted = there["Projection"]["ProjectionType"], declared["Projection"]["ProjectionType"]
    if projected != wanted:
        yield f"the index {name} projects {projected}, not {wanted}; {rebuild}"


def _keys(definition: Definition) -> str:
    return " and ".join(each["AttributeName"] for each in definition["KeySchema"])


def _stream(definition: Definition, table: Definition) -> Iterator[str]:
    wanted, there = definition.get("StreamSpecification"), table.get("StreamSpecification")
    if not wanted or not there or not there.get("StreamEnabled"):
        return
    if there.get("StreamViewType") != wanted["StreamViewType"]:
        yield (
            f"the stream shows {there.get('StreamViewType')}, not {wanted['StreamViewType']}; "
            "turn it off, and `storycore init` turns it on as it must be, which begins the change feed anew"
        )


def _expiry(expiry: Definition) -> Iterator[str]:
    attribute = expiry.get("AttributeName", TTL_ATTRIBUTE)
    if expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") and attribute != TTL_ATTRIBUTE:
        yield (
            f"time to live looks at {attribute!r}, not {TTL_ATTRIBUTE!r}; "
            "turn it off with UpdateTimeToLive, and `storycore init` turns it on as it must be"
        )


def _rest(definition: Definition, table: Definition) -> Iterator[str]:
    if definition.get("DeletionProtectionEnabled") and not table.get("DeletionProtectionEnabled"):
        yield "the table can be deleted by mistake; protect it with UpdateTable"
    key = definition.get("SSESpecification", {}).get("KMSMasterKeyId")
    there = table.get("SSEDescription", {}).get("KMSMasterKeyArn")
    if key is not None and not _is_same_key(key, there):
        yield f"the table is encrypted with {there or 'a key of DynamoDB'}, not {key}; change it with UpdateTable"


def _is_same_key(declared: str, arn: str | None) -> bool:
    """Whether an ARN or an id names the key at ``arn``; of an alias nothing is known but that there is a key."""
    if arn is None or "alias/" in declared:
        return arn is not None
    return arn.rpartition("/")[2] == declared.rpartition("/")[2]
