"""What ``storycore doctor`` looks at: each probe gives findings, and no probe changes anything."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from storycore.cli.backup_probes import backup_findings
from storycore.cli.findings import Finding, State
from storycore.cli.output import human_bytes
from storycore.errors import ConfigError, StorycoreError
from storycore.plugins import Plugins
from storycore.ports.lifecycle import Health, Port, PortName
from storycore.profiles import Profile, describe, resolve

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.opening import Opening

__all__ = ["diagnose"]

_SCARCE_BYTES = 1024**3
_TOO_LITTLE_BYTES = 100 * 1024**2


async def diagnose(profile: Profile, opening: Opening) -> list[Finding]:
    """Probe a profile from the interpreter up to the index; later probes are left out where an earlier one decides."""
    found = [_python(), *_plugins(profile), *_adapters(profile)]
    if not any(each.state is State.FAILED for each in found):
        found += _settings(profile)
    found += _folder(profile)
    if not any(each.state is State.FAILED for each in found):
        found += [finding async for finding in _store(opening)]
    return found


def _python() -> Finding:
    text = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()}"
    return Finding("python", State.OK, text)


def _plugins(profile: Profile) -> Iterator[Finding]:
    """Plugins that do not work; a warning unless the profile needs them, which the next probe tells."""
    needed = {*profile.adapter_names(), *profile.plugins}
    for each in Plugins().found():
        if each.problem and each.name not in needed:
            yield Finding(f"plugin.{each.name}", State.WARNING, each.problem)


def _adapters(profile: Profile) -> Iterator[Finding]:
    plugins = Plugins()
    for name in profile.adapter_names():
        try:
            adapter = plugins.adapter(name)
        except ConfigError as exc:
            yield Finding(f"adapter.{name}", State.FAILED, exc.message, getattr(exc, "cure", ""))
        else:
            yield Finding(f"adapter.{name}", State.OK, adapter.summary or "installed")


def _settings(profile: Profile) -> list[Finding]:
    plugins = Plugins()
    wrong: list[Finding] = []
    for port in profile.ports:
        settings = profile.port(port)
        try:
            resolve(settings, plugins.adapter(settings.adapter), port, plugins=plugins)
        except StorycoreError as exc:
            cure = "`storycore config --origin` shows where it was set."
            wrong.append(Finding(f"settings.{port}", State.FAILED, exc.message, cure))
    return wrong or [Finding("settings", State.OK, "every adapter takes what is set for it")]


def _folder(profile: Profile) -> Iterator[Finding]:
    """The folder of a local layer; nothing is said when no setting lies in it."""
    inside = str(profile.dir)
    if not any(inside in str(line.value) for line in describe(profile) if line.path != "dir"):
        return
    there = next(place for place in (profile.dir, *profile.dir.parents) if place.exists())
    yield _writable(profile.dir, there)
    yield _space(there)


def _writable(folder: Path, there: Path) -> Finding:
    cure = f"Make {there} writable for this user, or name another folder with --dir."
    if not there.is_dir():
        return Finding("folder", State.FAILED, f"{there} is not a folder.", "Name another folder with --dir.")
    if there == folder:
        try:
            with tempfile.TemporaryFile(dir=folder):
                return Finding("folder", State.OK, f"{folder} can be written")
        except OSError as exc:
            return Finding("folder", State.FAILED, f"{folder} cannot be written: {exc.strerror}.", cure)
    if os.access(there, os.W_OK | os.X_OK):
        return Finding("folder", State.OK, f"{folder} can be made")
    return Finding("folder", State.FAILED, f"{folder} cannot be made: {there} is read-only for this user.", cure)


def _space(there: Path) -> Finding:
    free = shutil.disk_usage(there).free
    text = f"{human_bytes(free)} are free at {there}"
    if free < _TOO_LITTLE_BYTES:
        return Finding("disk", State.FAILED, text, "Free some space, or name a folder on another disk with --dir.")
    return Finding("disk", State.OK if free >= _SCARCE_BYTES else State.WARNING, text)


async def _store(opening: Opening) -> AsyncIterator[Finding]:
    try:
        async with opening as store:
            yield Finding("requires", State.OK, f"{len(store.profile.requires)} required capabilities are there")
            health = await store.health()
            for name, each in health.items():
                state = State.OK if each.ok else State.FAILED
                yield Finding(f"health.{name}", state, each.detail or "answers", _where(store, name, each))
            for port_name, port in store.ports.items():
                if health[port_name].ok:
                    for finding in await _drift(port_name, port):
                        yield finding
            if health[PortName.VECTORS].ok and health[PortName.EMBEDDER].ok:
                yield _embedding(store)
            for finding in await backup_findings(store):
                yield finding
    except StorycoreError as exc:
        yield Finding("open", State.FAILED, exc.message, getattr(exc, "cure", ""))


def _where(store: Store, name: str, found: Health) -> str:
    """Where a port that fails was looked for, which is often the mistake."""
    if found.ok or name not in list(PortName):
        return ""
    place = store.ports[PortName(name)].info.place
    return f"It was looked for at {place}." if place else ""


async def _drift(name: PortName, port: Port) -> list[Finding]:
    """How a port that serves differs from what is declared; nothing where it does not."""
    try:
        found = await port.ensure(dry_run=True)
    except StorycoreError as exc:  # an application's own role may not be allowed to ask
        return [Finding(f"drift.{name}", State.WARNING, f"It cannot be compared with what is declared: {exc.message}")]
    missing = [Finding(f"drift.{name}", State.WARNING, action, "Run `storycore init`.") for action in found.actions]
    return missing + [Finding(f"drift.{name}", State.WARNING, difference) for difference in found.differences]


def _embedding(store: Store) -> Finding:
    """Whether the index and the embedder speak of the same model."""
    model, index = store.embedder.spec, store.vectors.spec
    if index.embedding not in (None, model.model) or index.dimension != model.dimension:
        detail = f"The index was made with {index.embedding} ({index.dimension}), the embedder is {model.model}"
        return Finding(
            "embedding", State.FAILED, f"{detail} ({model.dimension}).", "Set embedder to the index's model."
        )
    if not model.semantic:
        detail = f"{model.model} finds words, not meaning"
        return Finding("embedding", State.WARNING, detail, 'Set embedder = "minilm://" for search by meaning.')
    return Finding("embedding", State.OK, f"index and embedder agree on {model.model}, {model.dimension} dimensions")
