"""A transport that fails as a test says, around one that reaches a server."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from storycore.errors import Effect
from storycore_dynamodb._transport import Answer, Lost, Refused, Request, Transport

__all__ = [
    "Fault",
    "FaultyTransport",
    "Send",
    "after",
    "before",
    "late",
    "lost_after",
    "lost_before",
    "refused",
    "unsent",
]

Send: TypeAlias = Callable[[str, Request], Awaitable[Answer]]
Fault: TypeAlias = Callable[[Send, str, Request], Awaitable[Answer]]


class FaultyTransport:
    """Sends requests over another transport, unless a fault is due for their operation.

    Args:
        inner: the transport that reaches a server.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._due: dict[str, deque[Fault]] = defaultdict(deque)
        self._late: list[tuple[str, Request]] = []
        self.sent: list[str] = []

    def expect(self, operation: str, *faults: Fault) -> None:
        """The next calls of an operation fail so, one after the other."""
        self._due[operation].extend(faults)

    def postpone(self, operation: str, request: Request) -> None:
        """Let a request arrive just before the next one."""
        self._late.append((operation, request))

    async def open(self) -> object:
        """Open the transport below."""
        return await self._inner.open()

    async def close(self) -> None:
        """Close the transport below."""
        await self._inner.close()

    async def call(self, operation: str, request: Request) -> Answer:
        """Fail as scripted, or send."""
        self.sent.append(operation)
        fault = self._due[operation].popleft() if self._due[operation] else None
        if fault is not None:
            return await fault(self._send, operation, request)
        return await self._send(operation, request)

    async def _send(self, operation: str, request: Request) -> Answer:
        while self._late and operation != "GetItem":
            await self._inner.call(*self._late.pop())
        return await self._inner.call(operation, request)


async def lost_after(send: Send, operation: str, request: Request) -> Answer:
    """The request is done, its answer lost."""
    await send(operation, request)
    raise Lost("connection reset", effect=Effect.UNKNOWN)


async def lost_before(send: Send, operation: str, request: Request) -> Answer:
    """The request is lost, which nobody can know."""
    raise Lost("connection reset", effect=Effect.UNKNOWN)


async def unsent(send: Send, operation: str, request: Request) -> Answer:
    """There was no connection at all."""
    raise Lost("connection refused", effect=Effect.NONE)


def late(transport: FaultyTransport) -> Fault:
    """The request is given up, and arrives just before the next write."""

    async def fault(send: Send, operation: str, request: Request) -> Answer:
        transport.postpone(operation, request)
        raise Lost("timeout", effect=Effect.UNKNOWN, timed_out=True)

    return fault


def refused(code: str, *, reasons: list[str] | None = None) -> Fault:
    """The service says no, in a transaction with one code for each action."""

    async def fault(send: Send, operation: str, request: Request) -> Answer:
        told = [] if reasons is None else [{"Code": each, "Message": "scripted"} for each in reasons]
        raise Refused(code, "scripted", answer={"CancellationReasons": told})

    return fault


def before(act: Callable[[], Awaitable[object]]) -> Fault:
    """Somebody does something just before the request arrives."""

    async def fault(send: Send, operation: str, request: Request) -> Answer:
        await act()
        return await send(operation, request)

    return fault


def after(act: Callable[[], Awaitable[object]]) -> Fault:
    """The request is done, somebody does something, and the answer is lost."""

    async def fault(send: Send, operation: str, request: Request) -> Answer:
        await send(operation, request)
        await act()
        raise Lost("connection reset", effect=Effect.UNKNOWN)

    return fault
