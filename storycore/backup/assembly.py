"""Assembling: from a profile's settings and a store's ports to the service of its backups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast
from urllib.parse import parse_qs, urlsplit

from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.keys import KeyFile, Passphrase
from storycore.backup.libraries import require_libraries
from storycore.backup.outside import Outside
from storycore.backup.retention import Retention
from storycore.backup.scratch import LONG_BODIES, scratch_with, sources_of
from storycore.backup.service import Backups
from storycore.errors import ConfigError
from storycore.layers.spilling import SpillingEntities
from storycore.plugins import Plugins
from storycore.ports.blobs import BlobStore
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.key_providers import KeyProvider
from storycore.ports.lifecycle import Port, PortName
from storycore.profiles import BackupSettings, PortSettings, Profile, revealed
from storycore.profiles.zones import zone_called
from storycore.suggestions import did_you_mean, nearest

__all__ = ["assembled"]


def assembled(
    profile: Profile,
    plugins: Plugins,
    env: Environment,
    ports: Mapping[PortName, Port],
    another: Callable[[PortName, PortSettings], Port],
    *,
    ensure: Callable[[], Awaitable[object]],
    settle: Callable[[], Awaitable[object]],
) -> Backups:
    """The backups of a store.

    Args:
        ports: the store's.
        another: makes one more port.
        ensure: creates what the ports need.
        settle: called when a restore has changed them.

    Raises:
        ConfigError: a setting cannot be used, or a library is not installed.
    """
    require_libraries()
    settings = profile.backup
    keys = _keys(profile, plugins)
    blobs = cast(BlobStore, ports[PortName.BLOBS])
    own = None if settings.blobs is None else cast(BlobStore, another(PortName.BLOBS, settings.blobs))
    records = SpillingEntities(cast(EntityStore, ports[PortName.ENTITIES]), blobs, env, LONG_BODIES)
    chosen = {PortName(name): ports[PortName(name)] for name in settings.ports}
    if PortName.ENTITIES in chosen:
        chosen[PortName.ENTITIES] = records
    return Backups(
        Archive(own or blobs, keys, env, prefix=settings.prefix, is_own=own is not None),
        sources_of(chosen, env, without=lambda: [*_places_of_archive(profile, blobs, own), *_place_of_trail(profile)]),
        env,
        store=profile.namespace,
        scratch=scratch_with(plugins),
        retention=_retention(settings),
        zone=zone_called(settings.time_zone, "backup.time_zone"),
        max_chain=settings.max_chain,
        owner_of=owner_of if settings.owner_keys else None,
        key_file=keys if isinstance(keys, KeyFile) else None,
        ensure=ensure,
        settle=settle,
        outside=Outside(plugins, another),
        blobs=blobs,
    )


def _places_of_archive(profile: Profile, blobs: BlobStore, own: BlobStore | None) -> Sequence[str]:
    """Where the archive lies among the store's own blobs: a blob store of its own may be the same one by its address.

    Two addresses that end in the same place are known by their URLs alone; elsewhere they only look like each other.
    """
    prefix, place = profile.backup.prefix, blobs.info.place
    if own is None:
        return [prefix]
    if not place or own.info.adapter != blobs.info.adapter or _server(profile.backup.blobs) != _server(profile.blobs):
        return []
    if own.info.place == place:
        return [prefix]
    is_within = "://" in place and own.info.place.startswith(place)
    return [own.info.place.removeprefix(place) + prefix] if is_within else []


def _place_of_trail(profile: Profile) -> Sequence[str]:
    """Where the audit trail lies among the store's own blobs: no restore may bring back an older one."""
    is_there = profile.audit.enabled and profile.audit.blobs is None
    return [profile.audit.prefix] if is_there else []


def _server(settings: PortSettings | None) -> object:
    """Which server keeps the blobs, where a setting says it."""
    if settings is None:
        return None
    return settings.options.get("endpoint_url") or parse_qs(urlsplit(settings.url).query).get("endpoint_url", [None])[0]


def _keys(profile: Profile, plugins: Plugins) -> KeyProvider:
    settings = profile.backup
    if settings.key_provider:
        return _plugged(settings, plugins)
    if settings.passphrase:
        return Passphrase(str(revealed(settings.passphrase, path="backup.passphrase", plugins=plugins)))
    return KeyFile(profile.backup_key_file)


def _plugged(settings: BackupSettings, plugins: Plugins) -> KeyProvider:
    known = {name: make for given in plugins.hook.storycore_key_providers() for name, make in given.items()}
    if settings.key_provider not in known:
        raise ConfigError(
            f"backup.key_provider: no loaded plugin has {settings.key_provider!r}. "
            f"{did_you_mean(settings.key_provider, known)} Name the plugin that has it in the profile's `plugins`.",
            path="backup.key_provider",
            suggestion=nearest(settings.key_provider, known),
        )
    options = cast(
        Mapping[str, object], revealed(dict(settings.key_options), path="backup.key_options", plugins=plugins)
    )
    made: KeyProvider = known[settings.key_provider](options)
    return made


def _retention(settings: BackupSettings) -> Retention:
    return Retention(
        last=settings.keep_last,
        daily=settings.keep_daily,
        weekly=settings.keep_weekly,
        monthly=settings.keep_monthly,
        yearly=settings.keep_yearly,
        verified=settings.keep_verified,
    )
