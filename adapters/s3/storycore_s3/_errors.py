"""The one table from the service's errors to storycore's, and what each says about repeating."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from storycore.errors import (
    AccessDenied,
    ConfigError,
    Corrupt,
    DeadlineExceeded,
    Effect,
    InvalidArgument,
    InvalidKey,
    NotProvisioned,
    StorageFull,
    StorycoreError,
    Throttled,
    Unavailable,
)
from storycore_s3._failures import Lost, Refused

__all__ = ["ABSENCES", "CONDITIONS", "Treatment", "is_answer", "translated", "treatment"]


class Treatment(StrEnum):
    """What may be done after a failed request."""

    FINAL = "final"
    """Nothing: a repetition would fail too."""
    SLOWER = "slower"
    """Nothing was done; repeat, later."""
    AGAIN = "again"
    """It may have been done; repeat, for what is repeated says whose it is."""


CONDITIONS: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
"""A condition of the request does not hold."""

ABSENCES: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound", "MethodNotAllowed", "405"})
"""There is no such object; of a deletion's own revision the service says that the method is not allowed."""

_ANSWERS: Final = CONDITIONS | ABSENCES | {"InvalidRange", "416", "NoSuchUpload"}

_DENIED: Final = "check the credentials and the policies of their role and of the bucket"
_UNTOLD: Final = "check the credentials, their policies, the clock, region, and customer_key where objects have one"
_STALE: Final = "renew the credentials, and check the machine's clock"
_MAKE: Final = "run `storycore init` or ensure()"
_REGION: Final = "give region as the one in which the bucket is"

_TABLE: Mapping[str, tuple[type[StorycoreError], Treatment, str]] = MappingProxyType(
    {
        "NoSuchBucket": (NotProvisioned, Treatment.FINAL, _MAKE),
        **dict.fromkeys(
            ("AccessDenied", "InvalidAccessKeyId", "AllAccessDisabled", "AccountProblem", "InvalidToken"),
            (AccessDenied, Treatment.FINAL, _DENIED),
        ),
        **dict.fromkeys(("400", "403"), (AccessDenied, Treatment.FINAL, _UNTOLD)),  # answers to HEAD have no body
        **dict.fromkeys(
            ("SignatureDoesNotMatch", "ExpiredToken", "RequestTimeTooSkewed", "RequestExpired"),
            (AccessDenied, Treatment.FINAL, _STALE),
        ),
        **dict.fromkeys(
            ("KMS.DisabledException", "KMS.NotFoundException", "KMS.AccessDeniedException", "KMS.KeyUnavailable"),
            (AccessDenied, Treatment.FINAL, "check the KMS key and its policy"),
        ),
        "NoCredentials": (
            AccessDenied,
            Treatment.FINAL,
            "give access_key_id and secret_access_key, a profile_name, or the machine a role",
        ),
        "ProfileNotFound": (AccessDenied, Treatment.FINAL, "give a profile_name of the AWS configuration files"),
        "NoRegion": (ConfigError, Treatment.FINAL, "give region in the profile, or set AWS_REGION"),
        "InvalidRegion": (ConfigError, Treatment.FINAL, "give region as the name of an AWS region"),
        "InvalidEndpoint": (
            ConfigError,
            Treatment.FINAL,
            "give endpoint_url as http:// or https://, a host and a port",
        ),
        **dict.fromkeys(
            ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
            (ConfigError, Treatment.FINAL, _REGION),
        ),
        **dict.fromkeys(
            ("TemporaryRedirect", "307"), (Unavailable, Treatment.SLOWER, f"try again later, or {_REGION}")
        ),
        **dict.fromkeys(
            ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"),
            (AccessDenied, Treatment.FINAL, "choose another name: the bucket is somebody else's"),
        ),
        "KeyTooLongError": (InvalidKey, Treatment.FINAL, "use a shorter key or prefix"),
        "QuotaExceeded": (StorageFull, Treatment.FINAL, "remove what is not needed, or raise the quota"),
        "XMinioStorageFull": (StorageFull, Treatment.FINAL, "give the server more space"),
        "InsufficientCapacity": (StorageFull, Treatment.FINAL, "give the server more space"),
        "NoSuchUpload": (Unavailable, Treatment.FINAL, "somebody else has ended the upload; put the blob again"),
        "InvalidObjectState": (Unavailable, Treatment.FINAL, "bring the object back from its archive"),
        **dict.fromkeys(
            ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"),
            (Throttled, Treatment.SLOWER, "try again later"),
        ),
        **dict.fromkeys(
            ("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"),
            (Corrupt, Treatment.AGAIN, "what arrived is not what was sent; send it again"),
        ),
        **dict.fromkeys(
            ("InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "500", "502", "503", "504"),
            (Unavailable, Treatment.AGAIN, "try again"),
        ),
    }
)


def is_answer(failure: Refused | Lost) -> bool:
    """Whether who sent the request knows what to make of it."""
    return isinstance(failure, Refused) and failure.code in _ANSWERS


def treatment(failure: Refused | Lost) -> Treatment:
    """What may be done after it."""
    if isinstance(failure, Lost):
        return Treatment.AGAIN
    if failure.code in _TABLE:
        return _TABLE[failure.code][1]
    return Treatment.AGAIN if failure.status >= 500 else Treatment.FINAL


def translated(failure: Refused | Lost, place: str, *, effect: Effect) -> StorycoreError:
    """The storycore error for a failed request.

    Args:
        failure: what happened.
        place: names the bucket, and the blob where there is one.
        effect: what is known of the request's effect.
    """
    if isinstance(failure, Lost):
        text = f"{place}: no answer ({failure.message})"
        if failure.timed_out:
            return DeadlineExceeded(f"{text}; try again, or raise read_timeout_seconds.", effect=effect)
        return Unavailable(f"{text}; check the network and endpoint_url.", effect=effect)
    if failure.status == 400 and "Server Side Encryption" in failure.message:
        return AccessDenied(f"{place}: the object is encrypted with a key of the caller's; give customer_key.")
    if failure.code not in _TABLE and failure.status < 500:
        return InvalidArgument(f"{place}: the request is refused ({failure.code}): {failure.message[:300]}.")
    kind, how, cure = _TABLE.get(failure.code, (Unavailable, Treatment.AGAIN, "try again"))
    told = f" (the service says {failure.region!r})" if failure.region and _REGION in cure else ""
    text = f"{place}: the request is refused ({failure.code}); {cure}{told}."
    if kind is Throttled:
        return Throttled(text, retry_after_seconds=failure.retry_after_seconds)
    return kind(text) if how is Treatment.FINAL else kind(text, effect=effect)
