"""Credentials of botocore's chain for who signs by himself: renewed in a thread, in time, once for all who wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from storycore_dynamodb._signing import Keys

__all__ = ["KeyRing"]

_LOOK_SECONDS: Final = 30.0
"""How often credentials that expire are looked at; botocore renews them minutes before."""

_URGENT_SECONDS: Final = 90.0
"""Credentials that end earlier are not signed with any more."""


class KeyRing:
    """The credentials of the moment.

    Args:
        credentials: botocore's object for them, which renews them where they expire.
        run: does blocking work in a thread.
        now: seconds since 1970.
    """

    def __init__(
        self,
        credentials: Any,  # one of several classes of botocore
        run: Callable[[Callable[[], Any]], Awaitable[Any]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._run = run
        self._now = now
        self._expires = hasattr(credentials, "refresh_needed")
        self._keys: Keys | None = None
        self._looked_at = 0.0
        self._renewal: asyncio.Task[Keys] | None = None

    @property
    def fresh(self) -> Keys | None:
        """The credentials, unless it is time to look at them."""
        if self._expires and not 0 <= self._now() - self._looked_at < _LOOK_SECONDS:
            return None
        return self._keys

    async def renewed(self) -> Keys:
        """The credentials after a look at them; waits only where those at hand are about to end.

        Raises:
            Refused: there are none, or they could not be renewed.
        """
        self._looked_at = self._now()
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(_heard)
        if self._expires and self._credentials.refresh_needed(_URGENT_SECONDS):
            self._keys = None
        if self._keys is not None:
            return self._keys
        return await asyncio.shield(self._renewal)

    async def _renew(self) -> Keys:
        found = await self._run(self._credentials.get_frozen_credentials)
        keys = Keys(found.access_key, found.secret_key, found.token)
        if self._keys is None or keys != self._keys:  # the same object stays: what is derived from it is kept
            self._keys = keys
        return self._keys


def _heard(renewal: asyncio.Task[Keys]) -> None:
    """A renewal that fails while the credentials still last is tried again at the next look."""
    if not renewal.cancelled():
        renewal.exception()
