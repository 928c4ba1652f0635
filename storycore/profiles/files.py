"""Profiles written in ``storycore.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storycore.errors import ConfigError
from storycore.suggestions import did_you_mean, nearest

__all__ = ["FILE_NAME", "ProfileFile", "read"]

FILE_NAME = "storycore.toml"

_TOP = frozenset({"default", "profile"})


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """What a file says; nothing when there is no file.

    Args:
        path: of the file, absolute; ``None``: there is none.
        default: the profile that is taken when none is named.
        profiles: by name, not yet checked inside.
    """

    path: Path | None = None
    default: str | None = None
    profiles: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


def read(path: Path) -> ProfileFile:
    """Read a file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or holds unknown names at its top.
    """
    content = _parsed(path)
    for name in content:
        if name not in _TOP:
            raise ConfigError(
                f"{path}: there is no setting {name!r} at the top of the file; settings stand in [profile.NAME]. "
                f"{did_you_mean(name, _TOP)}",
                path=name,
                suggestion=nearest(name, _TOP),
            )
    default = content.get("default")
    if default is not None and not isinstance(default, str):
        raise ConfigError(f"{path}: `default` is the name of a profile.", path="default")
    return ProfileFile(path, default, _profiles(path, content.get("profile", {})))


def _parsed(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}.", path=str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8 text.", path=str(path)) from exc
    except FileNotFoundError as exc:
        raise ConfigError(f"There is no configuration file {path}.", path=str(path)) from exc
    except OSError as exc:
        raise ConfigError(f"The configuration file {path} cannot be read: {exc.strerror}.", path=str(path)) from exc


def _profiles(path: Path, given: object) -> Mapping[str, Mapping[str, object]]:
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: profiles are tables: [profile.NAME].", path="profile")
    for name, table in given.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: [profile.{name}] is a table.", path=f"profile.{name}")
    return given
