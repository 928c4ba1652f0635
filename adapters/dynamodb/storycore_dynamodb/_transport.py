"""How requests reach the service: a protocol of three methods, and the two ways in which a call fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from storycore.errors import Effect

__all__ = ["Answer", "Lost", "Refused", "Request", "Transport"]

Request: TypeAlias = Mapping[str, Any]
"""The request's JSON object, with raw attribute values."""

Answer: TypeAlias = Mapping[str, Any]
"""The answer's JSON object, with raw attribute values."""


class Refused(Exception):
    """The service answered with an error.

    Args:
        code: the service's name of the error, for example ``"ValidationException"``.
        message: the service's sentence.
        answer: what else the answer holds: ``Item``, ``CancellationReasons``.
        retry_after_seconds: the pause that the service asks for.

    ``effect`` is ``UNKNOWN`` where an earlier attempt of the same request may have been done.
    """

    def __init__(
        self, code: str, message: str = "", *, answer: Answer | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.answer: Answer = answer or {}
        self.retry_after_seconds = retry_after_seconds
        self.effect = Effect.NONE


class Lost(Exception):
    """There was no answer.

    Args:
        message: what happened.
        effect: ``NONE`` when the request cannot have reached the service, else ``UNKNOWN``.
        timed_out: whether the answer took longer than the read timeout.
    """

    def __init__(self, message: str, *, effect: Effect, timed_out: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.effect = effect
        self.timed_out = timed_out


class Transport(Protocol):
    """A way to the service. It sends each request once; repeating is decided above it."""

    async def open(self) -> object:
        """Connect; returns the raw client, if there is one worth showing.

        Raises:
            Refused: there are no credentials, or no region.
        """
        ...

    async def call(self, operation: str, request: Request) -> Answer:
        """Send one request, for example ``call("GetItem", {"TableName": …})``.

        Raises:
            Refused: the service said no.
            Lost: there was no answer.
        """
        ...

    async def close(self) -> None:
        """Release everything; requests that are under way come to their end."""
        ...
