"""Configuration: code, environment, ``storycore.toml`` and built-in profiles become one frozen ``Profile``.

The environment is read here and nowhere else.
"""

from __future__ import annotations

from storycore.profiles.describing import Setting, describe
from storycore.profiles.loading import load
from storycore.profiles.resolving import missing_adapters, resolve, stated_options
from storycore.profiles.secrets import revealed
from storycore.profiles.settings import (
    AuditSettings,
    BackupSettings,
    CachingSettings,
    HealthSettings,
    JobSettings,
    LayerSettings,
    PortSettings,
    Profile,
)

__all__ = [
    "AuditSettings",
    "BackupSettings",
    "CachingSettings",
    "HealthSettings",
    "JobSettings",
    "LayerSettings",
    "PortSettings",
    "Profile",
    "Setting",
    "describe",
    "load",
    "missing_adapters",
    "resolve",
    "revealed",
    "stated_options",
]
