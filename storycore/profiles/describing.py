"""A profile as lines for people: every setting, its value as it may be shown, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from storycore.profiles.redaction import redacted
from storycore.profiles.settings import AuditSettings, BackupSettings, PortSettings, Profile

__all__ = ["Setting", "describe"]


class Setting(NamedTuple):
    """One line.

    Args:
        path: for example ``"cache.url"``.
        value: with secrets hidden; text, number, truth value, or a list of these.
        origin: for example ``"built-in profile 'local'"``; ``"default"`` when nobody said anything.
    """

    path: str
    value: object
    origin: str


def describe(profile: Profile) -> list[Setting]:
    """Every setting of a profile, secrets hidden, in the order of the ports."""
    lines: list[tuple[str, object]] = [("dir", str(profile.dir)), ("namespace", profile.namespace)]
    lines += [("cursor_key", profile.cursor_key)] if profile.cursor_key else []
    for port in profile.ports:
        lines += _port(port, profile.port(port))
    lines += [("requires", list(profile.requires)), ("plugins", list(profile.plugins))]
    lines += [(f"caching.{name}", value) for name, value in profile.caching.model_dump().items()]
    lines += _with_blobs("backup", profile.backup)
    lines += _with_blobs("audit", profile.audit)
    lines += [(f"jobs.{name}", value) for name, value in profile.jobs.model_dump().items() if value != {}]
    return [
        Setting(path, redacted(value, name=path.rpartition(".")[2]), profile.origins.get(path, "default"))
        for path, value in lines
    ]


def _with_blobs(table: str, settings: BackupSettings | AuditSettings) -> Iterator[tuple[str, object]]:
    if settings.blobs is not None:
        yield from _port(f"{table}.blobs", settings.blobs)
    for name, value in settings.model_dump(exclude={"blobs", "key_options"}).items():
        if value != "":
            yield f"{table}.{name}", list(value) if isinstance(value, tuple) else value


def _port(port: str, settings: PortSettings) -> Iterator[tuple[str, object]]:
    yield (f"{port}.url", settings.url) if settings.url else (f"{port}.adapter", settings.adapter)
    for name, value in settings.options.items():
        yield f"{port}.{name}", value
    if settings.layers:
        yield f"{port}.layers", [layer.model_dump() for layer in settings.layers]
