"""What lies around a cached payload in the shared tier, so that anything damaged, foreign or outdated is a miss.

Layout, big endian: format byte, flags, schema hash (8 bytes), stored at and fresh until (microseconds since 1970), how
long the load took (microseconds), number of tags, one version per tag, payload, digest of key and everything before.
A flag says whether the payload is compressed; the digest is of what is stored, so nothing forged is ever expanded.
Without a secret the digest has 8 bytes, finds damage and mixed-up entries, and is no signature; with one it has 32 and
is. The schema's hash is in here and not in the key, so that an invalidation also reaches what another release of the
application stored.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from hmac import compare_digest

from storycore.caching.compression import Zstd, expanded
from storycore.ports.instants import micros

__all__ = ["Envelope", "open_envelope", "secret_of"]

_FORMAT = 2
_ABSENT = 1
_COMPRESSED = 2
_HEAD = struct.Struct(">BB8sqqQH")
_DIGEST_BYTES = 8
_SIGNATURE_BYTES = 32
_LAST_MOMENT = micros(datetime.max.replace(tzinfo=UTC))
"""What is later than that is no moment; whoever forges it may not fail a reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with what decides whether it may still be used.

    Args:
        schema: 8 bytes that stand for the shape of the value.
        stored_at: when it was loaded, microseconds since 1970.
        fresh_until: from this instant on it is at best a stand-in for a failing load.
        cost: how long the load took, microseconds.
        versions: of the entry's tags, read before the load began.
        absent: a remembered "there is nothing"; the payload is empty.
        payload: the encoded value.
    """

    schema: bytes
    stored_at: int
    fresh_until: int
    cost: int = 0
    versions: Sequence[int] = ()
    absent: bool = False
    payload: bytes = b""

    def seal(self, key: str, secret: bytes = b"", compress: Zstd | None = None) -> bytes:
        """The bytes to store under ``key``; with a ``secret``, signed; with ``compress``, smaller where that helps."""
        squeezed = compress.squeezed(self.payload) if compress is not None else None
        flags = (_ABSENT if self.absent else 0) | (_COMPRESSED if squeezed is not None else 0)
        times = (self.stored_at, self.fresh_until, self.cost)
        head = _HEAD.pack(_FORMAT, flags, self.schema, *times, len(self.versions))
        body = (
            head
            + struct.pack(f">{len(self.versions)}Q", *self.versions)
            + (self.payload if squeezed is None else squeezed)
        )
        return body + _digest(key, body, secret)


def open_envelope(
    key: str, sealed: bytes, schema: bytes | None = None, secrets: Sequence[bytes] = (b"",)
) -> Envelope | None:
    """What ``seal`` wrote for this key; ``None`` for any other bytes.

    Args:
        schema: the only one that will do; ``None``: any.
        secrets: one of which has to be that of ``seal``.
    """
    body = _genuine(key, sealed, secrets)
    if body is None or len(body) < _HEAD.size:
        return None
    form, flags, found, stored_at, fresh_until, cost, tags = _HEAD.unpack_from(body)
    start = _HEAD.size + 8 * tags
    if not (0 <= stored_at <= _LAST_MOMENT and 0 <= fresh_until <= _LAST_MOMENT):
        return None
    if form != _FORMAT or (schema is not None and found != schema) or len(body) < start:
        return None
    payload = expanded(body[start:]) if flags & _COMPRESSED else body[start:]
    if payload is None:
        return None
    return Envelope(
        schema=found,
        stored_at=stored_at,
        fresh_until=fresh_until,
        cost=cost,
        versions=struct.unpack_from(f">{tags}Q", body, _HEAD.size),
        absent=bool(flags & _ABSENT),
        payload=payload,
    )


def secret_of(phrase: str | bytes) -> bytes:
    """The secret that stands for a text or bytes of any length."""
    given = phrase.encode() if isinstance(phrase, str) else phrase
    return blake2b(given, person=b"storycore cache").digest()


def _genuine(key: str, sealed: bytes, secrets: Sequence[bytes]) -> bytes | None:
    """The body, if it was sealed for this key with one of the secrets."""
    for secret in secrets:
        size = _SIGNATURE_BYTES if secret else _DIGEST_BYTES
        body, digest = sealed[:-size], sealed[-size:]
        if compare_digest(digest, _digest(key, body, secret)):
            return body
    return None


def _digest(key: str, body: bytes, secret: bytes) -> bytes:
    digest = blake2b(key.encode(), digest_size=_SIGNATURE_BYTES if secret else _DIGEST_BYTES, key=secret)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
