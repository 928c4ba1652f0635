"""Scratch stores: where a backup is restored to, only to see that it can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from storycore.backup.manifest import Manifest
from storycore.backup.sources import Source
from storycore.backup.sources.blobs import BlobSource
from storycore.backup.sources.entities import EntitySource
from storycore.backup.sources.events import EventSource
from storycore.backup.sources.vectors import VectorSource
from storycore.backup.verifying import Scratch
from storycore.layers.checks import checked
from storycore.layers.spilling import SpillingEntities
from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.events import EventSink
from storycore.ports.lifecycle import Port, PortName
from storycore.ports.vectors import VectorIndex

__all__ = ["LONG_BODIES", "scratch_with", "sources_of"]

_ON_DISK: Mapping[PortName, tuple[str, str]] = {
    PortName.ENTITIES: ("sqlite", "entities.db"),
    PortName.VECTORS: ("faiss", "vectors.db"),
    PortName.BLOBS: ("files", "blobs"),
    PortName.EVENTS: ("sqlite", "events.db"),
}
"""Port to the adapter that keeps it on this machine's disk, and where in the folder."""
_IN_RECORD_BYTES = 256 * 1024


class _LongBodies(dict[str, int | None]):
    """Thresholds for kinds of which nobody here knows the declaration."""

    def get(self, kind: str, default: object = None) -> int | None:
        """The longest body that stays in a record of any kind."""
        return _IN_RECORD_BYTES


LONG_BODIES: Mapping[str, int | None] = _LongBodies()
"""For a spilling layer that brings back records of any kind: a store takes none that is longer than 400 KB."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """A clock that stands at a moment."""

    at: datetime

    def now(self) -> datetime:
        """That moment."""
        return self.at


def scratch_with(plugins: Plugins) -> Scratch:
    """Opens scratch stores: on disk with the adapters that are installed, else in memory."""

    @asynccontextmanager
    async def opened(folder: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        env = Environment(clock=_Standing(manifest.as_of))
        names = {PortName(name) for name in manifest.ports} | {PortName.BLOBS}
        async with AsyncExitStack() as stack:
            ports: dict[PortName, Port] = {}
            for name in names:
                port = _port(plugins, name, folder, manifest, env)
                await port.ensure()
                ports[name] = await stack.enter_async_context(port)
            entities = ports.get(PortName.ENTITIES)
            if entities is not None:
                blobs = cast(BlobStore, ports[PortName.BLOBS])
                ports[PortName.ENTITIES] = SpillingEntities(cast(EntityStore, entities), blobs, env, LONG_BODIES)
            yield [source for source in sources_of(ports, env) if source.name in manifest.ports]

    return opened


def sources_of(
    ports: Mapping[PortName, Port], env: Environment, *, without: Callable[[], Sequence[str]] = tuple
) -> list[Source]:
    """The ports as backups see them, in the order in which they are restored.

    Args:
        ports: entities behind the layer that spills.
        without: beginnings of blobs' keys that are left out; asked when the blobs are in use.
    """
    made: dict[PortName, Callable[[Any], Source]] = {  # Any: each port's own type
        PortName.BLOBS: lambda port: BlobSource(port, env, without=without),
        PortName.ENTITIES: lambda port: EntitySource(port, env),
        PortName.VECTORS: lambda port: VectorSource(cast(VectorIndex, port), env),
        PortName.EVENTS: lambda port: EventSource(cast(EventSink, port), env),
    }
    return [make(ports[name]) for name, make in made.items() if name in ports]


def _port(plugins: Plugins, name: PortName, folder: Path, manifest: Manifest, env: Environment) -> Port:
    on_disk, file = _ON_DISK[name]
    is_installed = on_disk in plugins.names()
    adapter = plugins.adapter(on_disk if is_installed else "memory")
    options: dict[str, object] = {"path": folder / file} if is_installed else {}
    if name is PortName.VECTORS:
        options |= manifest.ports[name].facts
    port: Port = checked(name, adapter.opener(name)(adapter.config_for(name).model_validate(options), env))
    return port
