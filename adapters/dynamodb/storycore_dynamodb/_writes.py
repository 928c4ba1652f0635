"""Writes that stand each for itself: one request each, judged by the server, and never done twice.

When a condition fails the server gives back the item, and the port's own functions say what that means. When an
answer is lost the item is read back: every write leaves an id of its own, so a success is told from a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storycore.errors import Effect, InvalidArgument, StorycoreError
from storycore.ports.conditions import ABSENT, Matches, Version
from storycore.ports.entities import Delete, Key, Patch, Put, Record, Write, Written
from storycore.ports.environment import Environment
from storycore.ports.instants import micros
from storycore.ports.records import demand, patched, put_record, refusal
from storycore_dynamodb._calls import Calls
from storycore_dynamodb._expressions import Expression, condition_of, difference, pinned
from storycore_dynamodb._patches import is_simple, update_of
from storycore_dynamodb._transport import Answer, Refused
from storycore_dynamodb._versions import Versions
from storycore_dynamodb._wire import Item, item_of, key_values, number_of, record_of

__all__ = ["MOST_RACES", "Writer", "change_request", "judged", "live_version", "version_of"]

MOST_RACES = 100
"""How often a write is tried again because another one came first."""

_MOST_CHANGES = 60
"""Attributes that one update changes; beyond it the whole item is written (DynamoDB: 4 KB an expression)."""

_LARGE_BYTES = 300 * 1024
"""Beyond it the whole item is written: the parts of an update count against the item's limit of 400 KiB too."""

_MOST_DOUBTS = 5
"""How often a write is sent again whose answer was lost."""

_ON_FAILURE = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


@dataclass(frozen=True, slots=True)
class _Step:
    """One request for a write.

    Args:
        operation: the service's name.
        request: its JSON object.
        now: at which present the condition is judged, in microseconds.
        version: an item with a lower one was there before this request was sent; 0: that cannot be told. Of a put it
            is the version that will be stored.
    """

    operation: str
    request: Mapping[str, Any]
    now: int
    version: Version


class Writer:
    """Applies single writes.

    Args:
        calls: the way to the table.
        versions: of this store.
        env: the clock, and ids.
    """

    def __init__(self, calls: Calls, versions: Versions, env: Environment) -> None:
        self._calls = calls
        self._versions = versions
        self._env = env

    async def apply(self, write: Write) -> Written:
        """Apply one write.

        Raises:
            StorycoreError: the write's condition failed, or the service did; the effect says what is known.
        """
        write_id = self._env.new_id()
        stored: Item | None = None
        if isinstance(write, Patch) and not is_simple(write):
            stored = await self._read(write.key)
            self._require(write, stored)
        for races in range(1, MOST_RACES + 1):
            step = self._step(write, write_id, stored)
            try:
                return self._done(write, step, await self._calls.send(step.operation, step.request))
            except Refused as exc:
                stored = exc.answer.get("Item")
                self._require(write, stored, cause=exc)
                if isinstance(write, Delete):
                    return Written(key=write.key, version=None)
            except StorycoreError as exc:
                if exc.effect is not Effect.UNKNOWN:
                    raise
                return await self._settle(write, write_id, step, exc)
            if races > 1:
                await self._calls.pause(min(races - 1, 4))
        raise self._calls.raced(f"the write of the record ({write.key.pk!r}, {write.key.sk!r})")

    async def _settle(self, write: Write, write_id: str, step: _Step, doubt: StorycoreError) -> Written:
        """Find out whether a write was done whose answer was lost; where it was not, do it.

        From here on each request demands that the item is still as it was read back, so it cannot undo what another
        has written since.
        """
        for attempt in range(1, _MOST_DOUBTS + 1):
            found = await self._read_back(write.key, doubt)
            if _shows(found, write, write_id):
                return self._found(write, found)
            if not self._may_repeat(write, step, found):
                break
            await self._calls.pause(attempt)
            step = self._step(write, write_id, found, is_pinned=True)
            try:
                return self._done(write, step, await self._calls.send(step.operation, step.request))
            except Refused as exc:
                if _shows(exc.answer.get("Item"), write, write_id):
                    return self._found(write, exc.answer.get("Item"))
                break
            except StorycoreError as exc:
                if exc.effect is not Effect.UNKNOWN:
                    break
        raise doubt

    def _step(self, write: Write, write_id: str, stored: Item | None, *, is_pinned: bool = False) -> _Step:
        now = micros(self._env.clock.now())
        if isinstance(write, Put):
            return self._put(write, write_id, now, stored, is_pinned=is_pinned)
        if isinstance(write, Patch) and stored is not None:
            return self._patch_of(write, write_id, now, stored)
        if isinstance(write, Patch):
            expressions = update_of(write, write_id=write_id, now=now)
            request = {"Key": key_values(write.key), "ReturnValues": "ALL_NEW", **_ON_FAILURE, **expressions}
            return _Step("UpdateItem", request, now, Version(0))
        e = Expression()
        if write.when == ABSENT:  # it removes nothing: what has expired is left to the sweep
            stored, is_pinned = None, True
        condition = pinned(e, stored) if is_pinned else condition_of(e, write.when, now)
        request = {"Key": key_values(write.key), "ReturnValues": "ALL_OLD", **_ON_FAILURE}
        unseen = Version(self._versions.present + 1)
        return _Step("DeleteItem", request | e.request(ConditionExpression=condition), now, unseen)

    def _put(self, put: Put, write_id: str, now: int, stored: Item | None, *, is_pinned: bool) -> _Step:
        below = 0 if stored is None else version_of(stored)
        expected = put.when.version if isinstance(put.when, Matches) else 0
        version = Version(max(self._versions.next(below), expected + 1))  # an expectation alone is no version to keep
        e = Expression()
        condition = pinned(e, stored) if is_pinned else condition_of(e, put.when, now, below=version)
        item = item_of(put_record(put, version), write_id=write_id, written_at=now)
        request = {"Item": item, "ReturnValues": "ALL_OLD", **_ON_FAILURE, **e.request(ConditionExpression=condition)}
        return _Step("PutItem", request, now, version)

    def _patch_of(self, patch: Patch, write_id: str, now: int, stored: Item) -> _Step:
        """A patch worked out here, of the item as it was read."""
        version = Version(version_of(stored) + 1)
        new = item_of(patched(record_of(stored), patch, version), write_id=write_id, written_at=now)
        operation, request = change_request(stored, new)
        if operation == "UpdateItem":
            request["ReturnValues"] = "ALL_NEW"
        return _Step(operation, {**request, **_ON_FAILURE}, now, version)

    def _done(self, write: Write, step: _Step, answer: Answer) -> Written:
        held: Item = answer.get("Attributes") or {}
        if _has_version(held):
            self._versions.saw(version_of(held))
        if isinstance(write, Put):
            self._versions.saw(step.version)
            is_new = live_version(held, step.now) is None
            return Written(key=write.key, version=step.version, created=is_new, record=put_record(write, step.version))
        if isinstance(write, Delete):
            return Written(key=write.key, version=live_version(held, step.now))
        record = record_of(held or step.request["Item"])
        return Written(key=write.key, version=record.version, record=record)

    def _found(self, write: Write, item: Item | None) -> Written:
        """What a write did whose answer was lost; of an unconditional put it stays unknown whether it created."""
        if item is None:
            return Written(key=write.key, version=None)
        record = record_of(item)
        self._versions.saw(record.version)
        created = isinstance(write, Put) and write.when == ABSENT
        return Written(key=write.key, version=record.version, created=created, record=record)

    def _require(self, write: Write, stored: Item | None, *, cause: Exception | None = None) -> None:
        """Raise the error with which the write is refused; nothing where it only lost a race."""
        if stored is not None:
            self._versions.saw(version_of(stored))
        verdict = judged(write, stored, micros(self._env.clock.now()))
        if isinstance(verdict, StorycoreError):
            raise verdict from cause

    def _may_repeat(self, write: Write, step: _Step, found: Item | None) -> bool:
        """Whether the item that was read back shows that a write without an answer was not done.

        Versions of a key grow, so what is older than the write was there before it. Where nothing is, nothing is lost
        by doing what the caller would do.
        """
        if found is not None and not _has_version(found):
            return False
        if found is not None:
            self._versions.saw(version_of(found))
        if isinstance(judged(write, found, micros(self._env.clock.now())), StorycoreError):
            return False
        if isinstance(write.when, Matches):
            return True
        if found is None:
            return isinstance(write, Put)
        return version_of(found) < step.version

    async def _read_back(self, key: Key, doubt: StorycoreError) -> Item | None:
        try:
            return await self._read(key)
        except StorycoreError as exc:
            raise doubt from exc

    async def _read(self, key: Key) -> Item | None:
        answer = await self._calls.send("GetItem", {"Key": key_values(key), "ConsistentRead": True})
        return answer.get("Item")


