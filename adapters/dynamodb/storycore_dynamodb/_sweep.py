"""The sweep: a scan that removes what has expired, so that the change feed can tell an expiry from a delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from storycore.errors import Effect
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
        async for items in self._found(at):
            due = [item for item in items if is_record(item)][: budget - removed]
            removed += sum(await asyncio.gather(*(self._remove(item, at) for item in due)))
            await asyncio.gather(*(self._delete(item, at) for item in items if not is_record(item)))
            if removed >= budget:
                break
        return removed

    async def due(self, at: int, budget: int) -> int:
        """How many records ``sweep`` would remove."""
        count = 0
        async for items in self._found(at):
            count += sum(map(is_record, items))
            if count >= budget:
                break
        return min(count, budget)

    async def _found(self, at: int) -> AsyncIterator[Sequence[Item]]:
        """What has expired, page by page."""
        start: Item | None = None
        while True:
            answer = await self._calls.send("Scan", self._request(at, start))
            yield answer.get("Items", ())
            start = answer.get("LastEvaluatedKey")
            if not start:
                return

    def _request(self, at: int, start: Item | None) -> dict[str, Any]:
        e = Expression()
        filter_ = f"{e.name('_x')} <= {e.value(number(at))}"
        shown = ", ".join(e.name(name) for name in ("pk", "sk", "_k", "_v"))
        request = {"Limit": _PAGE, **e.request(FilterExpression=filter_, ProjectionExpression=shown)}
        return request if not start else request | {"ExclusiveStartKey": start}

    async def _remove(self, item: Item, at: int) -> bool:
        """Mark a record and remove it; ``False`` when somebody has written it since."""
        e = Expression()
        mark = f"SET {e.name(GONE)} = {e.value({'BOOL': True})}"
        request = e.request(UpdateExpression=mark, ConditionExpression=_still(e, item, at))
        try:
            await self._calls.send("UpdateItem", {"Key": _key(item), **request}, repeatable=True)
        except Refused:
            return False
        return await self._delete(item, at)

    async def _delete(self, item: Item, at: int) -> bool:
        e = Expression()
        request = e.request(ConditionExpression=_still(e, item, at))
        try:
            await self._calls.send("DeleteItem", {"Key": _key(item), **request}, repeatable=True)
        except Refused as exc:
            return exc.effect is Effect.UNKNOWN  # an attempt without an answer may have removed it, and it is gone
        return True


def _still(e: Expression, item: Item, at: int) -> str:
    """The item has expired and, if it is a record, is the one that was found."""
    expired = f"{e.name('_x')} <= {e.value(number(at))}"
    return f"{e.name('_v')} = {e.value(item['_v'])} AND {expired}" if "_v" in item else expired


def _key(item: Item) -> dict[str, Any]:
    return {"pk": item["pk"], "sk": item["sk"]}
