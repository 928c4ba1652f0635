"""The one error family of storycore: what went wrong, whether a retry can help, and whether the effect happened.

Every error names the thing, what was expected and the cure; it never carries a secret or an entity's body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import ClassVar

__all__ = [
    "AccessDenied",
    "AdapterNotFound",
    "AlreadyExists",
    "ConditionFailed",
    "ConfigError",
    "Corrupt",
    "DeadlineExceeded",
    "Effect",
    "FeedGap",
    "InvalidArgument",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidKey",
    "NotFound",
    "NotProvisioned",
    "NotUnique",
    "PartialFailure",
    "PluginError",
    "Retry",
    "SchemaConflict",
    "SchemaMismatch",
    "StaleRead",
    "StorageFull",
    "StorycoreError",
    "Throttled",
    "TooLarge",
    "TransactionConflict",
    "Unavailable",
    "Unsupported",
    "VersionConflict",
]


class Retry(StrEnum):
    """Whether repeating the same call can help."""

    NEVER = "never"
    """The call is wrong or the state forbids it; only a different call can succeed."""
    SAME = "same"
    """At once, after reading the current state again."""
    BACKOFF = "backoff"
    """After a growing pause."""
    AFTER = "after"
    """After the pause that the error names in ``retry_after_seconds``."""


class Effect(StrEnum):
    """What is known about the effect of a failed call."""

    NONE = "none"
    """Nothing was written."""
    APPLIED = "applied"
    """The write happened, although the call failed."""
    UNKNOWN = "unknown"
    """It may have happened: read back before writing again."""


class StorycoreError(Exception):
    """The base of all errors that cross a storycore interface.

    Args:
        message: names the thing, what was expected and the cure, in one or two sentences.
        retry: overrides the class's answer to "can a retry help".
        effect: overrides the class's answer to "did the effect happen".
    """

    code: ClassVar[str] = "error"
    default_retry: ClassVar[Retry] = Retry.NEVER
    default_effect: ClassVar[Effect] = Effect.NONE

    def __init__(self, message: str, *, retry: Retry | None = None, effect: Effect | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry = retry or self.default_retry
        self.effect = effect or self.default_effect

    def as_dict(self) -> dict[str, object]:
        """The error as plain values, for ``--json`` output and logs."""
        return {
            "code": self.code,
            "message": self.message,
            "retry": str(self.retry),
            "effect": str(self.effect),
        }


# What was asked is wrong: raised before any I/O, never helped by a retry.


class InvalidArgument(StorycoreError):
    """An argument is of the wrong type, shape or range, or two arguments contradict each other."""

    code = "invalid_argument"


class InvalidKey(InvalidArgument):
    """A key, id or name is empty, too long, or holds a character that not every adapter can keep."""

    code = "invalid_key"


class InvalidCursor(InvalidArgument):
    """A cursor was altered, belongs to another query, or was made by an unknown version."""

    code = "invalid_cursor"


class InvalidFilter(InvalidArgument):
    """A filter cannot be read or compares what cannot be compared.

    Args:
        path: where in the filter, for example ``"$and[1].year.$gte"``.
    """

    code = "invalid_filter"

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{message} (at {path})" if path else message)
        self.path = path


class TooLarge(InvalidArgument):
    """A value exceeds a limit of the port.

    Args:
        limit: the limit in the unit the message names.
        actual: the measured size in the same unit.
        breakdown: size per field, largest first, where the value has fields.
    """

    code = "too_large"

    def __init__(self, message: str, *, limit: int, actual: int, breakdown: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.actual = actual
        self.breakdown = dict(breakdown or {})


class SchemaConflict(InvalidArgument):
    """A metadata field is written with another type than it has in its namespace; nothing was written.

    Args:
        field: the field's name.
    """

    code = "schema_conflict"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class Unsupported(InvalidArgument):
    """The opened adapter does not have the feature that the call needs; raised before any I/O.

    Args:
        feature: the feature's name as in ``capabilities.features``.
    """

    code = "unsupported"

    def __init__(self, message: str, *, feature: str) -> None:
        super().__init__(message)
        self.feature = feature


# The state of the data forbids it.


class NotFound(StorycoreError):
    """The thing asked for does not exist (or has expired, which is the same)."""

    code = "not_found"


class ConditionFailed(StorycoreError):
    """A write's condition did not hold; nothing was written."""

    code = "condition_failed"
    default_retry = Retry.SAME


