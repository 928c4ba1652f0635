"""What writes mean, as pure functions: for adapters that work them out themselves instead of asking a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from storycore.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PartialFailure,
    StorycoreError,
    TransactionConflict,
    VersionConflict,
)
from storycore.ports.conditions import ABSENT, ANY, PRESENT, Condition, Matches, Version
from storycore.ports.drafts import quick_record
from storycore.ports.entities import KEEP, FieldValue, Key, Patch, Put, Record, Write, Written
from storycore.ports.item_size import require_item_size
from storycore.ports.numbers import added

__all__ = ["demand", "is_live", "patched", "put_record", "refusal", "settled", "transaction_conflict"]


def is_live(record: Record, now: datetime) -> bool:
    """Whether the record is present at ``now``; from its ``expires_at`` on it is not."""
    return record.expires_at is None or record.expires_at > now


def refusal(key: Key, current: Version | None, when: Condition) -> StorycoreError | None:
    """The error with which a write under ``when`` is refused, or ``None`` when it may go on.

    Args:
        key: of the write.
        current: the live record's version; ``None`` where nothing live is stored.
        when: the write's condition.
    """
    if isinstance(when, Matches):
        if current == when.version:
            return None
        found = "nothing" if current is None else f"version {current}"
        return VersionConflict(
            f"The write of the {_name(key)} expects version {when.version}, but {found} is stored; read it again.",
            current=current,
        )
    if when == ABSENT and current is not None:
        return AlreadyExists(f"The {_name(key)} exists already; replace it without ABSENT, or choose another key.")
    if when == PRESENT and current is None:
        return NotFound(f"The {_name(key)} does not exist or has expired; create it first.")
    return None


def demand(write: Write) -> Condition:
    """The condition that a write stands under: its own, but a patch never goes without ``PRESENT``."""
    return PRESENT if isinstance(write, Patch) and write.when == ANY else write.when


def put_record(put: Put, version: Version) -> Record:
    """The record that a put stores."""
    expires_at = _in_utc(put.expires_at)
    return quick_record(put.key, put.kind, version, expires_at, dict(put.index_keys), dict(put.fields), put.body)


def patched(record: Record, patch: Patch, version: Version) -> Record:
    """The record that a patch makes of the stored one.

    Raises:
        InvalidArgument: the patch adds to a field that is not a number, the sum does not fit, or a field whose members
            change is not a set.
        TooLarge: the result is larger than a record may be.
    """
    fields: dict[str, FieldValue] = {name: value for name, value in record.fields.items() if name not in patch.unset}
    fields.update(patch.set)
    for name, members in _regrouped(record, patch).items():
        fields.pop(name, None)
        if members:
            fields[name] = members
    for name, amount in patch.add.items():
        fields[name] = added(fields.get(name), amount, what=f"field {name!r} of the {_name(patch.key)}")
    result = replace(
        record,
        version=version,
        fields=fields,
        body=record.body if patch.body is KEEP else patch.body,
        index_keys=dict(record.index_keys if patch.index_keys is KEEP else patch.index_keys),
        expires_at=record.expires_at if patch.expires_at is KEEP else _in_utc(patch.expires_at),
    )
    require_item_size(result)
    return result


def transaction_conflict(reasons: Mapping[int, StorycoreError]) -> TransactionConflict:
    """The error of an atomic write that was refused, by the failing positions."""
    position, first = next(iter(reasons.items()))
    more = f" ({len(reasons) - 1} more positions failed)" if len(reasons) > 1 else ""
    return TransactionConflict(
        f"The atomic write was refused at position {position}{more}; nothing was written. {first.message}",
        reasons=reasons,
    )


def settled(outcomes: Sequence[Written | StorycoreError]) -> list[Written]:
    """The results of writes that stand each for itself.

    Raises:
        StorycoreError: the only write failed.
        PartialFailure: some of several failed.
    """
    failed = [outcome for outcome in outcomes if isinstance(outcome, StorycoreError)]
    if failed and len(outcomes) == 1:
        raise failed[0]
    if failed:
        raise PartialFailure(
            f"{len(failed)} of {len(outcomes)} writes failed, the others are done. {failed[0].message}",
            outcomes=outcomes,
        )
    return [outcome for outcome in outcomes if isinstance(outcome, Written)]


def _regrouped(record: Record, patch: Patch) -> dict[str, frozenset[str]]:
    """The sets that the patch changes, as they then are."""
    given = {name: _members(record, name) | more for name, more in patch.include.items()}
    return given | {name: _members(record, name) - fewer for name, fewer in patch.exclude.items()}


def _members(record: Record, name: str) -> frozenset[str]:
    held = record.fields.get(name, frozenset())
    if not isinstance(held, frozenset):
        raise InvalidArgument(
            f"The field {name!r} of the {_name(record.key)} holds {type(held).__name__}, not a set; use set instead."
        )
    return held


def _in_utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)


def _name(key: Key) -> str:
    return f"record ({key.pk!r}, {key.sk!r})"
