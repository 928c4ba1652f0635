"""Run single tests of a suite by hand: how the kit itself is tested on stores that are known to be faulty."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

__all__ = ["verdict"]


async def verdict(suite: type, test: str, port: PortName, adapter: str | Adapter, path: Path) -> str | None:
    """How a test of ``suite`` fails on ``adapter``, with all its parameters in turn; ``None`` when it passes.

    Args:
        suite: a port's suite.
        test: the name of an asynchronous test whose fixtures are among ``harness`` and ``store``.
        path: an empty directory.
    """
    place = Harness(port, adapter, {}, path)
    for parameters in _parameters(getattr(suite, test)):
        failure = await _failure(getattr(suite(), test), place.fresh(), parameters)
        if failure is not None:
            return failure
    return None


async def _failure(test: Any, harness: Harness, parameters: dict[str, Any]) -> str | None:  # any test method
    given: dict[str, Any] = {"harness": harness, **parameters}
    wanted = inspect.signature(test).parameters
    store = await harness.started() if "store" in wanted else None
    try:
        await test(**{name: store if name == "store" else given[name] for name in wanted})
    except (Exception, pytest.fail.Exception) as exc:
        return f"{type(exc).__name__}: {exc}"
    finally:
        if store is not None:
            await store.close()
    return None


def _parameters(test: Any) -> Iterator[dict[str, Any]]:  # any test method
    """Every combination of the values that ``pytest.mark.parametrize`` gives a test."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    names = [mark.args[0] for mark in marks]
    for values in itertools.product(*(mark.args[1] for mark in marks)):
        yield dict(zip(names, values, strict=True))