class AlreadyExists(ConditionFailed):
    """A write demanded that the key be absent, and a live value is there."""

    code = "already_exists"


class NotUnique(AlreadyExists):
    """Another live instance holds a value that only one may have; the value itself is not told.

    Args:
        kind: of the instances.
        constraint: the name of the ``Unique`` that was declared.
        fields: whose value, or values together, are taken.
    """

    code = "not_unique"
    default_retry = Retry.NEVER

    def __init__(self, message: str, *, kind: str, constraint: str, fields: Sequence[str]) -> None:
        super().__init__(message)
        self.kind = kind
        self.constraint = constraint
        self.fields = tuple(fields)


class VersionConflict(ConditionFailed):
    """A write demanded a version that is not the stored one.

    Args:
        current: the stored version, a number of entities and a text of blobs, or ``None`` when nothing is stored.
    """

    code = "version_conflict"

    def __init__(self, message: str, *, current: int | str | None) -> None:
        super().__init__(message)
        self.current = current


class TransactionConflict(ConditionFailed):
    """An atomic write was refused as a whole.

    Args:
        reasons: the error of each failing action by its position in the call.
    """

    code = "transaction_conflict"

    def __init__(self, message: str, *, reasons: Mapping[int, StorycoreError]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)


class StaleRead(StorycoreError):
    """A read demanded ``at_least=token`` and the store did not catch up in time."""

    code = "stale_read"
    default_retry = Retry.BACKOFF


class FeedGap(StorycoreError):
    """The change feed no longer holds the changes after the given position: start again from a full scan."""

    code = "feed_gap"


# The service cannot do it now, or not for this caller.


class AccessDenied(StorycoreError):
    """The credentials or the file permissions do not allow the call."""

    code = "access_denied"


class Throttled(StorycoreError):
    """The service asks to slow down.

    Args:
        retry_after_seconds: the pause that the service asked for, if it did.
    """

    code = "throttled"
    default_retry = Retry.BACKOFF

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, retry=Retry.AFTER if retry_after_seconds is not None else None)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(StorycoreError):
    """The service or file cannot be reached, is locked, or is closed."""

    code = "unavailable"
    default_retry = Retry.BACKOFF


class StorageFull(StorycoreError):
    """There is no space left for the write; nothing was written."""

    code = "storage_full"


class DeadlineExceeded(StorycoreError):
    """The call did not finish in the time it was given; a write may still have happened."""

    code = "deadline_exceeded"
    default_retry = Retry.BACKOFF
    default_effect = Effect.UNKNOWN


# The stored data is not what it should be.


class Corrupt(StorycoreError):
    """Stored bytes are damaged or are not what this adapter writes."""

    code = "corrupt"


class SchemaMismatch(StorycoreError):
    """The store was made with another layout, model, dimension or metric than the one asked for."""

    code = "schema_mismatch"


class NotProvisioned(StorycoreError):
    """The table, index, bucket or folder does not exist yet: ``storycore init`` or ``ensure()`` makes it."""

    code = "not_provisioned"


# The set-up is wrong.


class ConfigError(StorycoreError):
    """The configuration cannot be used.

    Args:
        path: which setting, for example ``"profile.local.cache.ttl"``.
        suggestion: the nearest valid name, if one is near.
    """

    code = "config_error"

    def __init__(self, message: str, *, path: str = "", suggestion: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.suggestion = suggestion


class AdapterNotFound(ConfigError):
    """No installed plugin provides the adapter.

    Args:
        cure: the command that installs it.
    """

    code = "adapter_not_found"

    def __init__(self, message: str, *, cure: str = "", path: str = "", suggestion: str | None = None) -> None:
        super().__init__(message, path=path, suggestion=suggestion)
        self.cure = cure


class PluginError(ConfigError):
    """An installed plugin could not be loaded or speaks another version of the plugin interface."""

    code = "plugin_error"


# Part of a batch failed.


class PartialFailure(StorycoreError):
    """Some items of a batch failed, each on its own.

    Args:
        outcomes: one entry per item in the order of the call: its result, or its error.
    """

    code = "partial_failure"

    def __init__(self, message: str, *, outcomes: Sequence[object]) -> None:
        super().__init__(message, effect=Effect.APPLIED)
        self.outcomes = tuple(outcomes)

    @property
    def errors(self) -> dict[int, StorycoreError]:
        """The failed items' errors by position."""
        return {i: o for i, o in enumerate(self.outcomes) if isinstance(o, StorycoreError)}
