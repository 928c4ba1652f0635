"""What botocore raises, in two words: the service refused, or nobody knows what became of the request."""

from __future__ import annotations

import ssl
from typing import Any, Final

from botocore import exceptions as vendor
from urllib3.exceptions import HTTPError

from storycore.errors import Effect

__all__ = ["VENDOR", "Lost", "Refused", "failure_of"]

VENDOR: Final = (vendor.ClientError, vendor.BotoCoreError, HTTPError, OSError)
"""What may come out of botocore, reading a body included."""

_CREDENTIALS: Final = (
    vendor.NoCredentialsError,
    vendor.PartialCredentialsError,
    vendor.CredentialRetrievalError,
    vendor.NoAuthTokenError,
    vendor.TokenRetrievalError,
    vendor.UnauthorizedSSOTokenError,
    vendor.SSOTokenLoadError,
)
_NOT_SENT: Final = (vendor.EndpointConnectionError, vendor.ConnectTimeoutError, vendor.ProxyConnectionError)
_OWN: Final[dict[type[Exception], str]] = {
    vendor.ProfileNotFound: "ProfileNotFound",
    vendor.NoRegionError: "NoRegion",
    vendor.InvalidRegionError: "InvalidRegion",
}


class Refused(Exception):
    """The service, or botocore in its place, said no.

    Args:
        code: the service's word for it; of an answer without a body its status.
        message: the service's own words.
        status: of HTTP; 0: nothing was sent.
        retry_after_seconds: the pause that the service asked for.
        region: where the bucket is, as far as the service says it.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 0,
        retry_after_seconds: float | None = None,
        region: str | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.region = region
        self.effect = Effect.NONE


class Lost(Exception):
    """No whole answer came.

    Args:
        message: what happened.
        effect: whether the request can have been done.
        timed_out: whether waiting has ended it.
    """

    def __init__(self, message: str, *, effect: Effect, timed_out: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.effect = effect
        self.timed_out = timed_out


def failure_of(exc: Exception) -> Refused | Lost:
    """What a vendor error is."""
    if isinstance(exc, vendor.ClientError):
        return _refusal(exc.response)
    if type(exc) in _OWN:
        return Refused(_OWN[type(exc)])
    if isinstance(exc, _CREDENTIALS):
        return Refused("NoCredentials", type(exc).__name__)
    if isinstance(exc, _NOT_SENT) or _is_distrust(exc):
        return Lost(type(exc).__name__, effect=Effect.NONE)
    return Lost(type(exc).__name__, effect=Effect.UNKNOWN, timed_out=isinstance(exc, vendor.ReadTimeoutError))


def _refusal(answer: Any) -> Refused:  # botocore's answers are made at run time
    error, about = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    headers = about.get("HTTPHeaders", {})
    return Refused(
        str(error.get("Code", "")),
        str(error.get("Message", "")),
        status=int(about.get("HTTPStatusCode", 0)),
        retry_after_seconds=_seconds(headers.get("retry-after")),
        region=headers.get("x-amz-bucket-region"),
    )


def _is_distrust(exc: Exception) -> bool:
    """Whether the service's certificate was refused; other failures of TLS may come when the request was done."""
    within = exc.kwargs.get("error") if isinstance(exc, vendor.SSLError) else None
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in getattr(within, "args", ()))


def _seconds(header: object) -> float | None:
    try:
        return float(str(header))
    except ValueError:
        return None
