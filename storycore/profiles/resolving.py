"""From a port's settings to its adapter's own config model: the last check before anything is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from storycore.errors import AdapterNotFound, ConfigError
from storycore.plugins import EXTRAS, Adapter
from storycore.ports.lifecycle import PortName
from storycore.profiles.redaction import expectation, is_secret_name
from storycore.profiles.secrets import revealed
from storycore.profiles.settings import PortSettings, Profile
from storycore.profiles.urls import options_of
from storycore.suggestions import did_you_mean, nearest

if TYPE_CHECKING:
    from storycore.plugins import Plugins

__all__ = ["missing_adapters", "resolve", "stated_options"]


def resolve(
    settings: PortSettings,
    adapter: Adapter,
    port: PortName,
    *,
    plugins: Plugins | None = None,
    environ: Mapping[str, str] | None = None,
) -> BaseModel:
    """The adapter's config for a port, with all secrets fetched.

    Args:
        plugins: whose ``storycore_secrets`` hooks are asked.
        environ: where ``secret://env/…`` looks; ``None``: the process's environment.

    Raises:
        ConfigError: the adapter does not serve the port, an option is unknown or wrong, or a secret is missing. Names
            the setting and the nearest valid name, never a secret.
    """
    given = stated_options(settings, adapter, port)
    _demand_no_nul(given, port)
    options = revealed(given, path=str(port), environ=os.environ if environ is None else environ, plugins=plugins)
    try:
        return adapter.config_for(port).model_validate(options)
    except ValidationError as exc:
        problems = [_problem(error, port) for error in exc.errors()]
    # outside the handler: a chained validation error would show the values, and a value may be a secret
    raise ConfigError("; ".join(f"{path}: {text}" for path, text in problems) + ".", path=problems[0][0])


def missing_adapters(profile: Profile, plugins: Plugins) -> AdapterNotFound | None:
    """One error that names every adapter of the profile that is not installed, and the one command that cures it."""
    known = plugins.names()
    missing = [name for name in profile.adapter_names() if name not in known]
    if not missing:
        return None
    strange = [name for name in missing if not any(name in group for group in EXTRAS.values())]
    shipped = [name for name in missing if name not in strange]
    cure = _install_line(shipped)
    parts = [f"The profile {profile.name!r} needs adapters that are not installed: {', '.join(missing)}."]
    parts += [f"Install with: {cure}"] if cure else []
    parts += [f"No distribution of storycore has {name!r}. {did_you_mean(name, _all_names(known))}" for name in strange]
    return AdapterNotFound(
        " ".join(parts),
        cure=cure,
        path=f"profile.{profile.name}",
        suggestion=nearest(strange[0], _all_names(known)) if strange else None,
    )


def _all_names(known: list[str]) -> set[str]:
    return {*known, *(name for group in EXTRAS.values() for name in group)}


def _install_line(shipped: list[str]) -> str:
    if not shipped:
        return ""
    whole = [extra for extra, group in EXTRAS.items() if len(shipped) > 1 and group.issuperset(shipped)]
    return f"pip install 'storycore[{whole[0] if whole else ','.join(sorted(shipped))}]'"


def stated_options(settings: PortSettings, adapter: Adapter, port: PortName) -> dict[str, object]:
    """The options that a port's settings state, by URL and by name, as they were given.

    Raises:
        ConfigError: the adapter does not serve the port, or has no setting of such a name.
    """
    if port not in adapter.ports:
        served = ", ".join(adapter.ports)
        raise ConfigError(f"{port}: the adapter {adapter.name!r} serves {served}, not {port}.", path=str(port))
    given = {**_url_options(settings, adapter, port), **settings.options}
    for name in given:
        _demand_field(name, adapter.config_for(port), port, adapter)
    return given


def _url_options(settings: PortSettings, adapter: Adapter, port: PortName) -> Mapping[str, object]:
    if not settings.url:
        return {}
    model = adapter.config_for(port)
    from_url = getattr(model, "from_url", None)
    if from_url is None:
        url_path = adapter.url_path if adapter.url_path in model.model_fields else ""
        return options_of(settings.url, fields=model.model_fields, url_path=url_path, path=str(port))
    try:
        options: dict[str, object] = from_url(settings.url)
    except ValueError as exc:
        raise ConfigError(f"{port}: the URL cannot be used with {adapter.name!r}: {exc}", path=str(port)) from exc
    return options


def _demand_field(name: str, model: type[BaseModel], port: PortName, adapter: Adapter) -> None:
    fields = {alias for field, info in model.model_fields.items() for alias in (field, info.alias) if alias}
    if name not in fields and model.model_config.get("extra") != "allow":
        raise ConfigError(
            f"{port}.{name}: the adapter {adapter.name!r} has no setting {name!r}. {did_you_mean(name, fields)}",
            path=f"{port}.{name}",
            suggestion=nearest(name, fields),
        )


def _demand_no_nul(options: Mapping[str, object], port: PortName) -> None:
    """No system takes a NUL in a path, an address or a name; told here, it is no ``ValueError`` of the first use."""
    for name, value in options.items():
        if isinstance(value, (str, Path)) and "\0" in str(value):
            raise ConfigError(
                f"{port}.{name}: the value has a NUL character, which no path, address or name can have; "
                "take it out (in a URL it is written %00).",
                path=f"{port}.{name}",
            )


def _problem(error: ErrorDetails, port: PortName) -> tuple[str, str]:
    path = ".".join([str(port), *(str(part) for part in error["loc"])])
    if is_secret_name(path):
        return path, "the value is not valid (it is not shown, for it may be a secret)"
    return path, "a value is needed" if error["type"] == "missing" else expectation(error, path)
