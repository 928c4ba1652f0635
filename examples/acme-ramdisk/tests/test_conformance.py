"""The adapter keeps every promise of the port."""

from __future__ import annotations

from storycore.testing.cache import CacheSuite


class TestRamdiskCache(CacheSuite):
    """All of the kit's tests, on this adapter."""

    adapter = "ramdisk"
