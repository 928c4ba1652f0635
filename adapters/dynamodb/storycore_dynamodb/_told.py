"""What a stream's records tell: a plain function from the service's images to changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from storycore.errors import NotProvisioned
from storycore.ports.conditions import Version
from storycore.ports.entities import Action, Change, FeedPosition
from storycore.ports.instants import moment
from storycore_dynamodb._wire import Item, is_record, key_of, number_of, record_of

__all__ = ["GONE", "change_of"]

GONE: Final = "_gone"
"""The attribute with which a sweep marks an expired item before it removes it."""

_SERVICE: Final = "dynamodb.amazonaws.com"


def change_of(told: Mapping[str, Any], position: FeedPosition) -> Change | None:
    """The change that a record of the stream tells; ``None`` for what happens to the adapter's own items and marks.

    Raises:
        NotProvisioned: the stream does not carry both images.
        Corrupt: an image is not one that this adapter writes.
    """
    data = told["dynamodb"]
    removed = told["eventName"] == "REMOVE"
    image: Item | None = data.get("OldImage" if removed else "NewImage")
    if image is None:
        raise NotProvisioned(
            f"The stream carries {data.get('StreamViewType')}, not both images; turn it off and let ensure() make it."
        )
    if not is_record(image) or (GONE in image and not removed):
        return None
    return _removal(told, image, position) if removed else _put(image, position)


def _put(image: Item, position: FeedPosition) -> Change:
    record = record_of(image)
    return Change(
        position=position,
        at=moment(number_of(image["_at"])),
        action=Action.PUT,
        key=record.key,
        kind=record.kind,
        version=record.version,
        record=record,
    )


def _removal(told: Mapping[str, Any], image: Item, position: FeedPosition) -> Change:
    by_service = told.get("userIdentity", {}).get("PrincipalId") == _SERVICE
    return Change(
        position=position,
        at=_noticed(told["dynamodb"].get("ApproximateCreationDateTime", 0)),
        action=Action.EXPIRE if by_service or GONE in image else Action.DELETE,
        key=key_of(image),
        kind=image["_k"]["S"],
        version=Version(number_of(image["_v"])),
    )


def _noticed(at: datetime | float) -> datetime:
    """When the service noticed it; boto3 gives a datetime, the wire has seconds."""
    return at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
