"""Metadata in memory: what is short is kept as JSON by row, so that a match needs nothing from the file."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

__all__ = ["MetadataRows"]


class MetadataRows:
    """The JSON of each row's metadata, one behind the other; what is longer than a limit stays in the truth.

    Rows are only added. One thread adds at a time; others ask for the rows that they were told of.

    Args:
        longest: so many bytes of a row are kept.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._texts = bytearray()
        self._ends = array("Q", [0])
        self.whole = True
        """Whether nothing was too long."""

    def extend(self, blobs: Sequence[bytes]) -> None:
        """Keep the metadata of new rows; SQLite lets a hand put text where bytes belong, and that stays there too."""
        end, ends = self._ends[-1], array("Q")
        kept = [blob if len(blob) <= self._longest and isinstance(blob, bytes) else b"" for blob in blobs]
        for blob in kept:
            end += len(blob)
            ends.append(end)
        self.whole = self.whole and all(kept)
        self._texts += b"".join(kept)
        self._ends += ends

    def __getitem__(self, row: int) -> bytes:
        """The JSON of a row; empty when it was too long."""
        return bytes(self._texts[self._ends[row] : self._ends[row + 1]])
