"""Lanes: the threads in which one index does its work, so that the event loop never waits for a disk or a search."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from storycore_faiss.crew import Crew

__all__ = ["Lanes"]

T = TypeVar("T")


class Lanes:
    """One thread that writes, a few that search, and one for upkeep, each with a connection of its own.

    Args:
        connect: makes a connection; called in the thread that will use it.
        prepare: called once in each thread before its first work.
        search_threads: how many searches run at the same time.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], prepare: Callable[[], None], *, search_threads: int
    ) -> None:
        self._connect = connect
        self._prepare = prepare
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writer = ThreadPoolExecutor(1, "storycore-faiss-write")
        self._searchers = Crew(search_threads, "storycore-faiss-search")
        self._keeper = ThreadPoolExecutor(1, "storycore-faiss-keep")
        self.stopping = threading.Event()
        """Set when the lanes are being closed: what takes long ends early."""

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` in the writing thread, in the order of the calls."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._run, work)

    async def search(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` in one of the searching threads."""
        return await self._searchers.run(partial(self._run, work))

    def aside(self, work: Callable[[sqlite3.Connection], None], done: Callable[[BaseException | None], None]) -> None:
        """Do ``work`` in the thread for upkeep some time; ``done`` is told how it ended.

        May be called from any thread. Nothing is done any more when the lanes are being closed.
        """

        def told(ended: Future[None]) -> None:
            done(None if ended.cancelled() else ended.exception())

        try:
            self._keeper.submit(self._run, work).add_done_callback(told)
        except RuntimeError:  # closed a moment ago
            done(None)

    def connected(self, *, wait: bool = True) -> sqlite3.Connection:
        """A new connection, closed with the lanes; without ``wait`` it gives up at once where something is locked."""
        connection = self._connect()
        self._connections.append(connection)
        if not wait:
            connection.execute("PRAGMA busy_timeout=0")
        return connection

    async def close(self) -> None:
        """Let what has begun come to its end, then close all connections."""
        self.stopping.set()
        await asyncio.to_thread(self._close)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self.connected()
            self._prepare()
        return work(connection)

    def _close(self) -> None:
        self._searchers.close()
        self._writer.shutdown(wait=True)
        self._keeper.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
