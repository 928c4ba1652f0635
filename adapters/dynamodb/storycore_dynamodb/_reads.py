"""Reads: single items, many items, one partition in order, and the whole table in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from storycore.ports.entities import Key, Position, QueryPlan, Record, RecordPage, Segment
from storycore.ports.environment import Environment
from storycore.ports.index_order import INDEX_PLACE_BYTES, index_prefix
from storycore.ports.instants import micros
from storycore_dynamodb._calls import Calls
from storycore_dynamodb._expressions import Expression, is_live
from storycore_dynamodb._table import index_name
from storycore_dynamodb._wire import (
    RESERVED_PK,
    Item,
    index_attributes,
    index_sk_of,
    is_record,
    key_of,
    key_values,
    number_of,
    record_of,
)

__all__ = ["Reader", "query_request"]

_KEYS_AT_ONCE = 100
"""Keys in one request (DynamoDB: BatchGetItem)."""

_LAST = "\U0010ffff"


class Reader:
    """Reads from the table.

    Args:
        calls: the way to the table.
        env: the clock, by which records expire.
        eventual: whether reads that do not ask for consistency may lag.
    """

    def __init__(self, calls: Calls, env: Environment, *, eventual: bool) -> None:
        self._calls = calls
        self._env = env
        self._eventual = eventual

    async def get(self, keys: Sequence[Key], *, consistent: bool) -> list[Record | None]:
        """The live records under ``keys``, in their order."""
        items = await self.items(keys, consistent=consistent or not self._eventual)
        now = self._now()
        return [None if item is None or _is_expired(item, now) else record_of(item) for item in items]

    async def items(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Item | None]:
        """The items under ``keys``, expired ones too, in their order."""
        if len(keys) == 1:
            answer = await self._calls.send("GetItem", {"Key": key_values(keys[0]), "ConsistentRead": consistent})
            return [answer.get("Item")]
        wanted = list(dict.fromkeys(keys))
        chunks = [wanted[at : at + _KEYS_AT_ONCE] for at in range(0, len(wanted), _KEYS_AT_ONCE)]
        found: dict[Key, Item] = {}
        for part in await asyncio.gather(*(self._batch(chunk, consistent) for chunk in chunks)):
            found |= part
        return [found.get(key) for key in keys]

    async def snapshot(self, keys: Sequence[Key]) -> list[Item | None]:
        """The items under up to 100 different keys as they were at one moment, expired ones too.

        Raises:
            Refused: a transaction was in the way.
            InvalidArgument: the items are larger than one answer may be (TransactGetItems: 4 MB).
        """
        gets = [{"Get": {"TableName": self._calls.table, "Key": key_values(key)}} for key in keys]
        answer = await self._calls.send("TransactGetItems", {"TransactItems": gets})
        return [response.get("Item") for response in answer["Responses"]]

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order."""
        request = query_request(plan, now=self._now(), eventual=self._eventual)
        if request is None:
            return RecordPage(())
        answer = await self._calls.send("Query", request)
        records = [record_of(item) for item in answer.get("Items", ())]
        within = [record for record in records if _is_within(plan, record)]
        shown = within if plan.bodies else [replace(record, body=b"") for record in within]
        return RecordPage(tuple(shown), _next_place(plan, answer.get("LastEvaluatedKey")))

    def explain(self, plan: QueryPlan) -> dict[str, object]:
        """The request that ``query`` would send; of a range in which nothing can lie, none is sent."""
        request = query_request(plan, now=self._now(), eventual=self._eventual)
        if request is None:
            return {"operation": "none", "detail": "Nothing can lie in the range, so nothing is sent."}
        return {"operation": "Query", "request": self._calls.completed("Query", request)}

    async def scan(self, segment: Segment, *, after: Position | None, limit: int) -> RecordPage:
        """Live records of one segment; it never stops among the adapter's own items, which nobody is shown."""
        start = None if after is None else after.key
        records: list[Record] = []
        while True:
            answer = await self._calls.send("Scan", self._scan_request(segment, start, limit - len(records)))
            records += [record_of(item) for item in answer.get("Items", ()) if is_record(item)]
            last = answer.get("LastEvaluatedKey")
            start = key_of(last) if last else None
            if start is None or start.pk != RESERVED_PK:
                return RecordPage(tuple(records), None if start is None else Position(start))

    def _scan_request(self, segment: Segment, start: Key | None, limit: int) -> dict[str, Any]:
        e = Expression()
        condition = f"attribute_exists({e.name('_k')}) AND {is_live(e, self._now())}"
        request = {
            "Limit": limit,
            "ConsistentRead": not self._eventual,
            **e.request(FilterExpression=condition),
        }
        if segment.of > 1:
            request |= {"Segment": segment.index, "TotalSegments": segment.of}
        return request if start is None else request | {"ExclusiveStartKey": key_values(start)}

    async def _batch(self, keys: Sequence[Key], consistent: bool) -> dict[Key, Item]:
        """Up to 100 different keys; what the service leaves out is asked for again."""
        table = self._calls.table
        found: dict[Key, Item] = {}
        asked: Mapping[str, Any] = {table: {"Keys": [key_values(key) for key in keys], "ConsistentRead": consistent}}
        attempt = 0
        while asked:
            answer = await self._calls.send("BatchGetItem", {"RequestItems": asked})
            items = answer.get("Responses", {}).get(table, ())
            found |= {key_of(item): item for item in items}
            asked = answer.get("UnprocessedKeys") or {}
            attempt = 0 if items else attempt + 1
            if asked and attempt:  # what came with items was cut for its size (BatchGetItem: 16 MB)
                await self._calls.left_over(attempt)
        return found

    def _now(self) -> int:
        return micros(self._env.clock.now())


