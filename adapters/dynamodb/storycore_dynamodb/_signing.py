"""Heads of requests with an AWS signature of version 4, made of little more than what changes from one to the next.

The oracle of its tests is botocore's own signer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest

from storycore_dynamodb._transport import Refused

__all__ = ["Keys", "Signer"]

_ALGORITHM = "AWS4-HMAC-SHA256"
_TYPE = "application/x-amz-json-1.0"


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials as they are at one moment.

    Args:
        access_key: names them.
        secret_key: signs.
        token: of temporary credentials.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class Signer:
    """Writes the heads of requests to one endpoint of one service.

    Args:
        host: as the header ``Host`` says it.
        region: that the signature is for.
        service: that the signature is for, ``"dynamodb"``.
        target: what the header ``X-Amz-Target`` begins with.
        agent: the header ``User-Agent``.
        now: seconds since 1970 of the machine's clock, by which the service judges a signature.
    """

    def __init__(
        self,
        *,
        host: str,
        region: str,
        service: str,
        target: str,
        agent: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._target = target
        self._now = now
        self._region = region
        self._service = service
        self._second = -1
        self._keys: Keys | None = None
        self._fixed = f"User-Agent: {agent}\r\nAccept-Encoding: identity\r\nContent-Type: {_TYPE}\r\n"

    def head(self, operation: str, body: bytes, keys: Keys) -> bytes:
        """The request's head, up to and with the empty line.

        Raises:
            Refused: the credentials hold what no header can.
        """
        second = int(self._now())
        if second != self._second or keys is not self._keys:
            self._turn(second, keys)
        target = f"{self._target}.{operation}"
        request = f"{self._before}{target}{self._after}{sha256(body).hexdigest()}"
        text = f"{_ALGORITHM}\n{self._stamp}\n{self._scope}\n{sha256(request.encode()).hexdigest()}"
        return (
            f"POST / HTTP/1.1\r\nHost: {self._host}\r\nX-Amz-Target: {target}\r\n{self._headers}"
            f"{digest(self._key, text.encode(), 'sha256').hex()}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()

    def _turn(self, second: int, keys: Keys) -> None:
        """Prepare what stays the same for a second."""
        if keys is not self._keys:
            _require_writable(keys)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = stamp[:8]
        token = "" if keys.token is None else f"x-amz-security-token:{keys.token}\n"
        names = f"content-type;host;x-amz-date;{'x-amz-security-token;' if token else ''}x-amz-target"
        self._stamp, self._scope = stamp, f"{day}/{self._region}/{self._service}/aws4_request"
        self._before = f"POST\n/\n\ncontent-type:{_TYPE}\nhost:{self._host}\nx-amz-date:{stamp}\n{token}x-amz-target:"
        self._after = f"\n\n{names}\n"
        self._key = _signing_key(keys.secret_key, day, self._region, self._service)
        self._headers = (
            f"{self._fixed}X-Amz-Date: {stamp}\r\n"
            f"{'' if keys.token is None else f'X-Amz-Security-Token: {keys.token}{chr(13)}{chr(10)}'}"
            f"Authorization: {_ALGORITHM} Credential={keys.access_key}/{self._scope}, "
            f"SignedHeaders={names}, Signature="
        )
        self._second, self._keys = second, keys


def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = digest(key, part.encode(), "sha256")
    return key


def _require_writable(keys: Keys) -> None:
    for text in (keys.access_key, keys.token or "x"):
        if not (text and text.isascii() and text.isprintable() and " " not in text):
            raise Refused("NoCredentials", "the credentials hold a character that no header can")