def judged(write: Write, stored: Item | None, now: int) -> Record | StorycoreError | None:
    """What a write makes of the stored item: the record that it stores, nothing, or the error that refuses it.

    The record of a put or patch still has the version 1 above the stored one, or 1.
    """
    version = None if stored is None else live_version(stored, now)
    error = refusal(write.key, version, demand(write))
    if error is not None:
        return error
    following = Version(1 if stored is None else version_of(stored) + 1)
    if isinstance(write, Put):
        return put_record(write, following)
    if not isinstance(write, Patch) or stored is None:
        return None
    try:
        return patched(record_of(stored), write, following)
    except InvalidArgument as exc:
        return exc


def live_version(item: Item, now: int) -> Version | None:
    """The version of an item that is there and has not expired."""
    if not _has_version(item) or ("_x" in item and number_of(item["_x"]) <= now):
        return None
    return version_of(item)


def version_of(item: Item) -> Version:
    """The version of an item, live or not.

    Raises:
        Corrupt: the item is not one that this adapter writes.
    """
    return Version(number_of(item["_v"])) if _has_version(item) else record_of(item).version


def change_request(old: Item, new: Item) -> tuple[str, dict[str, Any]]:
    """The operation and request that make the new item of the old one, if it is still there."""
    e = Expression()
    condition = pinned(e, old)
    changes = sum(old.get(name) != value for name, value in new.items())
    if changes > _MOST_CHANGES or number_of(new["_s"]) > _LARGE_BYTES:
        return "PutItem", {"Item": new, **e.request(ConditionExpression=condition)}
    expressions = e.request(UpdateExpression=difference(e, old, new), ConditionExpression=condition)
    return "UpdateItem", {"Key": {"pk": old["pk"], "sk": old["sk"]}, **expressions}


def _has_version(item: Item) -> bool:
    return "N" in item.get("_v", {})


def _shows(item: Item | None, write: Write, write_id: str) -> bool:
    """Whether what is stored shows that a write was done; that nothing is there is all that a plain delete wants."""
    if item is None:
        return write == Delete(key=write.key)
    return bool(item.get("_w", {}).get("S") == write_id)
