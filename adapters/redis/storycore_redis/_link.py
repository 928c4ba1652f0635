"""The way to one server: a connection that is made when it is needed, and again when it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from storycore_redis._connection import Command, Connection, Late, Limits, Lost, Refused
from storycore_redis._dialling import TRACKING_ON, connected, encryption, greeted
from storycore_redis._scripts import Script
from storycore_redis.config import RedisConfig

__all__ = ["Link", "SingleLink", "is_forgotten"]

_SHORTEST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0
_SCAN_STEP: Final = 1000
_MOST_AT_ONCE: Final = 1000


class Link(Protocol):
    """What the cache needs of a server or of a cluster. Failures are ``Refused`` and ``Unanswered``."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...

    def call(self, command: Command) -> Awaitable[Any]:
        """The answer to one command of one key or none."""
        ...

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to several, in their order; a failure stands in its place."""
        ...

    def get(self, names: Sequence[str]) -> Awaitable[list[bytes | None]]:
        """The values under several names."""
        ...

    async def run(self, script: Script, keys: Sequence[Sequence[str]], args: Sequence[Command]) -> list[Any]:
        """Run a script once for each group of keys; a failure stands in its place."""
        ...

    def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The names that fit; what is there all the time is given at least once."""
        ...

    async def track(self) -> None:
        """Ask for pushes, from now on over every connection."""
        ...


