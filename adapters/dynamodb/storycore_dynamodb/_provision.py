"""Provisioning: what a table lacks, made one step at a time, and whether a table can be used as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from storycore.errors import InvalidArgument, NotProvisioned, SchemaMismatch, StorycoreError, Throttled, Unavailable
from storycore.ports.entities import Key
from storycore_dynamodb._calls import Calls
from storycore_dynamodb._drift import differences
from storycore_dynamodb._expressions import Expression
from storycore_dynamodb._table import (
    LAYOUT,
    TTL_ATTRIBUTE,
    Definition,
    attribute_definitions,
    index_name,
    slot_definition,
    slots_of,
    stream_definition,
    table_definition,
)
from storycore_dynamodb._transport import Refused
from storycore_dynamodb._wire import RESERVED_PK, Item, key_values, number, number_of
from storycore_dynamodb.config import DynamodbConfig

__all__ = ["LAYOUT_KEY", "Provisioner", "layout_mark"]

LAYOUT_KEY = Key(RESERVED_PK, "layout")

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 5.0

_MOST_RACES = 10
"""How often a step is tried; the service makes one index at a time, and others may be making theirs."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing that is missing: a sentence about making it, and how it is made."""

    sentence: str
    make: Callable[[], Awaitable[object]]


_Look: TypeAlias = Callable[[Definition, bool], Awaitable[Sequence[_Step]]]
"""What is missing from a table, which with ``True`` is only planned."""


