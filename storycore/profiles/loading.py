"""From code, environment, file and built-in profiles to one frozen ``Profile``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from storycore.errors import ConfigError
from storycore.ports.lifecycle import PortName
from storycore.profiles.builtin import BUILTIN, DEFAULT_PROFILE, DEFAULTS
from storycore.profiles.files import FILE_NAME, ProfileFile, read
from storycore.profiles.redaction import expectation
from storycore.profiles.settings import PortSettings, Profile
from storycore.profiles.sources import Merged, Source, merged, source
from storycore.profiles.urls import insert_dir, named_options, scheme_of
from storycore.profiles.variables import CONFIG, PROFILE, customary, settings_of
from storycore.suggestions import did_you_mean, nearest

__all__ = ["load", "profile_names"]

_BUILTIN_ORIGIN = "built-in profile"

_WITH_BLOBS = ("backup", "audit")
"""Tables that may name a blob store of their own."""


def load(
    profile: str | Path | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Profile:
    """Put a profile together.

    What wins over what: ``overrides``; ``STORYCORE__…`` variables; the profile in ``storycore.toml``; the profiles it
    extends; the customary variables of a service (``AWS_REGION``, ``REDIS_HOST`` …), which fill in what nobody said;
    the built-in profile. A relative ``dir`` in a file is relative to that file, any other to ``cwd``.

    Args:
        profile: a profile's name, or the path of a configuration file or of the folder that holds one (anything
            that ends in ``.toml`` or contains a slash). ``None``: ``STORYCORE_PROFILE``, else the file's ``default``,
            else ``local``.
        overrides: settings as in a file: ``{"dir": "/data", "cache": "memory://", "entities": {"path": "x.db"}}``.
        environ: the environment; ``None``: the process's.
        cwd: where relative paths begin; ``None``: the working directory.

    Raises:
        ConfigError: the profile does not exist, or a setting is unknown or of the wrong type; names the setting and
            the nearest valid name.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    name, file = _chosen(profile, environ, cwd)
    sources = [source(DEFAULTS, origin="default", path="", folder=cwd), *_chain(name, file, cwd)]
    sources += [source(v, origin=f"environment {k}", path=k, folder=cwd) for k, v in settings_of(environ).items()]
    if overrides:
        sources.append(source(overrides, origin="code", path="", folder=cwd))
    settings = merged(sources)
    _fill_in(settings, environ)
    return _built(name, settings)


def profile_names(file: ProfileFile) -> list[str]:
    """The profiles that can be chosen: the built-in ones and those of the file."""
    return sorted({*BUILTIN, *file.profiles})


