"""Assembling: from a profile and a store's ports to its pipeline of documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import BaseModel

from storycore.ingestion.documents import ChunkSink
from storycore.ingestion.pipeline import Pipeline
from storycore.plugins import Plugins
from storycore.ports.embeddings import Embedder
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Port, PortName
from storycore.ports.vectors import VectorIndex
from storycore.profiles import Profile, resolve

__all__ = ["assembled"]


def assembled(
    profile: Profile,
    plugins: Plugins,
    env: Environment,
    ports: Mapping[PortName, Port],
    configs: Mapping[PortName, BaseModel],
    chunk_sink: ChunkSink,
) -> Pipeline:
    """The pipeline of a store.

    Args:
        ports: the store's.
        configs: the settings of their adapters.
        chunk_sink: keeps what was cut.

    Raises:
        ConfigError: a setting cannot be used.
    """
    return Pipeline(
        entities=cast(EntityStore, ports[PortName.ENTITIES]),
        vectors=cast(VectorIndex, ports[PortName.VECTORS]),
        embedder=cast(Embedder, ports[PortName.EMBEDDER]),
        env=env,
        name=profile.namespace,
        namespace=profile.namespace,
        chunk_sink=chunk_sink,
        chunkers={kind: chunker for given in plugins.hook.storycore_chunkers() for kind, chunker in given.items()},
        own=_own_paths(profile, plugins, configs),
    )


def _own_paths(profile: Profile, plugins: Plugins, configs: Mapping[PortName, BaseModel]) -> list[Path]:
    """What is on this machine's disk and no document, the keys before all."""
    more = [each.blobs for each in (profile.backup, profile.audit) if each.blobs is not None]
    own = [resolve(blobs, plugins.adapter(blobs.adapter), PortName.BLOBS, plugins=plugins) for blobs in more]
    paths = [path for config in (*configs.values(), *own) for _, path in config if isinstance(path, Path)]
    return [*paths, profile.backup_key_file, profile.audit_key_file]
