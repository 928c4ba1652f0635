"""Atomic writes: read, judge, and write everything in one transaction that holds only while nothing has changed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from storycore.errors import Effect, InvalidArgument, StorycoreError
from storycore.ports.entities import Check, Delete, Key, Put, Record, Write, Written
from storycore.ports.environment import Environment
from storycore.ports.instants import micros
from storycore.ports.records import transaction_conflict
from storycore_dynamodb._calls import Calls
from storycore_dynamodb._expressions import Expression, is_expired_or_absent, pinned
from storycore_dynamodb._reads import Reader
from storycore_dynamodb._tokens import TokenState, part_keys, token_items, token_key, token_results
from storycore_dynamodb._transport import Refused
from storycore_dynamodb._versions import Versions
from storycore_dynamodb._wire import Item, item_of, key_values, number_of
from storycore_dynamodb._writes import MOST_RACES, change_request, judged, live_version, version_of

__all__ = ["AtomicWriter"]

_RACED = frozenset({"ConditionalCheckFailed", "TransactionConflict"})
_SLOWED = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded"})

Verdict: TypeAlias = Record | StorycoreError | None
"""What a write makes of a stored item: the record that it stores, its refusal, or nothing."""

_OPERATIONS = {"PutItem": "Put", "UpdateItem": "Update"}


@dataclass(frozen=True, slots=True)
class _Plan:
    """A transaction ready to be sent, and what its writes will then have done."""

    actions: Sequence[Mapping[str, Any]]
    results: list[Written]


class AtomicWriter:
    """Applies several writes at once, or none.

    Args:
        calls: the way to the table.
        reader: reads what the writes are judged by.
        versions: of this store.
        env: the clock, and ids.
    """

    def __init__(self, calls: Calls, reader: Reader, versions: Versions, env: Environment) -> None:
        self._calls = calls
        self._reader = reader
        self._versions = versions
        self._env = env

    async def apply(self, writes: Sequence[Write], token: str | None) -> list[Written]:
        """Apply all writes, or with a token that has been used give its first result.

        Raises:
            TransactionConflict: conditions do not hold.
            InvalidArgument: the token was used with other writes.
            StorycoreError: the service failed; the effect says what is known.
        """
        state = None if token is None else TokenState(token, writes)
        write_id = self._env.new_id()
        for races in range(1, MOST_RACES + 1):
            now = micros(self._env.clock.now())
            stored = await self._reader.items([write.key for write in writes])
            verdicts = _verdicts(writes, stored, now)
            if _refused(verdicts):
                stored = await self._at_one_moment(writes)
                verdicts = _verdicts(writes, stored, now)
            used = None if state is None else await self._used(state, now)
            if used is not None:  # looked up after the records, so whoever used it before they were read is seen
                return used
            plan = self._plan(writes, stored, verdicts, state, write_id, now)
            if await self._send(plan, writes, write_id):
                return plan.results
            await self._calls.pause(min(races, 4))
        raise self._calls.raced("the atomic write")

    async def _at_one_moment(self, writes: Sequence[Write]) -> list[Item | None]:
        """What a refusal rests on; a batch of reads may have seen one half of another transaction.

        Where other transactions stay in the way, or the items are too large for one answer, it is a batch after all.
        """
        keys = [write.key for write in writes]
        for races in range(1, MOST_RACES + 1 if len(keys) > 1 else 1):
            try:
                return await self._reader.snapshot(keys)
            except Refused:
                await self._calls.pause(min(races, 4))
            except InvalidArgument:
                break
        return await self._reader.items(keys)

    async def _used(self, state: TokenState, now: int) -> list[Written] | None:
        """The token's first result; ``None`` when it has not been used, or too long ago."""
        (item,) = await self._reader.items([token_key(state.token)])
        if item is None or number_of(item["_x"]) <= now:
            return None
        state.require_same(item)
        return token_results(state, item, await self._reader.items(part_keys(item)))

    def _plan(
        self,
        writes: Sequence[Write],
        stored: Sequence[Item | None],
        verdicts: Sequence[Verdict],
        state: TokenState | None,
        write_id: str,
        now: int,
    ) -> _Plan:
        for item in stored:
            self._versions.saw(0 if item is None else version_of(item))
        if reasons := _refused(verdicts):
            raise transaction_conflict(reasons)
        records = [
            replace(verdict, version=self._versions.next(verdict.version)) if isinstance(verdict, Record) else None
            for verdict in verdicts
        ]
        actions = [
            self._action(write, item, record, write_id, now)
            for write, item, record in zip(writes, stored, records, strict=True)
        ]
        results = [
            _written(write, item, record, now) for write, item, record in zip(writes, stored, records, strict=True)
        ]
        if state is not None:
            actions += self._token_actions(state, results, write_id, now)
        return _Plan(actions, results)

    def _action(
        self, write: Write, stored: Item | None, record: Record | None, write_id: str, now: int
    ) -> dict[str, Any]:
        e = Expression()
        condition = pinned(e, stored)
        if record is None:
            removes = isinstance(write, Delete) and stored is not None and live_version(stored, now) is not None
            request = {"Key": key_values(write.key), **e.request(ConditionExpression=condition)}
            return self._named("Delete" if removes else "ConditionCheck", request)
        item = item_of(record, write_id=write_id, written_at=now)
        if isinstance(write, Put) or stored is None:
            return self._named("Put", {"Item": item, **e.request(ConditionExpression=condition)})
        operation, request = change_request(stored, item)
        return self._named(_OPERATIONS[operation], request)

    def _token_actions(
        self, state: TokenState, results: Sequence[Written], write_id: str, now: int
    ) -> list[dict[str, Any]]:
        first, *rest = token_items(state, results, write_id=write_id, now=now)
        e = Expression()
        unused = e.request(ConditionExpression=is_expired_or_absent(e, now))
        return [self._named("Put", {"Item": first, **unused}), *(self._named("Put", {"Item": part}) for part in rest)]

    def _named(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return {action: {"TableName": self._calls.table, **request}}

    async def _send(self, plan: _Plan, writes: Sequence[Write], write_id: str) -> bool:
        """Send the transaction; ``False`` when something has changed since it was planned.

        The service does a transaction with the same ``ClientRequestToken`` once, so it may be sent again. That token
        has to differ from those of all other processes, so it does not come from the environment.
        """
        if not plan.actions:
            return True
        request = {"TransactItems": plan.actions, "ClientRequestToken": str(uuid.uuid4())}
        try:
            await self._calls.send("TransactWriteItems", request, repeatable=True)
        except Refused as exc:
            if exc.effect is Effect.UNKNOWN and await self._is_done(plan, write_id, self._doubt(exc)):
                return True
            self._require_only_races(exc)
            return False
        except StorycoreError as exc:
            if exc.effect is Effect.UNKNOWN and await self._is_done(plan, write_id, exc):
                return True
            raise
        return True

    def _require_only_races(self, refused: Refused) -> None:
        reasons = refused.answer.get("CancellationReasons") or ()
        for reason in reasons:
            code = reason.get("Code") or "None"
            if code not in {"None", *_RACED, *_SLOWED}:
                named = Refused(_FULL_NAMES.get(code, code), str(reason.get("Message") or ""))
                raise self._calls.translated(named) from refused
        if not reasons:
            raise self._calls.translated(refused) from refused

    def _doubt(self, refused: Refused) -> StorycoreError:
        error = self._calls.translated(refused)
        error.effect = Effect.UNKNOWN
        return error

    async def _is_done(self, plan: _Plan, write_id: str, doubt: StorycoreError) -> bool:
        """Whether any item, and so the whole transaction, carries this call's write id; what is gone cannot tell.

        Raises:
            StorycoreError: the doubt stays.
        """
        keys = [_key_in(action) for action in plan.actions if "Put" in action or "Update" in action]
        if not keys:
            raise doubt
        try:
            found = await self._reader.items(keys)
        except StorycoreError as exc:
            raise doubt from exc
        return any(item is not None and item.get("_w", {}).get("S") == write_id for item in found)


_FULL_NAMES = {
    "ValidationError": "ValidationException",
    "ItemCollectionSizeLimitExceeded": "ItemCollectionSizeLimitExceededException",
    "AccessDenied": "AccessDeniedException",
}


def _key_in(action: Mapping[str, Any]) -> Key:
    (request,) = action.values()
    held = request.get("Item") or request["Key"]
    return Key(held["pk"]["S"], held["sk"]["S"])


def _verdicts(writes: Sequence[Write], stored: Sequence[Item | None], now: int) -> list[Verdict]:
    return [judged(write, item, now) for write, item in zip(writes, stored, strict=True)]


def _refused(verdicts: Sequence[Verdict]) -> dict[int, StorycoreError]:
    """The errors among the verdicts by their position."""
    return {i: verdict for i, verdict in enumerate(verdicts) if isinstance(verdict, StorycoreError)}


def _written(write: Write, stored: Item | None, record: Record | None, now: int) -> Written:
    version = None if stored is None else live_version(stored, now)
    if isinstance(write, Delete | Check) or record is None:
        return Written(key=write.key, version=version)
    created = isinstance(write, Put) and version is None
    return Written(key=write.key, version=record.version, created=created, record=record)
