"""Properties of an opened store: Hypothesis draws the arguments, and every example asks the same store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

__all__ = ["for_all"]


async def for_all(check: Callable[..., Awaitable[None]], *, examples: int, **drawn: SearchStrategy[Any]) -> None:
    """Await ``check`` with drawn arguments; one that fails is shrunk before it is reported.

    ``check`` runs in the caller's event loop and must leave the store as it was. The same strategies give the same
    examples.

    Args:
        check: raises ``AssertionError`` where the property does not hold.
        examples: how many are tried.
        drawn: argument names of ``check`` to what they are drawn from.
    """
    loop = asyncio.get_running_loop()

    def one(**arguments: object) -> None:
        asyncio.run_coroutine_threadsafe(_awaited(check(**arguments)), loop).result()

    chosen = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        print_blob=False,
    )
    await asyncio.to_thread(chosen(given(**drawn)(one)))


async def _awaited(check: Awaitable[None]) -> None:
    await check
