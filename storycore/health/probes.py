"""Probes: a read and a write of each port that leave nothing behind, as any application's own would go.

A port that only answers may still be read-only, full or forbidden. So each probe also does a write that changes
nothing: it removes what is not there. It takes no control call of a service, for those are few by the second and shared
by all processes of an account.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import cast

from storycore.errors import ConditionFailed, NotFound
from storycore.ports.blobs import BlobMatches, BlobStore, BlobVersion
from storycore.ports.cache import Cache
from storycore.ports.conditions import ANY
from storycore.ports.entities import Delete, EntityStore, Key
from storycore.ports.events import EventSink
from storycore.ports.lifecycle import Health, Port, PortName
from storycore.ports.vectors import VectorIndex

__all__ = ["ASKED_ONLY", "PROBES", "Probe"]

Probe = Callable[[Port, bool], Awaitable[Health]]
"""Takes an open port, and whether it may be written; raises a storycore error where the port does not serve."""

_NAME = "storycore-health-0c1f9a7e52"
"""What is asked for everywhere; a name that nobody gives, for what is there would be removed."""


async def _entities(port: Port, writes: bool) -> Health:
    store, key = cast(EntityStore, port), Key(_NAME, _NAME)
    await store.get([key])
    if writes:
        await store.write([Delete(key=key, when=ANY)])
    return Health(ok=True)


async def _cache(port: Port, writes: bool) -> Health:
    cache = cast(Cache, port)
    await cache.get([_NAME])
    if writes:
        await cache.invalidate([_NAME])
    return Health(ok=True)


async def _vectors(port: Port, writes: bool) -> Health:
    index = cast(VectorIndex, port)
    await index.fetch([_NAME], namespace=_NAME)
    if writes:
        await index.delete(ids=[_NAME], namespace=_NAME)
    return Health(ok=True)


async def _blobs(port: Port, writes: bool) -> Health:
    """The write is one that must be refused, for removing leaves a mark in a bucket that keeps revisions."""
    blobs = cast(BlobStore, port)
    await blobs.head(_NAME)
    if writes:
        with suppress(ConditionFailed, NotFound):
            await blobs.put(_NAME, b"", when=BlobMatches(BlobVersion(_NAME)))
    return Health(ok=True)


async def _events(port: Port, writes: bool) -> Health:
    """Reading alone: a log has no write that leaves nothing."""
    await cast(EventSink, port).read(limit=1)
    return Health(ok=True)


async def _own(port: Port, writes: bool) -> Health:
    """What the port itself says."""
    return await port.health()


ASKED_ONLY = frozenset({PortName.EMBEDDER, PortName.RERANKER})
"""Ports that keep nothing, and of which every use may have its price."""

PROBES: Mapping[PortName, Probe] = {
    PortName.ENTITIES: _entities,
    PortName.CACHE: _cache,
    PortName.VECTORS: _vectors,
    PortName.BLOBS: _blobs,
    PortName.EVENTS: _events,
    PortName.EMBEDDER: _own,
    PortName.RERANKER: _own,
}
