"""The limits of the ports, checked once for all adapters: what production refuses is refused on the laptop.

``checked`` wraps an adapter; the wrapper validates arguments and refuses unsupported features before any I/O.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from storycore.ports.lifecycle import PortName

__all__ = ["checked"]

_CHECKS = {
    PortName.ENTITIES: ("storycore.layers.checks.entities", "CheckedEntities"),
    PortName.CACHE: ("storycore.layers.checks.cache", "CheckedCache"),
    PortName.VECTORS: ("storycore.layers.checks.vectors", "CheckedVectors"),
    PortName.BLOBS: ("storycore.layers.checks.blobs", "CheckedBlobs"),
    PortName.EVENTS: ("storycore.layers.checks.events", "CheckedEvents"),
    PortName.EMBEDDER: ("storycore.layers.checks.embedder", "CheckedEmbedder"),
    PortName.RERANKER: ("storycore.layers.checks.reranker", "CheckedReranker"),
}


def checked(port: PortName, inner: Any) -> Any:  # same port in, same port out
    """Wrap an adapter of ``port`` in that port's checks. Imports only that port's module."""
    module, name = _CHECKS[port]
    return getattr(import_module(module), name)(inner)
