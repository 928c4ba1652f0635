"""References to secrets: a setting says where its value is, and the value is fetched when the adapter is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from storycore.errors import ConfigError
from storycore.profiles.redaction import REFERENCE

if TYPE_CHECKING:
    from storycore.plugins import Plugins

__all__ = ["revealed"]


def revealed(
    value: object, *, path: str, environ: Mapping[str, str] | None = None, plugins: Plugins | None = None
) -> object:
    """The value with every reference in it replaced by the secret; containers are gone through.

    ``secret://env/NAME`` is an environment variable, ``secret://file/PATH`` the text of a file without its last line
    end (a second slash before an absolute path, as in ``secret://file//run/secrets/x``); any other goes to the plugins.

    Raises:
        ConfigError: the secret cannot be found. The message holds the reference, never a secret.
    """
    if isinstance(value, Mapping):
        return {
            key: revealed(item, path=f"{path}.{key}", environ=environ, plugins=plugins) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(revealed(item, path=path, environ=environ, plugins=plugins) for item in value)
    if not isinstance(value, str) or not value.startswith(REFERENCE):
        return value
    place, _, name = value.removeprefix(REFERENCE).partition("/")
    if place == "env":
        return _from_environment(name, path, os.environ if environ is None else environ)
    if place == "file":
        return _from_file(name, path)
    return _from_plugins(value, path, plugins)


def _from_environment(name: str, path: str, environ: Mapping[str, str]) -> str:
    if not environ.get(name):
        raise ConfigError(f"{path}: the environment variable {name!r} that holds the secret is not set.", path=path)
    return environ[name]


def _from_file(name: str, path: str) -> str:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        hint = "" if name.startswith("/") else f" An absolute path takes a second slash: {REFERENCE}file//{name}."
        raise ConfigError(
            f"{path}: the file {name!r} that holds the secret cannot be read ({type(exc).__name__}).{hint}", path=path
        ) from exc
    return text.removesuffix("\n").removesuffix("\r")


def _from_plugins(reference: str, path: str, plugins: Plugins | None) -> str:
    secret: str | None = plugins.hook.storycore_secrets(reference=reference) if plugins else None
    if secret is None:
        raise ConfigError(
            f"{path}: no loaded plugin knows the secret {reference!r}. Known without a plugin: "
            f"{REFERENCE}env/NAME and {REFERENCE}file/PATH; name the plugin in the profile's `plugins`.",
            path=path,
        )
    return secret
