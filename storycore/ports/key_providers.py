"""Key providers: who can seal the key of a backup, and open it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["KeyProvider"]


class KeyProvider(Protocol):
    """Seals keys with one that it alone has: a passphrase's, a file's, a key management service's.

    Promised by every provider: what ``wrap`` gave, ``unwrap`` opens with the same context and no other, and nobody
    without the provider's key can.
    """

    @property
    def identity(self) -> str:
        """Which key this is, for people and for errors: never the key. Does no I/O and never raises."""
        ...

    async def wrap(self, key: bytes, *, context: Mapping[str, str]) -> bytes:
        """Seal a key of 32 bytes.

        Args:
            context: bound to the result; not secret.
        """
        ...

    async def unwrap(self, wrapped: bytes, *, context: Mapping[str, str]) -> bytes:
        """Open what ``wrap`` gave.

        Raises:
            AccessDenied: it was sealed with another key, or for another context, or was changed.
        """
        ...
