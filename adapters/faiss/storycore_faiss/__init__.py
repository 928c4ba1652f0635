"""The vector index of storycore on FAISS, with SQLite as the truth."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_faiss.config import FaissConfig

__all__ = ["FaissConfig", "storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """The vector index."""
    return [
        Adapter(
            name="faiss",
            ports={PortName.VECTORS: "storycore_faiss.vectors:open_vectors"},
            config=FaissConfig,
            distribution="storycore-faiss",
            summary="Vector search in one SQLite file, with FAISS and roaring bitmaps in memory.",
            conformance={"path": "{path}/vectors.db"},
        )
    ]
