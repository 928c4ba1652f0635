"""Sync functions off the event loop: each call in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

__all__ = ["called", "in_own_thread"]

R = TypeVar("R")


async def called(function: Callable[..., Any], parameters: Mapping[str, object]) -> Any:  # the function's own result
    """The result of an async function, or of a sync one, which runs in a thread of its own."""
    if inspect.iscoroutinefunction(function):
        return await function(**parameters)
    result = await in_own_thread(partial(function, **parameters))
    return await result if inspect.isawaitable(result) else result


async def in_own_thread(call: Callable[[], R]) -> R:
    """Run a call in a thread of its own: functions that call each other could wait for a place in a pool forever."""
    outcome: Future[R] = Future()
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(_settle, outcome, call), name="storycore-cached", daemon=True).start()
    return await asyncio.wrap_future(outcome)


def _settle(outcome: Future[R], call: Callable[[], R]) -> None:
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        outcome.set_result(call())
    except StopIteration as exc:  # which no future can hold
        outcome.set_exception(RuntimeError(f"The loading function raised {exc!r}."))
    except BaseException as exc:  # belongs to the caller
        outcome.set_exception(exc)
