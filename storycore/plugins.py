"""Discovery: find adapters by metadata, load only the one that is used, keep a broken one from stopping the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from pydantic import BaseModel, ConfigDict

from storycore import hooks
from storycore.errors import AdapterNotFound, PluginError
from storycore.ports.infrastructure import Infrastructure
from storycore.ports.lifecycle import PortName
from storycore.suggestions import did_you_mean, nearest

__all__ = ["API", "EXTRAS", "GROUP", "Adapter", "Found", "NoConfig", "Plugins"]

API = 1
"""The version of the interface between storycore and adapters."""

GROUP = "storycore.adapters"
"""The entry-point group: entry name = adapter name, value = a module with hook implementations."""

EXTRAS: Mapping[str, frozenset[str]] = {
    "local": frozenset({"sqlite", "diskcache", "faiss", "files", "minilm"}),
    "aws": frozenset({"dynamodb", "redis", "pinecone", "s3", "bedrock"}),
}
"""Extra of the distribution ``storycore`` to the adapters it installs; each adapter is an extra of its own too."""

_SHIPPED = frozenset().union(*EXTRAS.values())


class NoConfig(BaseModel):
    """The config of an adapter that has no settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What a plugin says about an adapter, without importing its vendor library.

    Args:
        name: as used in profiles and as a URL's scheme; the same as the entry point's name.
        ports: port to ``"module:function"``; the function takes the config and an ``Environment`` and returns the
            adapter, not yet open.
        config: the pydantic model of the settings, or one model per port. Frozen, ``extra="forbid"``.
        api: which version of this interface the plugin was written for.
        url_path: which config field takes the path of a URL; ``""``: a path is refused.
        distribution: what to install, for error messages and ``storycore plugins``.
        summary: one sentence for ``storycore plugins``.
        conformance: options with which the conformance kit opens the adapter when none are given; in a text value
            ``{path}`` becomes a fresh directory and ``{name}`` a fresh short name of letters and digits.
        server: ``"module:function"``; the function takes ``port`` (0: a free one) and returns a context manager that
            runs a server of the adapter's service on this machine, for tests and for development, and gives the
            settings with which the adapter reaches it, as JSON values. ``None``: there is none.
        infrastructure: ``"module:function"``; the function takes the config and returns the ``Infrastructure`` that
            must exist in a cloud, without connecting to anything. ``None``: the adapter needs none.
    """

    name: str
    ports: Mapping[PortName, str]
    config: type[BaseModel] | Mapping[PortName, type[BaseModel]] = NoConfig
    api: int = API
    url_path: str = "path"
    distribution: str = ""
    summary: str = ""
    conformance: Mapping[str, object] = field(default_factory=dict)
    infrastructure: str | None = None
    server: str | None = None

    def config_for(self, port: PortName) -> type[BaseModel]:
        """The model of the settings of one port."""
        return self.config if isinstance(self.config, type) else self.config[port]

    def opener(self, port: PortName) -> Any:  # the function's config type is the adapter's own
        """The function that makes the adapter for ``port``; imports the vendor library.

        Raises:
            PluginError: the module or function cannot be imported.
        """
        return self._imported(self.ports[port], path=str(port))

    def infrastructure_for(self, config: BaseModel, port: PortName) -> Infrastructure:
        """What must exist in a cloud for that config; nothing where the adapter declares none.

        Raises:
            PluginError: the module or function cannot be imported.
        """
        if self.infrastructure is None:
            return Infrastructure()
        declared: Infrastructure = self._imported(self.infrastructure, path=str(port))(config)
        return declared

    def serving(self, *, port: int = 0) -> AbstractContextManager[Mapping[str, object]]:
        """Run the adapter's server and give the settings that lead to it; without one, none.

        Raises:
            PluginError: the module or function cannot be imported.
        """
        if self.server is None:
            return nullcontext({})
        context: AbstractContextManager[Mapping[str, object]] = self._imported(self.server, path="server")(port=port)
        return context

    def _imported(self, place: str, *, path: str) -> Any:  # whatever the plugin has there
        module, _, name = place.partition(":")
        try:
            return getattr(import_module(module), name)
        except Exception as exc:  # whatever a plugin raises while it is imported
            raise PluginError(
                f"The adapter {self.name!r} cannot be loaded: {type(exc).__name__}: {exc}. "
                f"Reinstall it with: pip install --force-reinstall {self.distribution or self.name}",
                path=path,
            ) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entry point as ``storycore plugins`` shows it.

    Args:
        adapter: of its name; ``None``: it has a problem, or brings something else, layers for example.
        problem: why it does not work; ``""``: it does.
    """

    name: str
    module: str
    distribution: str
    version: str
    adapter: Adapter | None = None
    problem: str = ""


