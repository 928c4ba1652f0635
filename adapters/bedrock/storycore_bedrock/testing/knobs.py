"""The knobs of a running emulator: refusals on order, slowness, and what it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import orjson

__all__ = ["Knobs"]


class Knobs:
    """Turns the knobs of the emulator that ``server`` has started; calls block for a moment.

    Args:
        settings: as the server gave them.
    """

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._address = str(urlsplit(str(settings["endpoint_url"])).netloc)

    def refuse(
        self,
        code: str,
        *,
        times: int = 1,
        status: int = 400,
        message: str = "on order",
        retry_after: float | None = None,
    ) -> None:
        """Let the next requests be refused.

        Args:
            code: of the error, for example ``"ThrottlingException"``.
            times: how many requests.
            status: of the answer.
            message: that the error tells.
            retry_after: seconds, as the header of that name.
        """
        refusal = {"code": code, "status": status, "message": message, "retry_after": retry_after}
        self._ask({"refuse": [refusal] * times})

    def answer(self, body: str, *, times: int = 1) -> None:
        """Let the next requests be answered with this body, whatever they ask."""
        self._ask({"answer": [body] * times})

    def pages_of(self, size: int | None) -> None:
        """Let reranking tell at most so many results at once; ``None``: all."""
        self._ask({"page": size})

    def seen(self) -> list[dict[str, Any]]:
        """The bodies of the requests since this was last asked, each with its ``path``."""
        found: list[dict[str, Any]] = self._ask({"tell": True})["seen"]
        return found

    def _ask(self, order: Mapping[str, object]) -> Any:  # JSON of the emulator
        connection = HTTPConnection(self._address, timeout=10)
        try:
            connection.request("POST", "/_knobs", orjson.dumps(order))
            return orjson.loads(connection.getresponse().read())
        finally:
            connection.close()
