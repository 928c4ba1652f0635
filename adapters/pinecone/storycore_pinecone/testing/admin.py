"""What a test tells the emulator while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import orjson

from storycore.errors import ConfigError

__all__ = ["Admin"]


class Admin:
    """The emulator's own calls, under ``/_admin``.

    Args:
        settings: what ``server`` yields.
    """

    def __init__(self, settings: Mapping[str, object]) -> None:
        parts = urlsplit(str(settings["endpoint_url"]))
        self._host, self._port = str(parts.hostname), int(parts.port or 0)
        self._headers = {"api-key": str(settings["api_key"])}

    def turn(self, **knobs: object) -> None:
        """Turn knobs; see ``emulator.knobs.Knobs``.

        Raises:
            ConfigError: there is no such knob, or it cannot be turned there.
        """
        self._call("POST", "knobs", knobs)

    def fail(self, operation: str = "*", **fault: object) -> None:
        """Order that calls fail; see ``emulator.faults.Fault``.

        Args:
            operation: of the call: ``upsert``, ``update``, ``delete``, ``query``, ``fetch``, ``fetch_by_metadata``,
                ``list``, ``stats``, ``create_namespace``, ``describe_namespace``, ``list_namespaces``,
                ``delete_namespace``, ``create_index``, ``describe_index``, ``list_indexes``, ``configure_index``,
                ``delete_index``; ``*``: each.
            fault: how.

        Raises:
            ConfigError: that is no fault.
        """
        self._call("POST", "faults", {"operation": operation, **fault})

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._call("DELETE", "faults")

    def calls(self, operation: str | None = None) -> list[dict[str, Any]]:  # of the wire, as it was noted
        """The last 1 000 calls, the oldest first: ``operation``, ``index``, ``namespace``, ``ids``, ``bytes``, and
        ``status``, 0 for a connection that was cut.

        Args:
            operation: only calls of this one; ``None``: all.
        """
        found: list[dict[str, Any]] = self._call("GET", "calls")["calls"]
        return [call for call in found if operation in (None, call["operation"])]

    def forget_calls(self) -> None:
        """Forget the calls until now."""
        self._call("DELETE", "calls")

    def settle(self) -> None:
        """Let reads see every write, and let indexes be ready or gone."""
        self._call("POST", "settle")

    def reset(self) -> None:
        """Forget all indexes, faults and calls, and turn the knobs back to where they were at the start."""
        self._call("POST", "reset")

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # JSON
        connection = HTTPConnection(self._host, self._port, timeout=30)
        try:
            connection.request(method, f"/_admin/{path}", orjson.dumps(body) if body else None, self._headers)
            answer = connection.getresponse()
            found = orjson.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ConfigError(f"The local Pinecone refuses {method} {path}: {found['error']['message']}")
        return found
