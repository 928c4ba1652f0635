"""How good the kit is at finding faults: how many deliberately faulty stores each port's suite catches.

Each is the memory adapter with one seeded fault. All of them are caught on every run of storycore's own tests, which
also hold these numbers to the count.
"""

from __future__ import annotations

from collections.abc import Mapping

from storycore.ports.lifecycle import PortName

__all__ = ["FAULTY_STORES"]

FAULTY_STORES: Mapping[PortName, int] = {
    PortName.ENTITIES: 106,
    PortName.CACHE: 28,
    PortName.VECTORS: 103,
    PortName.BLOBS: 58,
    PortName.EVENTS: 31,
    PortName.EMBEDDER: 28,
    PortName.RERANKER: 24,
}
"""Port to the number of faulty stores that its suite catches, which is all that there are."""
