"""Deletion: who was there, who is locked, and what became of each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from storycore.errors import Effect, PartialFailure, StorycoreError
from storycore_s3._failures import Refused
from storycore_s3._objects import Objects, Seen, require_unlocked

__all__ = ["remove"]

_BATCH: Final = 1000
"""S3: DeleteObjects takes at most 1000 keys."""

_UNSAID: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
"""What XML cannot say, or changes; such a name is deleted by a request of its own."""


async def remove(objects: Objects, keys: Sequence[str]) -> list[bool]:
    """Delete blobs; ``True`` where there was one.

    Raises:
        PartialFailure: some of several could not be deleted.
    """
    distinct = list(dict.fromkeys(keys))
    looked = await asyncio.gather(*(_looked(objects, key) for key in distinct))
    outcomes: dict[str, bool | StorycoreError] = dict(zip(distinct, map(_outcome, looked), strict=True))
    there = [seen for seen in looked if isinstance(seen, Seen) and outcomes[seen.info.key] is True]
    for start in range(0, len(there), _BATCH):
        outcomes |= await _removed(objects, [seen.info.key for seen in there[start : start + _BATCH]])
    if not objects.config.versions:
        gone = [seen.note for seen in there if seen.note is not None and outcomes[seen.info.key] is True]
        await objects.remove_notes(gone)
    return _told(keys, outcomes)


async def _looked(objects: Objects, key: str) -> Seen | StorycoreError | None:
    try:
        seen = await objects.look(key)
        require_unlocked(seen)
        return seen
    except StorycoreError as error:
        return error


def _outcome(looked: Seen | StorycoreError | None) -> bool | StorycoreError:
    return looked if isinstance(looked, StorycoreError) else looked is not None


async def _removed(objects: Objects, keys: list[str]) -> dict[str, bool | StorycoreError]:
    """The outcome of each of up to a thousand."""
    unsaid = [key for key in keys if _UNSAID.search(objects.names.of(key))]
    outcomes = await _removed_together(objects, [key for key in keys if key not in set(unsaid)])
    for key in unsaid:
        outcomes[key] = await _removed_alone(objects, key)
    return outcomes


async def _removed_alone(objects: Objects, key: str) -> bool | StorycoreError:
    try:
        await objects.calls.send("delete_object", about=f"blob {key!r}", Key=objects.names.of(key))
    except StorycoreError as error:
        return error
    return True


async def _removed_together(objects: Objects, keys: list[str]) -> dict[str, bool | StorycoreError]:
    outcomes: dict[str, bool | StorycoreError] = dict.fromkeys(keys, True)
    if not keys:
        return outcomes
    names = {objects.names.of(key): key for key in keys}
    wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
    try:
        answer = await objects.calls.send("delete_objects", Delete=wanted)
    except StorycoreError as error:  # of the batches before it the outcomes are known
        return dict.fromkeys(keys, error)
    for refused in answer.get("Errors", ()):
        key = names[refused["Key"]]
        outcomes[key] = _error(objects, key, refused)
    return outcomes


def _error(objects: Objects, key: str, error: Any) -> StorycoreError:
    refusal = Refused(str(error.get("Code", "")), str(error.get("Message", "")))
    return objects.calls.translated(refusal, f"blob {key!r}", effect=Effect.NONE)


def _told(keys: Sequence[str], outcomes: dict[str, bool | StorycoreError]) -> list[bool]:
    """One answer per key in the order of the call; a key that is named twice was there once."""
    answers: list[bool | StorycoreError] = []
    told: set[str] = set()
    for key in keys:
        outcome = outcomes[key]
        answers.append(outcome if isinstance(outcome, StorycoreError) else outcome and key not in told)
        told.add(key)
    errors = {i: answer for i, answer in enumerate(answers) if isinstance(answer, StorycoreError)}
    if errors and len(keys) == 1:
        raise errors[0]
    if errors:
        places = ", ".join(map(str, errors))
        raise PartialFailure(f"The blobs at the positions {places} could not be deleted.", outcomes=answers)
    return [answer is True for answer in answers]
