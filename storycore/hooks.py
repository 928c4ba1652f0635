"""Every hook of storycore on one screen: what a plugin may add. Decorate an implementation with ``hookimpl``.

An adapter's plugin module implements ``storycore_adapters`` and imports no vendor library. It is found by its entry
point in the group ``storycore.adapters``; the other hooks of a module take part once the module is loaded: because a
profile uses its adapter, because the profile names it in ``plugins``, or because it is handed to
``storycore.open(plugins=…)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from storycore.app import Store
    from storycore.entities import Entity
    from storycore.ingestion import Chunker
    from storycore.jobs import Job
    from storycore.layers.around import Interceptor
    from storycore.plugins import Adapter
    from storycore.ports.backup_formats import BackupFormat
    from storycore.ports.key_providers import KeyProvider
    from storycore.ports.lifecycle import Health, PortName

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("storycore")
hookimpl = pluggy.HookimplMarker("storycore")


@hookspec
def storycore_adapters() -> Sequence[Adapter]:  # type: ignore[empty-body]
    """The adapters that this plugin brings."""


@hookspec
def storycore_layers(port: PortName, adapter: str) -> Sequence[Interceptor]:  # type: ignore[empty-body]
    """Interceptors to put around every operation of ``port``, outermost first."""


@hookspec
def storycore_entities() -> Sequence[Entity[Any]]:  # type: ignore[empty-body]  # of any models
    """Entity declarations that ``store.repository`` and the commands know by their kind."""


@hookspec
def storycore_chunkers() -> Mapping[str, Chunker]:  # type: ignore[empty-body]
    """Chunkers by content type, for example ``"text/x-rst"``; they override the built-in one."""


@hookspec
def storycore_event_types() -> Mapping[str, type[BaseModel]]:  # type: ignore[empty-body]
    """Types of events with the model of their properties, which tracking then checks."""


@hookspec
def storycore_commands() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Commands of the command line: name to ``"module:click_command"``; imported only when called."""


@hookspec(firstresult=True)
def storycore_secrets(reference: str) -> str | None:
    """The secret behind ``secret://…``, or ``None`` when this plugin does not know it."""


@hookspec
def storycore_key_providers() -> Mapping[str, Callable[[Mapping[str, object]], KeyProvider]]:  # type: ignore[empty-body]
    """Providers of keys for backups: name to a function that makes one of the profile's ``backup.key_options``."""


@hookspec
def storycore_backup_formats() -> Mapping[str, Callable[[], BackupFormat]]:  # type: ignore[empty-body]
    """Formats in which backups are exported and imported: name to a function that makes one. Asked of every plugin."""


@hookspec
def storycore_jobs(store: Store) -> Sequence[Job]:  # type: ignore[empty-body]
    """Jobs that the store does by the clock, beside its own."""


@hookspec
def storycore_health(store: Store) -> Mapping[str, Health]:  # type: ignore[empty-body]
    """More lines for ``store.health()``."""


@hookspec
def storycore_opened(store: Store) -> None:
    """A store has been opened."""


@hookspec
def storycore_closing(store: Store) -> None:
    """A store is about to close; its ports still work."""
