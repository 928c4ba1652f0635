"""The cache of storycore on disk, through diskcache."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_diskcache.config import DiskcacheConfig

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for the cache."""
    return [
        Adapter(
            name="diskcache",
            ports={PortName.CACHE: "storycore_diskcache.cache:open_cache"},
            config=DiskcacheConfig,
            distribution="storycore-diskcache",
            summary="A cache in one directory, shared by the processes of one machine; never unpickles.",
            conformance={"path": "{path}/cache"},
        )
    ]
