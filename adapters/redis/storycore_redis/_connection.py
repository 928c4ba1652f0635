"""One connection to a server: what is asked in one turn of the event loop goes out in one write.

Who asks alone, as the last one did, does not wait for the end of the turn. Answers come in the order of the commands,
pushes between them. Nothing waits for its turn and nothing is repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import hiredis

from storycore_redis._vigil import Vigil

__all__ = ["Busy", "Command", "Connection", "Late", "Limits", "Lost", "Refused", "Unanswered"]

Command: TypeAlias = tuple[str | bytes | int, ...]
"""A command's name and arguments."""

_NOTHING: Final = object()
_TICKS: Final = 4
"""How often the time is looked at within a deadline."""


class Unanswered(Exception):
    """A command without an answer. ``was_sent``: the server may have done it."""

    def __init__(self, reason: str, *, was_sent: bool) -> None:
        super().__init__(reason)
        self.was_sent = was_sent


class Lost(Unanswered):
    """The connection broke, or there is none."""


class Late(Unanswered):
    """The answer did not come in time."""


class Busy(Unanswered):
    """Too many commands wait for their answers already."""


class Refused(Exception):
    """The server's answer is an error; its text begins with the error's code.

    What the server quotes of a command that it does not know, which may be the login, is left out.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.partition(", with args beginning with")[0])


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how many.

    Args:
        deadline: of a command in seconds; ``None``: none.
        stall: seconds without an answer after which the connection counts as lost.
        in_flight: commands that may wait for their answers.
        awake: seconds for which the loop stays awake for an answer.
    """

    deadline: float | None
    stall: float
    in_flight: int
    awake: float


class Connection(asyncio.Protocol):
    """Made by ``loop.create_connection``; ``send`` gives a future.

    Args:
        limits: how long and how many.
        pushed: is called with each push message.
        lost: is called once when the connection is gone, before the commands in flight fail.

    Who answers that he is a replica is to be left: ``is_left`` then, and the connection ends with its last answer.
    """

    def __init__(
        self, limits: Limits, *, pushed: Callable[[Sequence[Any]], None], lost: Callable[[Connection], None]
    ) -> None:
        self.is_lost = False
        self.is_left = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._pushed = pushed
        self._lost = lost
        self._reader = hiredis.Reader(replyError=Refused, notEnoughData=_NOTHING)
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._is_lone = False
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self.bind(limits)

    def bind(self, limits: Limits) -> None:
        """From now on, these limits."""
        limit = limits.deadline if limits.deadline is not None else limits.stall
        self._limits = limits
        self._tick = min(limit, limits.stall) / _TICKS
        self._vigil = Vigil(self._loop, limits.awake)
        if self._timer is not None:  # it goes by the limits from before
            self._timer.cancel()
            self._timer = self._loop.call_later(self._tick, self._look_at_the_time)

    def send(self, command: Command) -> asyncio.Future[Any]:
        """Ask; the future gives the answer, or raises ``Refused``, ``Late``, ``Lost`` or ``Busy``."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.is_lost:
            future.set_exception(Lost("the connection is closed", was_sent=False))
        elif len(self._waiting) >= self._limits.in_flight:
            future.set_exception(Busy(f"{len(self._waiting)} commands are in flight", was_sent=False))
        else:
            now = self._loop.time()
            self._write(hiredis.pack_command(cast(Any, command)), now)  # its types leave out tuples of any length
            self._waiting.append((now, future))
            if self._timer is None:
                self._timer = self._loop.call_later(self._tick, self._look_at_the_time)
        return future

    def abort(self) -> None:
        """End the connection now, whatever is in flight."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """End the connection, and wait until it is gone."""
        if self._transport is not None:
            self._transport.abort()
            await asyncio.shield(self.gone)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop: give each answer to who waits for it, and tell pushes at their place."""
        self._heard_at = self._loop.time()
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOTHING:
                kind = type(reply)
                if kind is hiredis.PushNotification:
                    self._pushed(reply)
                elif kind is Refused:
                    self._refuse(reply)
                elif not (future := waiting.popleft()[1]).done():  # else it was cancelled, or is late
                    future.set_result(reply)
            self._vigil.heard(self._heard_at, is_over=not self._waiting)
            if self.is_left and not self._waiting:
                self.abort()
        except (hiredis.ProtocolError, IndexError):  # bytes that are no protocol, or an answer that nobody asked for
            self.abort()

    def eof_received(self) -> bool:
        """Called by the event loop: a server that says no more is gone."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop, once."""
        self.is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        self._lost(self)
        reason = str(exc or "the connection was closed")
        unsent = len(self._waiting) - len(self._outgoing)
        for place, (_, future) in enumerate(self._waiting):
            if not future.done():
                future.set_exception(Lost(reason, was_sent=place < unsent))
        self._waiting.clear()
        if not self.gone.done():
            self.gone.set_result(None)

    def _refuse(self, reply: Refused) -> None:
        future = self._waiting.popleft()[1]
        if str(reply).startswith("READONLY"):  # perhaps it was the primary: ask anew who is
            self.is_left = True
        if not future.done():
            future.set_exception(reply)

    def _write(self, packed: bytes, now: float) -> None:
        """Write at once while one command at a time is asked for; else at the end of the turn."""
        if self._is_lone and not self._waiting and self._transport is not None:
            self._transport.write(packed)
            self._vigil.begin(now)
            return
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packed)

    def _flush(self) -> None:
        if not self.is_lost and self._transport is not None:
            self._is_lone = len(self._outgoing) == 1
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()
            self._vigil.begin(self._loop.time())

    def _look_at_the_time(self) -> None:
        """Judge what is late only after what has arrived by now was read, in case this process itself was busy."""
        self._timer = None
        if self._waiting and not self.is_lost:
            self._loop.call_soon(self._judge)

    def _judge(self) -> None:
        if self.is_lost or not self._waiting:
            return
        now = self._loop.time()
        if max(self._waiting[0][0], self._heard_at) + self._limits.stall <= now:
            self.abort()
            return
        if self._limits.deadline is not None:
            self._fail_what_is_late(now - self._limits.deadline)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick, self._look_at_the_time)

    def _fail_what_is_late(self, sent_by: float) -> None:
        for sent_at, future in self._waiting:
            if sent_at > sent_by:
                return
            if not future.done():
                future.set_exception(Late("the deadline has passed", was_sent=True))
