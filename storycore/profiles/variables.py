"""Settings from environment variables: ``STORYCORE__…``, and the names that everybody uses for a few services."""

from __future__ import annotations

import json
from collections.abc import Mapping

from storycore.errors import ConfigError
from storycore.ports.lifecycle import PortName
from storycore.profiles.sources import SETTINGS
from storycore.suggestions import did_you_mean, nearest

__all__ = ["CONFIG", "PROFILE", "customary", "settings_of"]

PROFILE = "STORYCORE_PROFILE"
"""Picks the profile when none is named."""

CONFIG = "STORYCORE_CONFIG"
"""Where ``storycore.toml`` is, when not in the working directory."""

_PREFIX = "STORYCORE__"
_TABLES = frozenset({"caching", "backup", "jobs", "health", "audit", *(str(port) for port in PortName)})
_LISTS = ("requires", "plugins")

_REGION = {"region": ("AWS_REGION", "AWS_DEFAULT_REGION")}
_CUSTOMARY: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "dynamodb": _REGION,
    "s3": _REGION,
    "bedrock": _REGION,
    "pinecone": {"api_key": ("PINECONE_API_KEY",)},
    "redis": {"host": ("REDIS_HOST",), "port": ("REDIS_PORT",), "password": ("REDIS_PASSWORD",)},
}


def settings_of(environ: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """The ``STORYCORE__…`` variables: variable to the settings it makes, those that name a URL or adapter first.

    ``STORYCORE__CACHE=redis://h`` gives a URL, ``STORYCORE__CACHE__MAX_BYTES=5`` an option, ``STORYCORE__REQUIRES=a,b``
    a list, ``STORYCORE__CACHE__LAYERS=[…]`` JSON. A variable that is set to nothing counts as not set.

    Raises:
        ConfigError: a variable names no setting, or its JSON cannot be read.
    """
    names = [name for name in environ if name.upper().startswith(_PREFIX) and environ[name]]
    return {name: _setting(name, environ[name]) for name in sorted(names, key=_naming_first)}


def customary(adapter: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that everybody uses for a service, where they are set: option to the name of its variable."""
    options = _CUSTOMARY.get(adapter, {})
    found = {option: [name for name in names if environ.get(name)] for option, names in options.items()}
    return {option: names[0] for option, names in found.items() if names}


def _naming_first(name: str) -> tuple[bool, str]:
    parts = name[len(_PREFIX) :].lower().split("__")
    return (len(parts) > 1 and parts[1] not in ("url", "adapter"), name)


def _setting(name: str, text: str) -> dict[str, object]:
    first, *rest = name[len(_PREFIX) :].lower().split("__")
    if first not in SETTINGS:
        near = nearest(first, SETTINGS)
        raise ConfigError(
            f"The environment variable {name} names no setting. {did_you_mean(first, SETTINGS)}",
            path=name,
            suggestion=near and f"{_PREFIX}{near.upper()}",
        )
    if not rest:
        return {first: _whole(first, text)}
    if first not in _TABLES or len(rest) > 1 or not rest[0]:
        raise ConfigError(
            f"The environment variable {name} names no setting: {_PREFIX}SETTING or {_PREFIX}PORT__OPTION is expected.",
            path=name,
        )
    return {first: {rest[0]: _json(name, text) if rest[0] == "layers" else text}}


def _whole(first: str, text: str) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if first in _LISTS else text


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ConfigError(f"The environment variable {name} is not JSON: {exc}.", path=name) from exc
