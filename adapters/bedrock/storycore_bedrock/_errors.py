"""The one table from the service's errors to storycore's."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from botocore import exceptions as vendor

from storycore.errors import (
    AccessDenied,
    ConfigError,
    DeadlineExceeded,
    Effect,
    InvalidArgument,
    NotProvisioned,
    StorycoreError,
    Throttled,
    TooLarge,
    Unavailable,
)

__all__ = ["translated"]

_ACCESS = (
    "allow the model to the role's policy (bedrock:InvokeModel, bedrock:Rerank), and ask for it in the console of "
    "Amazon Bedrock under Model access"
)
_CREDENTIALS = "check the credentials and the policy of their role"
_STALE = "renew the credentials, and check the machine's clock"
_SLOW = "send less, with the layer `pace`, or ask for a higher quota of requests per minute"
_LATER = "try again later"
_MISSING = "give the identifier of a model that Bedrock offers in this region"

_TABLE: Mapping[str, tuple[type[StorycoreError], str]] = MappingProxyType(
    {
        "AccessDeniedException": (AccessDenied, _ACCESS),
        "UnrecognizedClientException": (AccessDenied, _CREDENTIALS),
        "InvalidClientTokenId": (AccessDenied, _CREDENTIALS),
        "IncompleteSignature": (AccessDenied, _CREDENTIALS),
        "MissingAuthenticationTokenException": (AccessDenied, _CREDENTIALS),
        "InvalidSignatureException": (AccessDenied, _STALE),
        "SignatureDoesNotMatch": (AccessDenied, _STALE),
        "ExpiredTokenException": (AccessDenied, _STALE),
        "ExpiredToken": (AccessDenied, _STALE),
        "ThrottlingException": (Throttled, _SLOW),
        "TooManyRequestsException": (Throttled, _SLOW),
        "ServiceQuotaExceededException": (Throttled, _SLOW),
        "ResourceNotFoundException": (NotProvisioned, _MISSING),
        "ModelNotReadyException": (Unavailable, _LATER),
        "ModelErrorException": (Unavailable, _LATER),
        "ModelTimeoutException": (Unavailable, _LATER),
        "ServiceUnavailableException": (Unavailable, _LATER),
        "InternalServerException": (Unavailable, _LATER),
        "DependencyFailedException": (Unavailable, _LATER),
        "BadGatewayException": (Unavailable, _LATER),
        "ConflictException": (Unavailable, _LATER),
    }
)

_NO_CREDENTIALS = (
    vendor.NoCredentialsError,
    vendor.PartialCredentialsError,
    vendor.CredentialRetrievalError,
    vendor.NoAuthTokenError,
    vendor.TokenRetrievalError,
    vendor.ProfileNotFound,
    vendor.UnauthorizedSSOTokenError,
    vendor.SSOTokenLoadError,
)
_TOO_LONG = re.compile(r"too many input tokens|input is too long|maxlength", re.IGNORECASE)


def translated(exc: Exception, place: str, *, limit: int) -> StorycoreError:
    """The storycore error for an error of botocore; nothing was ever written.

    Args:
        place: names the model.
        limit: of a text, in tokens.
    """
    if isinstance(exc, vendor.ClientError):
        return _refusal(exc.response, place, limit)
    if isinstance(exc, vendor.NoRegionError):
        return ConfigError(f"{place}: no region is set; give region in the profile, or set AWS_REGION.", path="region")
    if isinstance(exc, vendor.InvalidRegionError):
        return ConfigError(f"{place}: there can be no such region; give one as eu-central-1.", path="region")
    if isinstance(exc, _NO_CREDENTIALS):
        return AccessDenied(
            f"{place}: no credentials ({type(exc).__name__}); give access_key_id and secret_access_key, a "
            "profile_name, or the machine a role."
        )
    if isinstance(exc, vendor.ParamValidationError):
        return InvalidArgument(f"{place}: boto3 finds the request invalid; check model and texts.")
    if isinstance(exc, vendor.ReadTimeoutError):
        return DeadlineExceeded(
            f"{place} did not answer; try again, or raise read_timeout_seconds.", effect=Effect.NONE
        )
    if isinstance(exc, vendor.SSLError) and _is_distrust(exc):
        return ConfigError(f"{place}: the certificate of the server is not trusted; check endpoint_url.")
    return Unavailable(f"{place} cannot be reached ({type(exc).__name__}); check the network and endpoint_url.")


def _refusal(answer: Mapping[str, Any], place: str, limit: int) -> StorycoreError:
    error, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    code, told = str(error.get("Code", "")), str(error.get("Message", ""))
    if code == "ValidationException":
        return _invalid(told, place, limit)
    kind, cure = _TABLE.get(code) or _by_status(meta.get("HTTPStatusCode", 0))
    text = f"{place} refused the request ({code}); {cure}."
    if kind is Throttled:
        return Throttled(text, retry_after_seconds=_seconds(meta.get("HTTPHeaders", {}).get("retry-after")))
    return kind(text)


def _by_status(status: int) -> tuple[type[StorycoreError], str]:
    """For codes that no table knows."""
    if status == 429:
        return Throttled, _SLOW
    if status == 403:
        return AccessDenied, _CREDENTIALS
    return (InvalidArgument, "see the service's documentation") if 400 <= status < 500 else (Unavailable, _LATER)


def _invalid(told: str, place: str, limit: int) -> StorycoreError:
    if _TOO_LONG.search(told):
        return TooLarge(f"{place} takes no text of so many tokens; cut it.", limit=limit, actual=limit + 1)
    return InvalidArgument(f"{place} found the request invalid: {told[:300]}")


def _is_distrust(exc: Exception) -> bool:
    within = getattr(exc, "kwargs", {}).get("error")
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in getattr(within, "args", ()))


def _seconds(header: object) -> float | None:
    """The header ``Retry-After`` in seconds, where it says a number that is no nonsense."""
    try:
        seconds = float(str(header))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
