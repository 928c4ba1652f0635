"""Connections to one endpoint: kept alive, as many as allowed, and used again only after a whole answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Final

from storycore.errors import Effect
from storycore_dynamodb._http import AnswerReader, Garbled, HttpAnswer
from storycore_dynamodb._transport import Lost, Refused

__all__ = ["Connection", "Place", "Pool"]

_NEWS_AFTER_SECONDS: Final = 0.05
"""A connection that rested for longer is looked at before it is used: the server may have closed it."""

_LONGEST_REST_SECONDS: Final = 50.0
"""A connection that rested for longer is not used again: what lies between may have forgotten it."""

_FAREWELL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where connections lead and how long they wait.

    Args:
        host: a name or an address.
        port: of it.
        tls: whom to trust; ``None``: no TLS.
        connect_seconds: how long connecting may take, TLS included.
        read_seconds: how long an answer may be silent.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_seconds: float
    read_seconds: float


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = AnswerReader()
        self._waiting: asyncio.Future[HttpAnswer] | None = None
        self._heard_at = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self.rests_since = 0.0
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        """Whether a request may be written to it."""
        return not (self.closed.done() or self._transport.is_closing())

    async def exchange(self, request: bytes, *, read_seconds: float) -> HttpAnswer:
        """Write a request and wait for its answer; who stops waiting closes the connection.

        Raises:
            Lost: there is no whole answer.
        """
        self._waiting = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._watch(read_seconds)
        self._transport.write(request)
        try:
            answer = await self._waiting
        except BaseException:
            self._transport.abort()
            raise
        finally:
            self._waiting = None
            if self._silence is not None:
                self._silence.cancel()
        self.rests_since = self._loop.time()
        return answer

    def close(self) -> None:
        """Say goodbye; ``closed`` is done when that has come to its end."""
        self._transport.close()

    def abort(self) -> None:
        """Close without a goodbye."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Put the answer together; what nobody waits for ends the connection."""
        if self._waiting is None or self._waiting.done():
            self._transport.abort()
            return
        self._heard_at = self._loop.time()
        try:
            answer = self._reader.feed(data)
        except Garbled as exc:
            self._fail(Lost(f"the answer is garbled: {exc}", effect=Effect.UNKNOWN))
            return
        if answer is not None:
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._fail(Lost("the connection was closed before the whole answer", effect=Effect.UNKNOWN))
        if not self.closed.done():
            self.closed.set_result(None)

    def _watch(self, read_seconds: float) -> None:
        """Wake up when the answer may have been silent for long enough."""
        quiet = self._loop.time() - self._heard_at
        if quiet < read_seconds:
            self._silence = self._loop.call_later(read_seconds - quiet, self._watch, read_seconds)
        else:
            self._fail(Lost("the read timed out", effect=Effect.UNKNOWN, timed_out=True))

    def _fail(self, lost: Lost) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(lost)


class Pool:
    """The connections to one place.

    Args:
        place: where they lead.
        limit: how many there are at most.
    """

    def __init__(self, place: Place, limit: int) -> None:
        self._place = place
        self._turns = asyncio.Semaphore(limit)
        self._resting: list[Connection] = []
        self._is_closed = False

    async def exchange(self, request: bytes) -> HttpAnswer:
        """Send a request over a connection that is free, or a new one.

        Raises:
            Lost: there was no connection, or no whole answer.
            Refused: the pool is closed.
        """
        async with self._turns:
            connection = await self._free()
            answer = await connection.exchange(request, read_seconds=self._place.read_seconds)
            if answer.keeps_alive and connection.is_open and not self._is_closed:
                self._resting.append(connection)
            else:
                connection.close()
            return answer

    async def close(self) -> None:
        """Close what rests; what is in use closes when its answer is in."""
        self._is_closed = True
        leaving, self._resting = self._resting, []
        for connection in leaving:
            connection.close()
        if leaving:
            await asyncio.wait([connection.closed for connection in leaving], timeout=_FAREWELL_SECONDS)
        for connection in leaving:
            connection.abort()

    async def _free(self) -> Connection:
        while self._resting and not self._is_closed:
            connection = self._resting.pop()
            rested = asyncio.get_running_loop().time() - connection.rests_since
            if rested > _NEWS_AFTER_SECONDS:
                await _news(connection)
            if connection.is_open and rested < _LONGEST_REST_SECONDS:
                return connection
            connection.close()
        if self._is_closed:
            raise Refused("Closed", "the connection is closed")
        return await self._connected()

    async def _connected(self) -> Connection:
        place = self._place
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(place.connect_seconds):
                _, connection = await loop.create_connection(Connection, place.host, place.port, ssl=place.tls)
        except TimeoutError as exc:
            raise Lost("connecting timed out", effect=Effect.NONE) from exc
        except OSError as exc:
            raise Lost(f"connecting failed: {type(exc).__name__}", effect=Effect.NONE) from exc
        return connection


async def _news(connection: Connection) -> None:
    """Let the event loop read what lies ready: it does so in its next turn, and tells in the one after that."""
    try:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    except BaseException:  # who is cancelled here is the only one who knows the connection
        connection.abort()
        raise
