"""Lanes: the one thread in which a backup is hashed, packed, compressed and sealed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Lane"]

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """Runs what takes long, one call after the other.

    It is one thread and not any of the loop's: what a thread frees of its frames stays with it, so that six threads
    which seal in turn take six times the memory.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="storycore-backup")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call; it runs on where whoever awaits it is cancelled."""
        return await asyncio.wrap_future(self._pool.submit(call, *args, **kwargs))

    def close(self) -> None:
        """End the thread when its call is over; a second call does nothing."""
        self._pool.shutdown(wait=False)
