"""The one table from what the SDK raises to storycore's errors, and what each says about repeating."""

from __future__ import annotations

from enum import StrEnum

from httpx import HTTPError, InvalidURL
from pinecone.errors.exceptions import (
    ApiError,
    PayloadTooLargeError,
    PineconeConnectionError,
    PineconeError,
    PineconeTimeoutError,
    PineconeTypeError,
    PineconeValueError,
    RateLimitError,
)

from storycore.errors import (
    AccessDenied,
    DeadlineExceeded,
    Effect,
    InvalidArgument,
    NotProvisioned,
    Retry,
    StorageFull,
    StorycoreError,
    Throttled,
    TooLarge,
    Unavailable,
    Unsupported,
)

__all__ = ["FAILURES", "REQUEST_BYTES", "Treatment", "is_missing_namespace", "translated", "treatment"]

FAILURES = (PineconeError, RuntimeError, HTTPError, InvalidURL)
"""What a call of the SDK raises: the second once its client is closed, the rest are httpx's that it lets through."""

REQUEST_BYTES = 2_000_000
"""Of one request (Pinecone: database limits, 2 MB an upsert)."""

_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "LocalProtocolError"})
"""Failures of httpx after which the service cannot have seen the request."""

_LACKING = frozenset({405, 501})


class Treatment(StrEnum):
    """What may be done after a failed request."""

    FINAL = "final"
    """Nothing: a repetition would fail too."""
    AGAIN = "again"
    """Nothing was done; repeat."""
    DOUBTFUL = "doubtful"
    """It may have been done."""


def is_missing_namespace(failure: Exception) -> bool:
    """Whether the service says that there is no such namespace, which is an empty one."""
    return isinstance(failure, ApiError) and failure.status_code == 404 and "namespace" in failure.message.lower()


def treatment(failure: Exception) -> Treatment:
    """What may be done after the failure."""
    if isinstance(failure, ApiError):
        return _answered(failure.status_code)
    if isinstance(failure, (PineconeTimeoutError, PineconeConnectionError)):
        sent = type(failure.__cause__).__name__ not in _NOT_SENT
        return Treatment.DOUBTFUL if sent else Treatment.AGAIN
    return Treatment.DOUBTFUL if isinstance(failure, HTTPError) else Treatment.FINAL


def translated(failure: Exception, place: str, *, effect: Effect = Effect.NONE) -> StorycoreError:
    """The storycore error for a failed request.

    Args:
        failure: one of ``FAILURES``.
        place: names the index.
        effect: what is known of the request's effect.
    """
    if isinstance(failure, RateLimitError):
        slower = "send less at once, or raise the index's read capacity"
        return Throttled(f"{place} asks to slow down; {slower}.", retry_after_seconds=failure.retry_after)
    if isinstance(failure, PayloadTooLargeError):
        return TooLarge(
            f"{place} refused a request as too large: {failure.message}", limit=REQUEST_BYTES, actual=REQUEST_BYTES + 1
        )
    if isinstance(failure, ApiError):
        return _refused(failure, place, effect)
    if isinstance(failure, PineconeTimeoutError):
        return DeadlineExceeded(f"{place} did not answer in time; try again, or raise timeout_seconds.", effect=effect)
    if isinstance(failure, PineconeConnectionError):
        return Unavailable(
            f"{place} cannot be reached ({failure.message}); check the network and the addresses.", effect=effect
        )
    if isinstance(failure, (PineconeValueError, PineconeTypeError, InvalidURL)):
        return InvalidArgument(f"{place}: {failure}")
    if isinstance(failure, RuntimeError):
        return Unavailable(f"{place} was closed while a request was under way; open it again.", effect=effect)
    return Unavailable(f"{place} gave an answer that cannot be read: {failure}", retry=Retry.NEVER, effect=effect)


def _answered(status: int) -> Treatment:
    if status == 429:
        return Treatment.AGAIN
    if status == 408 or (status >= 500 and status not in _LACKING):
        return Treatment.DOUBTFUL
    return Treatment.FINAL


def _refused(failure: ApiError, place: str, effect: Effect) -> StorycoreError:
    said = f"{place} refused the request ({failure.status_code}): {failure.message}"
    match failure.status_code:
        case 401 | 403:
            return AccessDenied(f"{said}; check the API key and what it may do.")
        case 402:
            return StorageFull(f"{said}; the project's plan allows no more.")
        case 404:
            return NotProvisioned(f"{said}; make the index with `storycore init` or ensure().")
        case 405 | 501:
            return Unsupported(f"{said}; the service lacks the operation.", feature="vectors")
        case 409 | 412:
            return Unavailable(f"{said}; try again when the index is ready.", effect=effect)
        case status if status == 408 or status >= 500:
            return Unavailable(f"{said}; try again later.", effect=effect)
        case _:
            return InvalidArgument(said)
