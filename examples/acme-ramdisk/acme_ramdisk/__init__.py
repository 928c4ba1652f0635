"""The plugin: says what there is. It must stay light, so the adapter itself is named, not imported."""

from __future__ import annotations

from acme_ramdisk.config import RamdiskConfig
from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for one port."""
    return [
        Adapter(
            name="ramdisk",
            ports={PortName.CACHE: "acme_ramdisk.cache:open_cache"},
            config=RamdiskConfig,
            url_path="",
            distribution="acme-ramdisk",
            summary="A cache in this process's memory.",
        )
    ]
