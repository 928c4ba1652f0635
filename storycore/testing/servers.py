"""The servers that adapters bring for tests: one of each for a whole run of pytest, started when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from storycore.plugins import Adapter, Plugins

__all__ = ["served"]

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


def _started(spec: Adapter, config: pytest.Config) -> _Settings | Exception:
    stack = ExitStack()
    try:
        settings = stack.enter_context(spec.serving())
    except Exception as exc:  # whatever a plugin raises: every test that needs the server has to tell it
        return exc
    config.add_cleanup(stack.close)
    return settings