def query_request(plan: QueryPlan, *, now: int, eventual: bool = False) -> dict[str, Any] | None:
    """The Query of a plan; ``None`` when nothing can lie in its range.

    Args:
        plan: the partition, range and direction.
        now: the present in microseconds.
        eventual: whether a read that does not ask for consistency may lag.
    """
    start = _start(plan)
    if start is _NOTHING or (plan.low is not None and plan.low == plan.high):
        return None
    e = Expression()
    pk, sk = "pk" if plan.slot is None else f"g{plan.slot}pk", _sort_key(plan)
    request: dict[str, Any] = {
        "Limit": plan.limit,
        "ScanIndexForward": not plan.reverse,
        "ConsistentRead": plan.slot is None and (plan.consistent or not eventual),
        **e.request(
            KeyConditionExpression=" AND ".join([f"{e.name(pk)} = {e.value({'S': plan.pk})}", *_range(e, sk, plan)]),
            FilterExpression=is_live(e, now),
        ),
    }
    if plan.slot is not None:
        request["IndexName"] = index_name(plan.slot)
    if start:
        request["ExclusiveStartKey"] = start
    return request


_NOTHING: Mapping[str, Any] = {"nothing": None}


def _start(plan: QueryPlan) -> Mapping[str, Any]:
    """The key to start behind; empty where the range itself begins further on, ``_NOTHING`` where the walk is over.

    The service refuses a start that lies outside the range that it is asked for.
    """
    after = plan.after
    if after is None:
        return {}
    sk = after.key.sk if after.index_key is None else after.index_key.sk
    if plan.reverse and plan.low is not None and sk < plan.low:
        return _NOTHING
    if not plan.reverse and plan.high is not None and sk >= plan.high:
        return _NOTHING
    key = dict(key_values(after.key))
    if plan.slot is not None and after.index_key is not None:
        key |= index_attributes({plan.slot: after.index_key}, after.key)
    place = key[_sort_key(plan)]["S"]
    is_before = plan.low is not None and place < _bound(plan, plan.low, is_low=True)
    is_behind = plan.high is not None and place > _bound(plan, plan.high, is_low=False)
    return {} if is_before or is_behind else key


def _sort_key(plan: QueryPlan) -> str:
    return "sk" if plan.slot is None else f"g{plan.slot}sk"


def _range(e: Expression, sk: str, plan: QueryPlan) -> list[str]:
    """The one condition on sort keys that a Query may have. Its upper end is inclusive, so it may let one too many."""
    low = None if plan.low is None else e.value({"S": _bound(plan, plan.low, is_low=True)})
    high = None if plan.high is None else e.value({"S": _bound(plan, plan.high, is_low=False)})
    if low is not None and high is not None:
        return [f"{e.name(sk)} BETWEEN {low} AND {high}"]
    if low is not None:
        return [f"{e.name(sk)} >= {low}"]
    return [] if high is None else [f"{e.name(sk)} <= {high}"]


def _bound(plan: QueryPlan, sk: str, *, is_low: bool) -> str:
    """A bound as the index sorts it, moved outwards where its escaped form is longer than a sort key may be."""
    if plan.slot is None:
        return sk
    prefix = index_prefix(sk)
    encoded = prefix.encode()
    if len(encoded) <= INDEX_PLACE_BYTES:
        return prefix
    cut = encoded[: INDEX_PLACE_BYTES - len(_LAST.encode())].decode(errors="ignore")
    return cut if is_low else cut + _LAST


def _is_within(plan: QueryPlan, record: Record) -> bool:
    sk = record.key.sk if plan.slot is None else record.index_keys[plan.slot].sk
    return (plan.low is None or sk >= plan.low) and (plan.high is None or sk < plan.high)


def _next_place(plan: QueryPlan, last: Item | None) -> Position | None:
    """Where to go on; ``None`` when the service saw the end, or stopped at the excluded end of the range."""
    if not last:
        return None
    key = key_of(last)
    if plan.slot is None:
        return None if plan.high is not None and not plan.reverse and key.sk >= plan.high else Position(key)
    listed = Key(last[f"g{plan.slot}pk"]["S"], index_sk_of(last[f"g{plan.slot}sk"]["S"]))
    return Position(key, listed)


def _is_expired(item: Item, now: int) -> bool:
    return "_x" in item and number_of(item["_x"]) <= now