class Plugins:
    """The plugins of one store; nothing is shared between stores.

    Args:
        extra: modules or objects with hook implementations that need no packaging.
    """

    def __init__(self, extra: Sequence[object] = ()) -> None:
        self._manager = pluggy.PluginManager("storycore")
        self._manager.add_hookspecs(hooks)
        self._loaded: dict[str, Adapter] = {}
        self._entries: dict[str, EntryPoint] | None = None
        self._rivals: dict[str, list[str]] = {}
        for plugin in extra:
            self._register(plugin, name=getattr(plugin, "__name__", repr(plugin)))

    @property
    def hook(self) -> Any:  # pluggy's caller objects are built at run time
        """Call a hook on all loaded plugins: ``plugins.hook.storycore_opened(store=store)``."""
        return self._manager.hook

    def names(self) -> list[str]:
        """The names of all adapters that can be found, loaded or not."""
        return sorted({*self._scan(), *self._loaded})

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name; its plugin module is loaded on first use.

        Raises:
            AdapterNotFound: nothing installed provides it; the message says what to install.
            PluginError: what provides it is broken or speaks another version of the interface.
        """
        if name not in self._loaded:
            self.load(name)
        if name not in self._loaded:
            raise PluginError(f"The plugin {name!r} is installed but provides no adapter of that name.")
        return self._loaded[name]

    def load(self, name: str) -> None:
        """Load the plugin module behind an entry point."""
        entry = self._scan().get(name)
        if entry is None:
            raise self._not_found(name)
        if len(rivals := sorted(self._rivals[name])) > 1:
            raise PluginError(f"The name {name!r} is claimed by {' and '.join(rivals)}; uninstall all but one of them.")
        try:
            module = entry.load()
        except Exception as exc:  # one broken plugin must be reported, whatever it raises
            dist = _distribution(entry)
            raise PluginError(
                f"The plugin {name!r} of {dist} cannot be imported: {type(exc).__name__}: {exc}. "
                f"Reinstall it with: pip install --force-reinstall {dist}"
            ) from exc
        self._register(module, name=name)

    def found(self) -> list[Found]:
        """Every installed entry point, loaded or with its problem; one problem hides nobody else."""
        return [self._look(name, entry) for name, entry in sorted(self._scan().items())]

    def _look(self, name: str, entry: EntryPoint) -> Found:
        dist, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
        try:
            if name not in self._loaded:
                self.load(name)
            adapter = self._loaded.get(name)
            return Found(name=name, module=entry.value, distribution=dist, version=version, adapter=adapter)
        except PluginError as exc:
            return Found(name=name, module=entry.value, distribution=dist, version=version, problem=exc.message)

    def _scan(self) -> dict[str, EntryPoint]:
        if self._entries is None:
            self._entries = {}
            for entry in entry_points(group=GROUP):
                self._entries[entry.name] = entry
                self._rivals.setdefault(entry.name, []).append(_distribution(entry))
        return self._entries

    def _register(self, plugin: object, *, name: str) -> None:
        if self._manager.is_registered(plugin):
            return
        try:
            self._manager.register(plugin, name=f"{name}#{id(plugin)}")
            admitted = [self._admitted(adapter, plugin=name) for adapter in self._offered(plugin)]
        except Exception as exc:  # a plugin's own mistake must name the plugin
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            if isinstance(exc, PluginError):
                raise
            raise PluginError(f"The plugin {name!r} could not be registered: {type(exc).__name__}: {exc}") from exc
        self._loaded.update({adapter.name: adapter for adapter in admitted})

    def _offered(self, plugin: object) -> list[object]:
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        caller = self._manager.subset_hook_caller("storycore_adapters", others)
        return [adapter for given in caller() for adapter in _as_list(given)]

    def _admitted(self, adapter: object, *, plugin: str) -> Adapter:
        if not isinstance(adapter, Adapter):
            raise PluginError(
                f"The plugin {plugin!r} gives a {type(adapter).__name__} in storycore_adapters(), not an Adapter."
            )
        if adapter.api != API:
            raise PluginError(
                f"The plugin {plugin!r} speaks version {adapter.api} of the adapter interface, storycore speaks {API}; "
                f"install matching versions of storycore and {adapter.distribution or plugin}."
            )
        return adapter

    def _not_found(self, name: str) -> AdapterNotFound:
        if name in _SHIPPED:
            cure = f"pip install 'storycore[{name}]'"
            return AdapterNotFound(f"The adapter {name!r} is not installed. Install it with: {cure}", cure=cure)
        known = {*self.names(), *_SHIPPED}
        return AdapterNotFound(
            f"No installed plugin provides the adapter {name!r}. {did_you_mean(name, known)} "
            "`storycore plugins` lists what is installed.",
            suggestion=nearest(name, known),
        )


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _as_list(given: Adapter | Iterable[object]) -> list[object]:
    return [given] if isinstance(given, Adapter) else list(given)
