"""How a value stands on the server: when it ends on storycore's clock, in 17 characters, then the bytes.

The server's own expiry only takes away what nobody asks for any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

__all__ = ["HEADER_BYTES", "header", "is_live", "milliseconds", "one_opened", "opened", "stamp"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST = 10**16
"""A one and sixteen digits."""
_MILLISECOND = timedelta(milliseconds=1)

HEADER_BYTES = 17
"""A ``1`` for this layout, and sixteen digits of microseconds since 1970."""


def stamp(moment: datetime) -> int:
    """A moment in microseconds since 1970."""
    since = moment - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def header(until: int) -> bytes:
    """The beginning of a value that lives until then; headers compare like their moments."""
    return b"%d" % (_LEAST + until)


def is_live(head: bytes, now: bytes) -> bool:
    """Whether a value with this beginning lives; ``now`` is the header of the present."""
    head = head[:HEADER_BYTES]
    return now < head < b"2" and len(head) == HEADER_BYTES and head.isdigit()


def one_opened(data: bytes | None, now: int) -> bytes | None:
    """The value if it lives at a moment; ``None`` if there is none, it has ended, or the bytes are not ours."""
    if data is not None and header(now + 1) <= data < b"2" and len(data) >= HEADER_BYTES:
        return data[HEADER_BYTES:] if data[:HEADER_BYTES].isdigit() else None
    return None


def opened(found: Sequence[bytes | None], now: int) -> list[bytes | None]:
    """The same for several, without a call for each."""
    least = header(now + 1)  # bytes compare like their beginnings
    return [
        data[HEADER_BYTES:]
        if data is not None and least <= data < b"2" and len(data) >= HEADER_BYTES and data[:HEADER_BYTES].isdigit()
        else None
        for data in found
    ]


def milliseconds(duration: timedelta) -> int:
    """A duration for the server, rounded up."""
    return -(-duration // _MILLISECOND)
