"""How large the metadata of an item may be: checked before a write, and inside one where metadata is merged."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from storycore.errors import InvalidArgument, TooLarge
from storycore.ports.filters import MetadataValue

__all__ = ["MAX_METADATA", "check_size"]

MAX_METADATA = 40_960
"""Bytes of an item's metadata as compact JSON (Pinecone: metadata per record)."""


def check_size(metadata: Mapping[str, MetadataValue], *, of: str) -> None:
    """Raise ``TooLarge`` when the metadata has more than 40 960 bytes as compact JSON.

    Args:
        metadata: as it will be stored.
        of: names what has it in errors, for example ``"item 'a'"``.

    Raises:
        TooLarge: it is too large; the error's ``breakdown`` has the bytes of each field.
        InvalidArgument: a text in it is not valid Unicode.
    """
    size = _json_bytes(metadata, of)
    if size > MAX_METADATA:
        sizes = sorted(((_json_bytes({k: v}, of) - 2, k) for k, v in metadata.items()), reverse=True)
        raise TooLarge(
            f"The metadata of {of} has {size} bytes as JSON; the limit is {MAX_METADATA}. "
            "Keep large texts in the entity or blob store and only their key here.",
            limit=MAX_METADATA,
            actual=size,
            breakdown={key: bytes_ for bytes_, key in sizes},
        )


def _json_bytes(metadata: Mapping[str, MetadataValue], of: str) -> int:
    try:
        return len(orjson.dumps(metadata))
    except (TypeError, ValueError) as exc:
        raise InvalidArgument(f"The metadata of {of} holds a text that is not valid Unicode.") from exc
