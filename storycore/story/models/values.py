"""The small types that all models of the domain share: ids, labels, and the present."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, AwareDatetime, StringConstraints

__all__ = ["Id", "Label", "Moment", "Tags", "new_id", "now"]


def new_id() -> str:
    """A fresh unique id of 32 hex digits."""
    return uuid.uuid4().hex


def now() -> datetime:
    """The present as an aware UTC datetime, where a model is made outside a store."""
    return datetime.now(UTC)


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Id: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""1 to 200 characters."""

Label: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
"""A short name without spaces around it."""

Moment: TypeAlias = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""An aware datetime, kept in UTC."""

Tags: TypeAlias = set[Label]
"""Labels without order."""
