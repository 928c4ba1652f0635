"""Moments as whole microseconds since 1970, the form in which they are stored and compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["micros", "moment"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    return (at - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """The inverse of ``micros``, in UTC."""
    return _EPOCH + microseconds * _MICROSECOND