def _chosen(profile: str | Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[str, ProfileFile]:
    named = profile if isinstance(profile, str) and not _is_path(profile) else None
    if profile is not None and named is None:
        file = read(_file_at(cwd / Path(profile).expanduser()))
    elif environ.get(CONFIG):
        file = read(_file_at(cwd / Path(environ[CONFIG]).expanduser()))
    else:
        file = read(cwd / FILE_NAME) if (cwd / FILE_NAME).exists() else ProfileFile()
    return named if named is not None else environ.get(PROFILE) or file.default or DEFAULT_PROFILE, file


def _is_path(profile: str) -> bool:
    return profile.endswith(".toml") or "/" in profile or os.sep in profile


def _file_at(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path


def _chain(name: str, file: ProfileFile, cwd: Path) -> list[Source]:
    """The sources of a profile and of all that it extends, the weakest first."""
    found: list[Source] = []
    seen: list[str] = []
    next_name: str | None = name
    while next_name is not None:
        if next_name in seen or next_name not in file.profiles:
            found.append(_builtin(next_name, file, seen, cwd))
            break
        seen.append(next_name)
        table = file.profiles[next_name]
        found.append(_from_file(next_name, table, file))
        next_name = _extended(next_name, table)
    return found[::-1]


def _extended(name: str, table: Mapping[str, object]) -> str | None:
    given = table.get("extends", name if name in BUILTIN else None)
    if given is not None and not isinstance(given, str):
        raise ConfigError(f"profile.{name}.extends: expected a profile's name.", path=f"profile.{name}.extends")
    return given


def _from_file(name: str, table: Mapping[str, object], file: ProfileFile) -> Source:
    path = cast(Path, file.path)
    settings = {key: value for key, value in table.items() if key != "extends"}
    origin = f"{path.name} [profile.{name}]"
    return source(settings, origin=origin, path=f"profile.{name}", folder=path.parent)


def _builtin(name: str, file: ProfileFile, seen: list[str], cwd: Path) -> Source:
    """The built-in profile at the end of a chain; a profile may extend the built-in one of its own name only."""
    if name in BUILTIN and name not in seen[:-1]:
        return source(BUILTIN[name], origin=f"{_BUILTIN_ORIGIN} {name!r}", path=f"profile.{name}", folder=cwd)
    if name in seen:
        circle = " -> ".join([*seen, name])
        raise ConfigError(f"The profiles extend each other in a circle: {circle}.", path=f"profile.{name}.extends")
    names = profile_names(file)
    path = f"profile.{seen[-1]}.extends" if seen else "profile"
    raise ConfigError(
        f"There is no profile {name!r}. {did_you_mean(name, names)} Own profiles are [profile.NAME] in {FILE_NAME}.",
        path=path,
        suggestion=nearest(name, names),
    )


def _fill_in(settings: Merged, environ: Mapping[str, str]) -> None:
    """Take customary variables for the options that only a built-in profile, or nobody, has given."""
    tables: dict[str, dict[str, object]] = {str(port): settings.table(port) for port in _stated(settings)}
    for name in _WITH_BLOBS:
        if (blobs := _own_blobs(settings, name)) is not None:
            tables[f"{name}.blobs"] = blobs
    for path, table in tables.items():
        url = str(table.get("url", ""))
        said = set(table)
        if not settings.origins.get(f"{path}.url", "").startswith(_BUILTIN_ORIGIN):
            said |= named_options(url)
        for option, variable in customary(_adapter_of(table, path), environ).items():
            if option not in said:
                table[option] = environ[variable]
                settings.origins[f"{path}.{option}"] = f"environment {variable}"


def _own_blobs(settings: Merged, name: str) -> dict[str, object] | None:
    """The settings of the blob store that backups, or the audit trail, have for themselves."""
    found = settings.table(name).get("blobs") if name in settings.values else None
    return found if isinstance(found, dict) else None


def _stated(settings: Merged) -> list[PortName]:
    """The ports that a profile must have, and the others where it says something of them."""
    return [port for port in PortName if not port.is_optional or port in settings.values]


def _adapter_of(table: Mapping[str, object], path: str) -> str:
    url = table.get("url")
    return scheme_of(str(url), path=path) if url else str(table.get("adapter", ""))


def _built(name: str, settings: Merged) -> Profile:
    values = dict(settings.values)
    folder = cast(Path, values["dir"])
    for port in _stated(settings):
        values[port] = _port_settings(port, settings.table(port), name, folder)
    for each in _WITH_BLOBS:
        if each in values:
            values[each] = _with_blobs(settings, each, name, folder)
    try:
        return Profile.model_validate({"name": name, **values, "origins": settings.origins})
    except ValidationError as exc:
        first = exc.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        came = settings.origins.get(path, "")
        raise ConfigError(f"{path}: {expectation(first, path)} (from {came or 'the profile'}).", path=path) from exc


def _with_blobs(settings: Merged, name: str, profile: str, folder: Path) -> dict[str, object]:
    table, blobs = settings.table(name), _own_blobs(settings, name)
    placed = {key: _placed(value, folder) for key, value in table.items() if key != "blobs"}
    return placed if blobs is None else {**placed, "blobs": _port_settings(f"{name}.blobs", blobs, profile, folder)}


def _port_settings(port: str, table: Mapping[str, object], profile: str, folder: Path) -> PortSettings:
    adapter = _adapter_of(table, port)
    if not adapter:
        raise ConfigError(
            f'The profile {profile!r} does not say where {port} are: add {port} = "memory://" (or another URL) to '
            f'[profile.{profile}], or let it extend one that does: extends = "local".',
            path=f"profile.{profile}.{port}",
        )
    options = {key: _placed(value, folder) for key, value in table.items() if key not in ("url", "adapter", "layers")}
    url = insert_dir(str(table.get("url", "")), folder)
    return PortSettings.model_validate(
        {"adapter": adapter, "url": url, "options": options, "layers": table.get("layers", ())}
    )


def _placed(value: object, folder: Path) -> object:
    """The value with ``{dir}`` replaced in every text."""
    if isinstance(value, str):
        return value.replace("{dir}", str(folder))
    if isinstance(value, Mapping):
        return {key: _placed(item, folder) for key, item in value.items()}
    return [_placed(item, folder) for item in value] if isinstance(value, (list, tuple)) else value
