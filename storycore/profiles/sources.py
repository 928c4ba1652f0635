"""One place that settings come from, brought into one shape, and how several such places become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from storycore.errors import ConfigError
from storycore.ports.lifecycle import PortName
from storycore.profiles.settings import AuditSettings, BackupSettings, CachingSettings, HealthSettings, JobSettings
from storycore.suggestions import did_you_mean, nearest

__all__ = ["SETTINGS", "Merged", "Source", "merged", "source"]

Table = Mapping[str, object]

_PORTS = frozenset(str(port) for port in PortName)
_NAMING = ("url", "adapter")

SETTINGS = (
    frozenset({"dir", "namespace", "cursor_key", "requires", "plugins", "caching", "backup", "jobs", "health", "audit"})
    | _PORTS
)
"""The settings of a profile, apart from ``extends``."""


@dataclass(frozen=True, slots=True)
class Source:
    """Checked settings from one place.

    Args:
        origin: the place, for people: ``"storycore.toml [profile.dev]"``.
        values: ports, ``caching``, ``backup`` and ``jobs`` are tables, ``dir`` is absolute, lists are tuples.
    """

    origin: str
    values: Table


@dataclass(slots=True)
class Merged:
    """Settings put together, with the origin of each by its path."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def table(self, name: str) -> dict[str, object]:
        """The table under ``name``, made when missing."""
        found = self.values.setdefault(name, {})
        assert isinstance(found, dict)
        return found

    def forget(self, name: str, key: str) -> None:
        """Take a table's entry out, with its origins."""
        self.table(name).pop(key, None)
        gone = f"{name}.{key}"
        for path in [path for path in self.origins if path == gone or path.startswith(f"{gone}.")]:
            del self.origins[path]


def source(values: Table, *, origin: str, path: str, folder: Path) -> Source:
    """Check the shape of settings from one place.

    Args:
        path: what stands before a setting's name in errors, for example ``"profile.dev"``; may be empty.
        folder: what a relative ``dir`` is relative to.

    Raises:
        ConfigError: a name is unknown or a value is of the wrong type.
    """
    shaped: dict[str, object] = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        if name not in SETTINGS:
            raise _unknown(name, SETTINGS, where=where, origin=origin)
        shaped[name] = _shape(name)(value, where, folder)
    return Source(origin, shaped)


def merged(sources: Sequence[Source]) -> Merged:
    """Put sources together, the later ones winning.

    A source that names a port's URL or adapter starts that port afresh (its layers stay); one that gives only options
    adds them to what is there. Everything else is replaced value by value.
    """
    result = Merged()
    for each in sources:
        for name, value in each.values.items():
            if isinstance(value, Mapping):
                _merge_table(result, name, value, each.origin)
            else:
                result.values[name] = value
                result.origins[name] = each.origin
    return result


def _merge_table(result: Merged, name: str, table: Table, origin: str) -> None:
    if name in _PORTS and any(key in table for key in _NAMING):
        for key in [key for key in result.table(name) if key != "layers"]:
            result.forget(name, key)
    target = result.table(name)
    for key, value in table.items():
        target[key] = value
        result.origins[f"{name}.{key}"] = origin


def _shape(name: str) -> Callable[[object, str, Path], object]:
    if name in _PORTS:
        return _port
    shapes = {"dir": _dir, "namespace": _text, "cursor_key": _text, "requires": _names, "plugins": _names}
    return {**shapes, "caching": _caching, "backup": _backup, "jobs": _jobs, "health": _health, "audit": _audit}[name]


def _port(value: object, where: str, _folder: Path) -> object:
    if isinstance(value, str):
        return {"url": value}
    table = dict(_table(value, where, 'a URL such as "sqlite:///x.db" or a table'))
    if all(key in table for key in _NAMING):
        raise ConfigError(f"{where}: give either a url or an adapter, not both.", path=where)
    for key in _NAMING:
        if key in table:
            _text(table[key], f"{where}.{key}", _folder)
    if "layers" in table:
        table["layers"] = _layers(table["layers"], f"{where}.layers")
    return table


def _layers(value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(where, 'a list such as ["retry", {use = "timeout", read_seconds = 0.8}]')
    return tuple(_layer(item, f"{where}[{place}]") for place, item in enumerate(value))


def _layer(value: object, where: str) -> dict[str, object]:
    if isinstance(value, str):
        return {"use": value}
    table = dict(_table(value, where, "a layer's name or a table with `use`"))
    if not isinstance(table.get("use"), str):
        raise _wrong(f"{where}.use", "the layer's name")
    return {"use": table.pop("use"), "options": table}


def _caching(value: object, where: str, _folder: Path) -> object:
    return _fields(value, where, CachingSettings)


def _backup(value: object, where: str, folder: Path) -> object:
    return _with_blobs(_fields(value, where, BackupSettings), where, folder)


def _audit(value: object, where: str, folder: Path) -> object:
    return _with_blobs(_fields(value, where, AuditSettings), where, folder)


def _with_blobs(table: dict[str, object], where: str, folder: Path) -> dict[str, object]:
    """A table that has a key file, and may have a blob store of its own."""
    if "blobs" in table:
        table["blobs"] = _port(table["blobs"], f"{where}.blobs", folder)
    if isinstance(given := table.get("key_file"), (str, Path)) and str(given) and "{dir}" not in str(given):
        table["key_file"] = str(_path(given, f"{where}.key_file", folder, expected="the path of a file"))
    return table


def _jobs(value: object, where: str, _folder: Path) -> object:
    return _fields(value, where, JobSettings)


def _health(value: object, where: str, _folder: Path) -> object:
    return _fields(value, where, HealthSettings)


def _fields(value: object, where: str, model: type[BaseModel]) -> dict[str, object]:
    """A table of a model's settings."""
    table = _table(value, where, "a table")
    for key in table:
        if key not in model.model_fields:
            raise _unknown(key, model.model_fields, where=f"{where}.{key}")
    return dict(table)


def _table(value: object, where: str, expected: str) -> Table:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _wrong(where, expected)
    return value


def _dir(value: object, where: str, folder: Path) -> Path:
    return _path(value, where, folder, expected="the path of a folder")


def _path(value: object, where: str, folder: Path, *, expected: str) -> Path:
    if not isinstance(value, (str, Path)) or not str(value).strip() or not _is_name(str(value)):
        raise _wrong(where, f"{expected}, in valid Unicode")
    try:
        return _absolute(Path(value).expanduser(), folder)
    except RuntimeError as exc:  # "~" or "~name" of a user whom this machine does not know
        raise ConfigError(f"{where}: the home folder in {str(value)!r} is not known here.", path=where) from exc


def _is_name(text: str) -> bool:
    """Whether a text can be a path that a URL can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _absolute(path: Path, folder: Path) -> Path:
    """Absolute and without ``.`` and ``..``, but with links kept as they were given."""
    return Path(*(folder / path).parts) if ".." not in path.parts else (folder / path).resolve()


def _text(value: object, where: str, _folder: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(where, "a non-empty text")
    return value


def _names(value: object, where: str, _folder: Path) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise _wrong(where, "a list of texts")
    return tuple(value)


def _wrong(where: str, expected: str) -> ConfigError:
    return ConfigError(f"{where}: expected {expected}.", path=where)


def _unknown(name: str, known: frozenset[str] | Mapping[str, object], *, where: str, origin: str = "") -> ConfigError:
    place = f" in {origin}" if origin else ""
    return ConfigError(
        f"{where}: there is no setting {name!r}{place}. {did_you_mean(name, known)}",
        path=where,
        suggestion=nearest(name, known),
    )
