"""Assembling: from a profile's settings and a store's blobs to its audit trail."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from typing import cast

from storycore.audit.aside import Aside
from storycore.audit.keys import FileKey, KeySource, SettledKey
from storycore.audit.places import Place
from storycore.audit.trail import AuditTrail
from storycore.errors import ConfigError
from storycore.layers.around import Around
from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Port, PortName
from storycore.profiles import PortSettings, Profile, revealed

__all__ = ["assembled"]


def assembled(
    profile: Profile,
    plugins: Plugins,
    env: Environment,
    blobs: Port,
    another: Callable[[PortName, PortSettings], Port],
) -> AuditTrail:
    """The audit trail of a store.

    Args:
        blobs: the store's.
        another: makes one more port.

    Raises:
        ConfigError: it is off, or a setting cannot be used.
    """
    settings = profile.audit
    if not settings.enabled:
        raise ConfigError("The profile keeps no audit trail; set audit.enabled = true.", path="audit.enabled")
    own = None if settings.blobs is None else another(PortName.BLOBS, settings.blobs)
    place = Place(cast(BlobStore, Around(PortName.BLOBS, own or blobs, [Aside()])), settings.prefix, own)
    return AuditTrail(
        place,
        _key(profile, plugins),
        env,
        who=settings.actor or _process(),
        reads=settings.reads,
        durable=settings.durable,
        flush_seconds=settings.flush_seconds,
        blocks=settings.on_failure == "block",
    )


def _key(profile: Profile, plugins: Plugins) -> KeySource:
    if profile.audit.key:
        return SettledKey(str(revealed(profile.audit.key, path="audit.key", plugins=plugins)))
    return FileKey(profile.audit_key_file)


def _process() -> str:
    """The user of the operating system and this process."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        name = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"os:{name}/{os.getpid()}"
