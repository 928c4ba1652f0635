"""The servers that adapters bring for tests: one of each for a whole run of pytest, started when it is first needed."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

from storycore.plugins import Adapter, Plugins

__all__ = ["OWN", "divergence", "served"]

OWN = "own"
"""Stands for the server that an adapter brings."""

_Settings = Mapping[str, object]
_RUNNING = pytest.StashKey[dict[str, _Settings | Exception]]()


def served(adapter: str | Adapter, config: pytest.Config) -> Mapping[str, object]:
    """The settings with which an adapter reaches the server that it brings; empty when it brings none.

    The server runs until pytest ends. One that cannot be started is tried once; its error is raised each time.

    Args:
        adapter: an adapter, or the name of an installed one.
        config: of the run, ``request.config`` in a fixture.
    """
    spec = adapter if isinstance(adapter, Adapter) else Plugins().adapter(adapter)
    if spec.server is None:
        return {}
    running = config.stash.setdefault(_RUNNING, {})
    if spec.server not in running:
        running[spec.server] = _started(spec, config)
    found = running[spec.server]
    if isinstance(found, Exception):
        raise found
    return found


def divergence(adapter: str | Adapter, names: Collection[str], *, emulator: str = OWN) -> str | None:
    """What a server is known to do differently from its service in a test; ``None``: nothing.

    It is told by ``divergences.toml`` beside the module of the adapter's server: ``server`` names the one that the
    adapter brings, and each ``[[divergence]]`` has ``emulator``, ``version``, ``test``, ``differs`` and ``reason``.

    Args:
        adapter: an adapter, or the name of an installed one.
        names: of the test, with and without its parameter.
        emulator: which server; ``OWN``: the one that the adapter brings.
    """
    spec = adapter if isinstance(adapter, Adapter) else Plugins().adapter(adapter)
    if spec.server is None:
        return None
    file = Path(str(import_module(spec.server.partition(":")[0]).__file__)).with_name("divergences.toml")
    known = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    wanted = known.get("server", "") if emulator == OWN else emulator
    rows = [row for row in known.get("divergence", []) if row["emulator"] == wanted and row["test"] in names]
    return f"{wanted} {rows[0]['version']}: {rows[0]['differs']}" if rows else None


def _started(spec: Adapter, config: pytest.Config) -> _Settings | Exception:
    stack = ExitStack()
    try:
        settings = stack.enter_context(spec.serving())
    except Exception as exc:  # whatever a plugin raises: every test that needs the server has to tell it
        return exc
    config.add_cleanup(stack.close)
    return settings
