"""Caching: memory in front of the Cache port, typed regions, a decorator, tags, statistics and warming."""

from __future__ import annotations

from storycore.caching.caching import Caching
from storycore.caching.codecs import Codec, JsonCodec, Unfit
from storycore.caching.counts import CacheStats, RegionStats
from storycore.caching.embeddings import CachedEmbedder
from storycore.caching.entities import CachedEntities
from storycore.caching.functions import CachedFunction, CachedSyncFunction
from storycore.caching.guard import BreakerState
from storycore.caching.inspection import Inspection
from storycore.caching.policies import Fetched, Tier
from storycore.caching.region import Region, RegionEntry
from storycore.caching.signatures import NoKey
from storycore.caching.writes import Writing

__all__ = [
    "BreakerState",
    "CacheStats",
    "CachedEmbedder",
    "CachedEntities",
    "CachedFunction",
    "CachedSyncFunction",
    "Caching",
    "Codec",
    "Fetched",
    "Inspection",
    "JsonCodec",
    "NoKey",
    "Region",
    "RegionEntry",
    "RegionStats",
    "Tier",
    "Unfit",
    "Writing",
]
