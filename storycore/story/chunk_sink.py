"""What ingestion cuts, kept as contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import ValidationError

from storycore.entities.codec import problems
from storycore.errors import InvalidArgument
from storycore.story.contents import Contents
from storycore.story.models import Content

__all__ = ["ContentSink", "Piece"]


class Piece(Protocol):
    """A piece of a document as ingestion describes it; its vector has the same id."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def source_type(self) -> str: ...
    @property
    def section(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def ordinal(self) -> int: ...


class ContentSink:
    """Keeps every ingested piece as a content, whose id is the piece's.

    Args:
        contents: where they go.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    async def save(self, chunks: Sequence[Piece]) -> None:
        """Replace or add; the same pieces may come again, and of one id in a call the last counts.

        Raises:
            InvalidArgument: a piece cannot be a content.
            PartialFailure: some could not be stored, the others are.
        """
        latest = {chunk.id: chunk for chunk in chunks}
        await self._contents.save_batch([_content(chunk) for chunk in latest.values()])

    async def delete(self, ids: Sequence[str]) -> None:
        """Remove; unknown ids are no error."""
        await self._contents.repository.delete_batch(dict.fromkeys(ids))


def _content(piece: Piece) -> Content:
    try:
        return Content(
            content_id=piece.id,
            source=piece.source,
            title=piece.title,
            content_type=piece.content_type,
            source_type=piece.source_type,
            section=piece.section,
            text=piece.text,
            start=piece.start,
            end=piece.end,
            ordinal=piece.ordinal,
            embedding_id=piece.id,
        )
    except ValidationError as exc:
        raise InvalidArgument(f"A piece of {piece.source!r} cannot be kept: {problems(exc)}.") from exc