class Provisioner:
    """Looks at the table and makes what is missing; what is there and different is left as it is.

    Args:
        calls: the way to the table.
        config: what the table should be.
    """

    def __init__(self, calls: Calls, config: DynamodbConfig) -> None:
        self._calls = calls
        self._config = config
        self._definition = table_definition(config)
        self._looks: Sequence[_Look] = (self._slots, self._stream, self._expiry, self._backups, self._layout)

    async def require_usable(self) -> int:
        """Raise unless the table can be opened; returns the version that was remembered last, or 0.

        Raises:
            NotProvisioned: the table, an index, or the mark of its layout is missing.
            SchemaMismatch: its keys or its layout are others.
            Unavailable: it is being made or removed.
        """
        table, mark = await asyncio.gather(self._described(), self._mark(), return_exceptions=True)
        if isinstance(table, BaseException):
            raise table
        if table is None:
            raise NotProvisioned(f"The table {self._config.table!r} does not exist; run `storycore init` or ensure().")
        self._require_keys(table)
        self._require_serving(table)
        if isinstance(mark, BaseException):
            raise mark
        if mark is not None:
            self._require_layout(mark)
        if missing := self._missing_slots(table):
            raise NotProvisioned(
                f"The table {self._config.table!r} lacks the index {index_name(missing[0])!r}; "
                "run `storycore init` or ensure()."
            )
        return self._require_layout(mark)

    async def remember(self, version: int) -> None:
        """Keep a version that the clock has not come to, so that the next store goes on above it."""
        e = Expression()
        last, value = e.name("last"), e.value(number(version))
        expressions = e.request(
            UpdateExpression=f"SET {last} = {value}",
            ConditionExpression=f"attribute_exists({e.name('layout')}) AND "
            f"(attribute_not_exists({last}) OR {last} < {value})",
        )
        with suppress(Refused):
            await self._calls.send("UpdateItem", {"Key": key_values(LAYOUT_KEY), **expressions}, repeatable=True)

    async def ensure(self, *, dry_run: bool) -> list[str]:
        """Make what is missing, or with ``dry_run`` only say it; one sentence per action."""
        done: list[str] = []
        table = await self._described()
        is_planned = table is None and dry_run
        if table is None:
            indexes = f" with {self._config.slots} indexes" if self._config.slots else ""
            done.append(f"create the table {self._config.table!r}{indexes}")
            table = self._definition if dry_run else await self._created()
        elif not dry_run:
            table = await self._ready(table)
        self._require_keys(table)
        missing = [(look, step) for look in self._looks for step in await look(table, is_planned)]
        for look, step in missing:
            done.append(step.sentence)
            if not dry_run:
                await self._make(step, look)
        return done

    async def _make(self, step: _Step, look: _Look) -> None:
        """Make what is missing, unless another machine, which provisions too, makes it first."""
        for left in reversed(range(_MOST_RACES)):
            try:
                await step.make()
            except (InvalidArgument, Throttled, Unavailable):
                missing = await look(await self._ready(None), False)
                if not any(each.sentence == step.sentence for each in missing):
                    return
                if not left:
                    raise
            else:
                return

    async def differences(self) -> list[str]:
        """How the table differs from its definition in what ``ensure`` leaves as it is, one sentence each."""
        if (table := await self._described()) is None:
            return []
        expiry = await self._calls.send("DescribeTimeToLive", {}) if self._config.time_to_live else {}
        return differences(self._definition, table, expiry.get("TimeToLiveDescription"))

    async def description(self) -> Definition:
        """The table as DescribeTable shows it."""
        answer = await self._calls.send("DescribeTable", {})
        return dict(answer["Table"])

    async def _described(self) -> Definition | None:
        try:
            return await self.description()
        except NotProvisioned:
            return None

    async def _mark(self) -> Item | None:
        answer = await self._calls.send("GetItem", {"Key": key_values(LAYOUT_KEY), "ConsistentRead": True})
        return answer.get("Item")

    async def _created(self) -> Definition:
        try:
            await self._calls.send("CreateTable", self._definition)
        except Unavailable:  # somebody else makes it just now
            if await self._described() is None:
                raise
        return await self._ready(None)

    async def _ready(self, table: Definition | None) -> Definition:
        """The table, once it and all its indexes are active.

        Args:
            table: as it was just now; ``None``: look.

        Raises:
            Unavailable: it took longer than the configured time.
        """
        waited, pause = 0.0, _FIRST_PAUSE_SECONDS
        while True:
            table = await self.description() if table is None else table
            # a stack of ministack's CloudFormation makes indexes without a status
            states = {index.get("IndexStatus", "ACTIVE") for index in table.get("GlobalSecondaryIndexes", ())}
            if table["TableStatus"] == "ACTIVE" and states <= {"ACTIVE"}:
                return table
            if waited >= self._config.provision_timeout_seconds:
                raise Unavailable(
                    f"The table {self._config.table!r} is still being changed after {waited:.0f} seconds; "
                    "call ensure() again later, it goes on where it stopped."
                )
            await asyncio.sleep(pause)
            waited, pause, table = waited + pause, min(2 * pause, _LONGEST_PAUSE_SECONDS), None

    async def _slots(self, table: Definition, is_planned: bool) -> Sequence[_Step]:
        return [
            _Step(
                f"add the index {index_name(slot)!r}, which AWS fills from the items that are there",
                partial(
                    self._update,
                    AttributeDefinitions=attribute_definitions(self._config.slots),
                    GlobalSecondaryIndexUpdates=[{"Create": slot_definition(slot)}],
                ),
            )
            for slot in self._missing_slots(table)
        ]

    async def _stream(self, table: Definition, is_planned: bool) -> Sequence[_Step]:
        if not self._config.stream or (table.get("StreamSpecification") or {}).get("StreamEnabled"):
            return ()
        turn_on = partial(self._update, StreamSpecification=stream_definition())
        return [_Step("turn on the stream, which is the change feed", turn_on)]

    async def _expiry(self, table: Definition, is_planned: bool) -> Sequence[_Step]:
        if not self._config.time_to_live:
            return ()
        if not is_planned:
            answer = await self._calls.send("DescribeTimeToLive", {})
            if answer.get("TimeToLiveDescription", {}).get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
                return ()
        specification = {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}}
        sentence = f"turn on time to live on {TTL_ATTRIBUTE!r}, by which AWS removes what has expired"
        return [_Step(sentence, partial(self._calls.send, "UpdateTimeToLive", specification))]

    async def _backups(self, table: Definition, is_planned: bool) -> Sequence[_Step]:
        if not self._config.point_in_time_recovery:
            return ()
        if not is_planned:
            answer = await self._calls.send("DescribeContinuousBackups", {})
            recovery = answer.get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
            if recovery.get("PointInTimeRecoveryStatus") == "ENABLED":
                return ()
        specification = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
        turn_on = partial(self._calls.send, "UpdateContinuousBackups", specification)
        return [_Step("turn on point-in-time recovery", turn_on)]

    async def _layout(self, table: Definition, is_planned: bool) -> Sequence[_Step]:
        mark = None if is_planned else await self._mark()
        if mark is not None:
            self._require_layout(mark)
            return ()
        return [_Step(f"mark the table with layout {LAYOUT}", self._put_mark)]

    async def _put_mark(self) -> None:
        e = Expression()
        item = layout_mark(self._config.holds)
        condition = e.request(ConditionExpression=f"attribute_not_exists({e.name('pk')})")
        try:
            await self._calls.send("PutItem", {"Item": item, **condition}, repeatable=True)
        except Refused:
            self._require_layout(await self._mark())

    async def _update(self, **changes: Any) -> Mapping[str, Any]:
        """Change the table and wait until it is done; the service does one change at a time."""
        await self._calls.send("UpdateTable", changes)
        return await self._ready(None)

    def _missing_slots(self, table: Definition) -> list[int]:
        there = {index["IndexName"] for index in table.get("GlobalSecondaryIndexes", ())}
        return [slot for slot in slots_of(self._config) if index_name(slot) not in there]

    def _require_keys(self, table: Definition) -> None:
        keys = {each["AttributeName"]: each["KeyType"] for each in table.get("KeySchema", ())}
        types = {each["AttributeName"]: each["AttributeType"] for each in table.get("AttributeDefinitions", ())}
        if keys != {"pk": "HASH", "sk": "RANGE"} or (types.get("pk"), types.get("sk")) != ("S", "S"):
            raise SchemaMismatch(
                f"The table {self._config.table!r} has the keys {', '.join(keys)}; storycore needs the texts "
                "pk and sk: choose another table."
            )

    def _require_serving(self, table: Definition) -> None:
        if table["TableStatus"] in ("CREATING", "DELETING", "ARCHIVED"):
            raise Unavailable(
                f"The table {self._config.table!r} is {table['TableStatus'].lower()}; wait until it is active."
            )

    def _require_layout(self, mark: Item | None) -> int:
        if mark is None:
            raise NotProvisioned(
                f"The table {self._config.table!r} has no mark of its layout; run `storycore init` or ensure()."
            )
        found = _layout_of(mark)
        if found != LAYOUT:
            raise SchemaMismatch(
                f"The table {self._config.table!r} has layout {found}, this version of storycore-dynamodb works with "
                f"layout {LAYOUT}; install the version that made it, or copy the data to a new table."
            )
        holds = mark.get("holds", {}).get("S", DynamodbConfig.holds)
        if holds != self._config.holds:
            raise SchemaMismatch(
                f"The table {self._config.table!r} holds {holds}, not {self._config.holds}; name another table."
            )
        return number_of(mark["last"]) if "last" in mark else 0


def layout_mark(holds: str) -> Item:
    """The item that says what a table holds, and in which layout."""
    return {**key_values(LAYOUT_KEY), "layout": number(LAYOUT), "holds": {"S": holds}}


def _layout_of(mark: Item) -> int | str:
    try:
        return number_of(mark["layout"])
    except (KeyError, TypeError, ValueError, ArithmeticError, StorycoreError):
        return "unknown"
