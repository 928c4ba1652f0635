"""Trials of the kit itself: does a test of a suite fail over a store that is faulty on purpose?"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from storycore.layers.checks import checked
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

__all__ = ["Factory", "attempt", "demand_caught", "examples", "failure"]

Factory: TypeAlias = Callable[[Environment], Any]  # makes a store of whichever port is on trial


@dataclass
class _Trial(Harness):
    """A harness that makes the store on trial instead of an adapter's."""

    factory: Factory = field(kw_only=True)

    def make(self, **overrides: object) -> Any:
        """The store on trial behind its checks."""
        return checked(self.port, self.factory(self.env))

    def fresh(self) -> Harness:
        """Another empty place with a clock of its own."""
        path = super().fresh().path
        return _Trial(self.port, self.adapter, self.options, path, factory=self.factory)


async def failure(suite: type[Any], port: PortName, test: str, factory: Factory, path: Path) -> str | None:
    """Run all examples of one test over stores from ``factory``, up to the first that fails.

    Args:
        suite: the kit's suite.
        port: which port it tests.
        test: the name of the test.
        factory: makes the store from an environment, not yet open.
        path: an empty directory.

    Returns:
        What failed, or ``None`` when every example passed or was skipped.
    """
    trial = type("Trial", (suite,), {"adapter": "memory"})()
    method = getattr(trial, test)
    for number, arguments in enumerate(examples(method)):
        place = path / f"example{number}"
        place.mkdir()
        harness = _Trial(port, "memory", {}, place, factory=factory)
        problem = await attempt(method, harness, arguments)
        if problem is not None:
            return f"{test}{arguments or ''}: {problem}"
    return None


async def demand_caught(
    suite: type[Any], port: PortName, test: str, faulty: Factory, sound: Factory, path: Path
) -> None:
    """Raise ``AssertionError`` unless one test fails over the faulty store and passes over the sound one."""
    for name in ("faulty", "sound"):
        (path / name).mkdir()
    assert await failure(suite, port, test, faulty, path / "faulty") is not None, f"{test} does not see the fault"
    problem = await failure(suite, port, test, sound, path / "sound")
    assert problem is None, f"the sound store fails as well: {problem}"


async def attempt(method: Callable[..., Any], harness: Harness, arguments: dict[str, Any]) -> str | None:
    """Run one example of a test in ``harness``'s place: what failed, or ``None`` when it passed or was skipped."""
    wanted = inspect.signature(method).parameters
    given = dict(arguments)
    if "harness" in wanted:
        given["harness"] = harness
    store = await harness.started() if "store" in wanted else None
    if store is not None:
        given["store"] = store
    try:
        await method(**given)
    except pytest.skip.Exception:
        return None
    except (Exception, pytest.fail.Exception) as exc:  # whatever a faulty store provokes is a failure
        return f"{type(exc).__name__}: {exc}"
    finally:
        if store is not None:
            await store.close()
    return None


def examples(method: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The arguments of each example, as ``pytest.mark.parametrize`` multiplies them."""
    marks = [mark for mark in getattr(method, "pytestmark", ()) if mark.name == "parametrize"]
    for chosen in itertools.product(*(mark.args[1] for mark in marks)):
        arguments: dict[str, Any] = {}
        for mark, value in zip(marks, chosen, strict=True):
            names = [name.strip() for name in mark.args[0].split(",")]
            arguments |= dict(zip(names, value if len(names) > 1 else [value], strict=True))
        yield arguments
