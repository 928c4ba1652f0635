"""What lies around a cached payload in the shared tier, so that anything damaged, foreign or outdated is a miss.

Layout, big endian: format byte, flags, schema hash (8 bytes), stored at and fresh until (microseconds since 1970),
number of tags, one version per tag, payload, digest of key and everything before (8 bytes). The digest finds damage
and mixed-up entries; it is no signature. The schema's hash is in here and not in the key, so that an invalidation
also reaches what another release of the application stored.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

__all__ = ["Envelope", "micros", "moment", "open_envelope"]

_FORMAT = 1
_ABSENT = 1
_HEAD = struct.Struct(">BB8sqqH")
_DIGEST_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with what decides whether it may still be used.

    Args:
        schema: 8 bytes that stand for the shape of the value.
        stored_at: when it was loaded, microseconds since 1970.
        fresh_until: from this instant on it is at best a stand-in for a failing load.
        versions: of the entry's tags, read before the load began.
        absent: a remembered "there is nothing"; the payload is empty.
        payload: the encoded value.
    """

    schema: bytes
    stored_at: int
    fresh_until: int
    versions: Sequence[int] = ()
    absent: bool = False
    payload: bytes = b""

    def seal(self, key: str) -> bytes:
        """The bytes to store under ``key``."""
        flags = _ABSENT if self.absent else 0
        head = _HEAD.pack(_FORMAT, flags, self.schema, self.stored_at, self.fresh_until, len(self.versions))
        body = head + struct.pack(f">{len(self.versions)}Q", *self.versions) + self.payload
        return body + _digest(key, body)


def open_envelope(key: str, sealed: bytes, schema: bytes) -> Envelope | None:
    """What ``seal`` wrote for this key and schema; ``None`` for any other bytes."""
    body, digest = sealed[:-_DIGEST_BYTES], sealed[-_DIGEST_BYTES:]
    if len(body) < _HEAD.size or digest != _digest(key, body):
        return None
    form, flags, found, stored_at, fresh_until, tags = _HEAD.unpack_from(body)
    start = _HEAD.size + 8 * tags
    if form != _FORMAT or found != schema or len(body) < start:
        return None
    return Envelope(
        schema=schema,
        stored_at=stored_at,
        fresh_until=fresh_until,
        versions=struct.unpack_from(f">{tags}Q", body, _HEAD.size),
        absent=bool(flags & _ABSENT),
        payload=body[start:],
    )


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """The inverse of ``micros``."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _digest(key: str, body: bytes) -> bytes:
    digest = blake2b(key.encode(), digest_size=_DIGEST_BYTES)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
