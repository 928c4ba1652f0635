"""Work on a store from other processes: to race with them, and to kill one in the middle of a write.

A piece of work is an importable function ``async def work(store, line, *args)``; it runs in a fresh interpreter with
the adapter open behind its checks, and talks to the test through ``line``: one JSON value a line, both ways.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from storycore.layers.checks import checked
from storycore.plugins import Plugins
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

__all__ = ["Child", "Line", "child"]

_PATIENCE_SECONDS: Final = 60
_START: Final = "from storycore.testing.processes import run; run()"


class Line:
    """The worker's end of the line."""

    def say(self, value: object) -> None:
        """Tell the test; returns once the test can read it."""
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    def hear(self) -> Any:  # whatever JSON value the test says
        """Wait for the test's next value."""
        return json.loads(sys.stdin.readline())


class Child:
    """The test's end of the line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def say(self, value: object) -> None:
        """Tell the worker."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")

    async def hear(self) -> Any:  # whatever JSON value the worker says
        """Wait for the worker's next value; ``None`` when it has ended."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE_SECONDS)
        return json.loads(line) if line else None

    async def kill(self) -> None:
        """End the worker at once, as a crash would."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def child(harness: Harness, work: str, *args: object) -> AsyncIterator[Child]:
    """Run ``work`` ("module:function") in another process on the harness's place; kill it at the end."""
    config = harness.spec.config_for(harness.port)
    task = {
        "port": harness.port,
        "opener": harness.spec.ports[harness.port],
        "config": f"{config.__module__}:{config.__qualname__}",
        "settings": harness.settings(),
        "plugin": harness.adapter if isinstance(harness.adapter, str) else None,
        "work": work,
        "args": args,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _START,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(Path.cwd())])},
    )
    worker = Child(process)
    try:
        worker.say(task)
        yield worker
    finally:
        await worker.kill()
        await _drain(process)


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read to the end and close, so that no transport is left to the garbage collector."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    await process.stdout.read()


def run() -> None:
    """The worker's main function: read the task from the line and do it."""
    line = Line()
    asyncio.run(_run(line, line.hear()))


async def _run(line: Line, task: dict[str, Any]) -> None:  # the task is JSON
    if task["plugin"] is not None:
        Plugins().adapter(task["plugin"])
    config = _named(task["config"]).model_validate(task["settings"])
    adapter = _named(task["opener"])(config, Environment())
    async with checked(PortName(task["port"]), adapter) as store:
        await _named(task["work"])(store, line, *task["args"])


def _named(reference: str) -> Any:  # a function or class of any module
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
