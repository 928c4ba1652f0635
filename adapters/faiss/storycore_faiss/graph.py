"""Graph: placeholder."""

from __future__ import annotations

from storycore_faiss.flat import Floats, RowNumbers

__all__ = ["Graph"]


class Graph:
    def __len__(self) -> int:
        return 0

    def nearest(self, target: Floats, fetch: int) -> RowNumbers:
        raise NotImplementedError
