"""How the service says no: one exception, and its two bodies, of the control plane and of the data plane."""

from __future__ import annotations

from typing import Final

__all__ = ["Refusal", "Unauthorized", "control_body", "data_body"]

_GRPC_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 412: 9, 413: 11, 429: 8, 500: 13, 501: 12, 503: 14}
_NAMES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    402: "PAYMENT_REQUIRED",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "PAYLOAD_TOO_LARGE",
    422: "UNPROCESSABLE_ENTITY",
    429: "RESOURCE_EXHAUSTED",
    503: "SERVICE_UNAVAILABLE",
}


class Refusal(Exception):
    """The answer to a request that is not served."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class Unauthorized(Exception):
    """The answer to a request without the right key, which is plain text."""


def control_body(status: int, message: str) -> dict[str, object]:
    """What the control plane says: the code by its name."""
    return {"error": {"code": _NAMES.get(status, "UNKNOWN"), "message": message}, "status": status}


def data_body(status: int, message: str) -> dict[str, object]:
    """What an index says: the code by its number in gRPC."""
    return {"code": _GRPC_CODES.get(status, 2), "message": message, "details": []}
