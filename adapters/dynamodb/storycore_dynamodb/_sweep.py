"""The sweep: a scan that removes what has expired, so that the change feed can tell an expiry from a delete."""

from __future__ import annotations

from typing import Any, Final

from storycore_dynamodb._calls import Calls
from storycore_dynamodb._expressions import Expression
from storycore_dynamodb._transport import Refused
from storycore_dynamodb._wire import Item, is_record, number

__all__ = ["GONE", "Sweeper"]

GONE: Final = "_gone"
"""The attribute that marks an item just before the sweep removes it."""

_PAGE = 1000


class Sweeper:
    """Removes expired items, each only as it was found.

    Args:
        calls: the way to the table.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def sweep(self, at: int, budget: int) -> int:
        """Remove up to ``budget`` records that expired at or before ``at`` (microseconds), and all such tokens."""
        removed = 0
        start: Item | None = None
        while removed < budget:
            answer = await self._calls.send("Scan", self._request(at, start))
            for item in answer.get("Items", ()):
                if not is_record(item):
                    await self._remove_own(item, at)
                elif removed < budget:
                    removed += await self._remove(item, at)
            start = answer.get("LastEvaluatedKey")
            if not start:
                break
        return removed

    def _request(self, at: int, start: Item | None) -> dict[str, Any]:
        e = Expression()
        filter_ = f"{e.name('_x')} <= {e.value(number(at))}"
        shown = ", ".join(e.name(name) for name in ("pk", "sk", "_k", "_v"))
        request = {"Limit": _PAGE, **e.request(FilterExpression=filter_, ProjectionExpression=shown)}
        return request if not start else request | {"ExclusiveStartKey": start}

    async def _remove(self, item: Item, at: int) -> bool:
        """Mark a record and remove it; ``False`` when somebody has written it since."""
        key = {"pk": item["pk"], "sk": item["sk"]}
        try:
            for operation, clause in (("UpdateItem", "SET"), ("DeleteItem", "")):
                e = Expression()
                update = f"SET {e.name(GONE)} = {e.value({'BOOL': True})}" if clause else ""
                same = f"{e.name('_v')} = {e.value(item['_v'])} AND {e.name('_x')} <= {e.value(number(at))}"
                expressions = e.request(UpdateExpression=update, ConditionExpression=same)
                await self._calls.send(operation, {"Key": key, **expressions}, repeatable=True)
        except Refused:
            return False
        return True

    async def _remove_own(self, item: Item, at: int) -> None:
        e = Expression()
        expired = e.request(ConditionExpression=f"{e.name('_x')} <= {e.value(number(at))}")
        try:
            await self._calls.send("DeleteItem", {"Key": {"pk": item["pk"], "sk": item["sk"]}, **expired})
        except Refused:
            return