class SingleLink:
    """The way to one server, over one connection. To be used on one event loop.

    Args:
        config: where it is.
        chance: spreads the pauses between attempts.
        heard: is called with the names that others changed, or ``None`` when the connection was lost.
    """

    def __init__(
        self, config: RedisConfig, chance: random.Random, heard: Callable[[Sequence[bytes] | None], None]
    ) -> None:
        self._config = config
        self._chance = chance
        self._heard = heard
        self._limits = Limits(
            config.deadline_ms / 1000 or None,
            config.stall_timeout_ms / 1000,
            config.max_in_flight,
            config.awake_us / 1_000_000,
        )
        self._at_once = min(_MOST_AT_ONCE, config.max_in_flight)
        self._tls: ssl.SSLContext | None = None
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._failure: BaseException | None = None
        self._failures = 0
        self._not_before = 0.0
        self._tracking = False
        self._pulse: asyncio.TimerHandle | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect, with the patience of connecting."""
        self._closed = False
        self._tls = encryption(self._config)
        self._not_before = 0.0
        await asyncio.shield(self._attempt())

    async def close(self) -> None:
        """End the connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._pulse is not None:
            self._pulse.cancel()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    def call(self, command: Command) -> Awaitable[Any]:  # as the server answers
        """The answer to one command; it is on its way when this returns, unless there is no connection."""
        connection = self._connection
        if connection is None or connection.is_lost or connection.is_left:
            return self._call_anew(command)
        return connection.send(command)

    async def calls(self, commands: Sequence[Command]) -> list[Any]:  # as the server answers
        """The answers to several, in one write for as many as may be in flight, and at most a thousand."""
        connection = self._connection
        if connection is None or connection.is_lost or connection.is_left:
            connection = await self._reconnected()
        found: list[Any] = []
        for start in range(0, len(commands), self._at_once):
            some = commands[start : start + self._at_once]
            found += await asyncio.gather(*map(connection.send, some), return_exceptions=True)
        return found

    def get(self, names: Sequence[str]) -> Awaitable[list[bytes | None]]:
        """The values, in one command."""
        return self.call(("MGET", *names))

    async def run(self, script: Script, keys: Sequence[Sequence[str]], args: Sequence[Command]) -> list[Any]:
        """Run a script by its name, and by its text where the server has forgotten it."""
        groups = list(zip(keys, args, strict=True))
        found = await self.calls([("EVALSHA", script.sha, len(k), *k, *a) for k, a in groups])
        forgotten = [i for i, answer in enumerate(found) if is_forgotten(answer)]
        if forgotten:
            again = [groups[i] for i in forgotten]
            answers = await self.calls([("EVAL", script.text, len(k), *k, *a) for k, a in again])
            for i, answer in zip(forgotten, answers, strict=True):
                found[i] = answer
        return found

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The names that fit, step by step."""
        cursor = b"0"
        while True:
            cursor, names = await self.call(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_STEP))
            yield names
            if cursor == b"0":
                return

    async def track(self) -> None:
        """Ask for pushes, from now on over every connection."""
        was_tracking, self._tracking = self._tracking, True
        try:
            await self.call(TRACKING_ON)
        except Refused:  # nor would it be allowed on the next connection, which is wanted all the same
            self._tracking = was_tracking
            raise
        self._feel_the_pulse()

    async def _call_anew(self, command: Command) -> Any:  # as the server answers
        return await (await self._reconnected()).send(command)

    async def _reconnected(self) -> Connection:
        """A new connection, if it is there within a command's deadline."""
        waiting: Awaitable[Connection] = asyncio.shield(self._attempt())
        if self._limits.deadline is None:
            return await waiting
        try:
            async with asyncio.timeout(self._limits.deadline):
                return await waiting
        except TimeoutError as exc:
            raise Late("connecting takes too long", was_sent=False) from exc

    def _attempt(self) -> asyncio.Task[Connection]:
        """The attempt that is under way, or a new one when it is time for one."""
        if self._closed:
            raise Lost("the store is closed", was_sent=False)
        if self._connecting is None:
            if asyncio.get_running_loop().time() < self._not_before:
                raise Lost(f"the last attempt failed: {self._failure}", was_sent=False) from self._failure
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._attempted)
        return self._connecting

    def _attempted(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        failure = None if task.cancelled() else task.exception()
        if failure is None:
            self._failures = 0
            return
        self._failure = failure
        longest = min(_SHORTEST_PAUSE_SECONDS * 2**self._failures, _LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 16)
        self._not_before = task.get_loop().time() + longest * (0.5 + self._chance.random() / 2)

    async def _connect(self) -> Connection:
        made: list[Connection] = []

        def make() -> Connection:
            made.append(Connection(self._patient(), pushed=self._pushed, lost=self._lost))
            return made[-1]

        try:
            async with asyncio.timeout(self._config.connect_timeout_ms / 1000):
                connection = await connected(self._config, make, self._tls)
                await greeted(connection, self._config, tracking=self._tracking)
        except BaseException as exc:
            for one in made:
                await one.close()
            if isinstance(exc, TimeoutError):
                raise Late("connecting takes too long", was_sent=False) from exc
            raise
        connection.bind(self._limits)
        self._connection = connection
        return connection

    def _patient(self) -> Limits:
        """The limits while connecting, which has a time of its own."""
        return Limits(None, self._config.connect_timeout_ms / 1000, self._limits.in_flight, 0.0)

    def _lost(self, connection: Connection) -> None:
        if connection is self._connection or connection.is_left:
            self._connection = None if connection is self._connection else self._connection
            self._heard(None)

    def _pushed(self, message: Sequence[Any]) -> None:
        if message[0] == b"invalidate":
            self._heard(message[1])

    def _feel_the_pulse(self) -> None:
        """While somebody listens, ask for a sign of life now and then: a silent server would tell nothing either."""
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None
        if self._closed:
            return
        if self._connection is not None:
            self._connection.send(("PING",)).add_done_callback(_forget)
        self._pulse = asyncio.get_running_loop().call_later(self._limits.stall, self._feel_the_pulse)


def _forget(future: asyncio.Future[Any]) -> None:
    """Take note of the outcome, so that nobody is told that it was not."""
    with contextlib.suppress(asyncio.CancelledError):
        future.exception()


def is_forgotten(answer: object) -> bool:
    """Whether the server does not know a script by its name."""
    return isinstance(answer, Refused) and str(answer).startswith("NOSCRIPT")
