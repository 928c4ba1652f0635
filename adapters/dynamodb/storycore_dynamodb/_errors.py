"""The one table from the service's errors to storycore's, and what each says about repeating."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from storycore.errors import (
    AccessDenied,
    ConfigError,
    DeadlineExceeded,
    Effect,
    InvalidArgument,
    NotProvisioned,
    StorageFull,
    StorycoreError,
    Throttled,
    TooLarge,
    Unavailable,
)
from storycore.ports.item_size import ITEM_BYTES
from storycore_dynamodb._transport import Lost, Refused

__all__ = ["ANSWERS", "Treatment", "translated", "treatment"]


class Treatment(StrEnum):
    """What may be done after a failed request."""

    FINAL = "final"
    """Nothing: a repetition would fail too."""
    SLOWER = "slower"
    """Nothing was done; repeat, and send less."""
    AGAIN = "again"
    """Nothing was done; repeat."""
    DOUBTFUL = "doubtful"
    """It may have been done: a read is repeated, a write is read back."""


ANSWERS = frozenset(
    {
        "ConditionalCheckFailedException",
        "TransactionCanceledException",
        "ExpiredIteratorException",
        "TrimmedDataAccessException",
    }
)
"""Errors that are answers: who sent the request knows what to make of them."""

_DENIED = "check the credentials and the policy of their role"
_STALE = "renew the credentials, and check the machine's clock"
_SLOW = "try again later, or raise the table's limits"

_TABLE: Mapping[str, tuple[type[StorycoreError], Treatment, str]] = MappingProxyType(
    {
        "AccessDeniedException": (AccessDenied, Treatment.FINAL, _DENIED),
        "KMSAccessDeniedException": (AccessDenied, Treatment.FINAL, "check the policy of the table's KMS key"),
        "UnrecognizedClientException": (AccessDenied, Treatment.FINAL, _DENIED),
        "InvalidClientTokenId": (AccessDenied, Treatment.FINAL, _DENIED),
        "InvalidSignatureException": (AccessDenied, Treatment.FINAL, _STALE),
        "SignatureDoesNotMatch": (AccessDenied, Treatment.FINAL, _STALE),
        "IncompleteSignature": (AccessDenied, Treatment.FINAL, _DENIED),
        "IncompleteSignatureException": (AccessDenied, Treatment.FINAL, _DENIED),
        "MissingAuthenticationTokenException": (AccessDenied, Treatment.FINAL, _DENIED),
        "ExpiredTokenException": (AccessDenied, Treatment.FINAL, _STALE),
        "ExpiredToken": (AccessDenied, Treatment.FINAL, _STALE),
        "NoCredentials": (
            AccessDenied,
            Treatment.FINAL,
            "give access_key_id and secret_access_key, a profile_name, or the machine a role",
        ),
        "Closed": (Unavailable, Treatment.FINAL, "open the store again"),
        "ProfileNotFound": (
            AccessDenied,
            Treatment.FINAL,
            "give a profile_name that stands in the AWS configuration files",
        ),
        "InvalidRegion": (
            ConfigError,
            Treatment.FINAL,
            "give region as the name of an AWS region, for example eu-central-1",
        ),
        "InvalidEndpoint": (
            ConfigError,
            Treatment.FINAL,
            "give endpoint_url as http:// or https://, a host and a port",
        ),
        "NoRegion": (ConfigError, Treatment.FINAL, "give region in the profile, or set AWS_REGION"),
        "ResourceNotFoundException": (NotProvisioned, Treatment.FINAL, "run `storycore init` or ensure()"),
        "TableNotFoundException": (NotProvisioned, Treatment.FINAL, "run `storycore init` or ensure()"),
        "ResourceInUseException": (Unavailable, Treatment.FINAL, "wait until its change is done"),
        "ItemCollectionSizeLimitExceededException": (StorageFull, Treatment.FINAL, "use more partitions"),
        "ProvisionedThroughputExceededException": (Throttled, Treatment.SLOWER, _SLOW),
        "ThrottlingException": (Throttled, Treatment.SLOWER, _SLOW),
        "ThrottlingError": (Throttled, Treatment.SLOWER, _SLOW),
        "ProvisionedThroughputExceeded": (Throttled, Treatment.SLOWER, _SLOW),
        "RequestLimitExceeded": (Throttled, Treatment.SLOWER, _SLOW),
        "LimitExceededException": (Throttled, Treatment.SLOWER, _SLOW),
        "TransactionConflictException": (Unavailable, Treatment.AGAIN, "try again: other transactions are in the way"),
        "TransactionConflict": (Unavailable, Treatment.AGAIN, "try again: other transactions are in the way"),
        "TransactionInProgressException": (Unavailable, Treatment.AGAIN, "try again: the first attempt still runs"),
        "ReplicatedWriteConflictException": (Unavailable, Treatment.AGAIN, "try again: another region writes the item"),
        "ContinuousBackupsUnavailableException": (
            Unavailable,
            Treatment.AGAIN,
            "call ensure() again in a minute: AWS still prepares the backups of the new table",
        ),
        "InternalServerError": (Unavailable, Treatment.DOUBTFUL, "try again"),
        "InternalFailure": (Unavailable, Treatment.DOUBTFUL, "try again"),
        "ServiceUnavailable": (Unavailable, Treatment.DOUBTFUL, "try again"),
        "ServiceUnavailableException": (Unavailable, Treatment.DOUBTFUL, "try again"),
    }
)


def treatment(failure: Refused | Lost) -> Treatment:
    """What may be done after it."""
    if isinstance(failure, Lost):
        return Treatment.AGAIN if failure.effect is Effect.NONE else Treatment.DOUBTFUL
    if failure.code in _TABLE:
        return _TABLE[failure.code][1]
    return Treatment.DOUBTFUL if failure.code.isdigit() and failure.code >= "500" else Treatment.FINAL


def translated(failure: Refused | Lost, place: str, *, effect: Effect) -> StorycoreError:
    """The storycore error for a failed request.

    Args:
        failure: what happened.
        place: names the table.
        effect: what is known of the request's effect.
    """
    if isinstance(failure, Lost):
        return _silence(failure, place, effect)
    if failure.code == "ValidationException":
        return _invalid(failure, place)
    kind, how, cure = _TABLE.get(failure.code, (Unavailable, treatment(failure), "see the service's documentation"))
    text = f"{place} refused the request ({failure.code}); {cure}."
    if kind is Throttled:
        return Throttled(text, retry_after_seconds=failure.retry_after_seconds)
    if how is Treatment.FINAL:
        return kind(text)
    return kind(text, effect=effect)


def _silence(failure: Lost, place: str, effect: Effect) -> StorycoreError:
    text = f"{place} did not answer ({failure.message})"
    if failure.timed_out:
        return DeadlineExceeded(f"{text}; try again, or raise read_timeout_seconds.", effect=effect)
    return Unavailable(f"{text}; check the network and endpoint_url.", effect=effect)


def _invalid(failure: Refused, place: str) -> StorycoreError:
    if "tem size" in failure.message and "exceeded" in failure.message:
        return TooLarge(
            f"{place} refused the item, which is larger than {ITEM_BYTES} bytes; move large values to the blob store.",
            limit=ITEM_BYTES,
            actual=ITEM_BYTES + 1,
        )
    return InvalidArgument(f"{place} found the request invalid: {failure.message[:300]}.")
