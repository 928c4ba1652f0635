"""Building ports: from settings to an adapter with its layers and checks, made and opened when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel

from storycore.errors import ConfigError
from storycore.layers.around import Around, Interceptor
from storycore.layers.checks import checked
from storycore.layers.coalescing import CoalescedEntities
from storycore.layers.deadline import Deadlines
from storycore.layers.deferred import Deferred
from storycore.layers.stack import interceptor, stacked
from storycore.plugins import Plugins
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Port, PortName
from storycore.profiles import PortSettings, Profile, resolve

__all__ = ["InitReport", "PortBuilder", "demand"]


@dataclass(frozen=True, slots=True)
class InitReport:
    """What ``init`` did.

    Args:
        actions: one sentence per thing that was created, by port.
        warmed: how many entities were brought into the cache.
        differences: what is there but not as the profile declares it, and was left so, by port: one sentence each.
    """

    actions: Mapping[str, Sequence[str]]
    warmed: int = 0
    differences: Mapping[str, Sequence[str]] = field(default_factory=dict)


class PortBuilder:
    """Makes ports of one store.

    Args:
        plugins: where adapters and more layers come from.
        env: handed to every adapter.
        metrics: counts the operations of every port.
    """

    def __init__(self, plugins: Plugins, env: Environment, metrics: Interceptor) -> None:
        self._plugins = plugins
        self._env = env
        self._metrics = metrics

    def config(self, port: PortName, settings: PortSettings) -> BaseModel:
        """The adapter's own settings.

        Raises:
            ConfigError: they cannot be used.
        """
        return resolve(settings, self._plugins.adapter(settings.adapter), port, plugins=self._plugins)

    def deferred(
        self,
        port: PortName,
        settings: PortSettings,
        config: Callable[[], BaseModel],
        *,
        dressed: Callable[[Port], Port] | None = None,
    ) -> Deferred:
        """A port that is built and opened when it is first used; whoever asks for it closes it.

        Args:
            config: gives the adapter's settings, when the port is built.
            dressed: puts more around the adapter and its layers, below the checks.
        """
        return Deferred(port, lambda: self._build(port, settings, config(), dressed or _bare))

    def another(self, port: PortName, settings: PortSettings) -> Deferred:
        """One more port beside the profile's; whoever asks for it closes it.

        Raises:
            ConfigError: its settings cannot be used.
        """
        config = self.config(port, settings)
        return self.deferred(port, settings, lambda: config)

    def _build(
        self, port: PortName, settings: PortSettings, config: BaseModel, dressed: Callable[[Port], Port]
    ) -> Port:
        adapter = self._plugins.adapter(settings.adapter)
        inner: Port = stacked(port, adapter.opener(port)(config, self._env), self._layers(port, settings))
        if inner.capabilities.has("entities.batch_get"):
            inner = CoalescedEntities(cast(EntityStore, inner))
        built: Port = checked(port, Around(port, dressed(inner), [Deadlines()]))
        return built

    def _layers(self, port: PortName, settings: PortSettings) -> list[Interceptor]:
        offered = self._plugins.hook.storycore_layers(port=port, adapter=settings.adapter)
        named = [
            interceptor(layer.use, layer.options, self._env, path=f"{port}.layers.{layer.use}")
            for layer in settings.layers
        ]
        plugged = [layer for layers in offered for layer in layers]
        return (
            sorted([self._metrics, *plugged, *named], key=lambda layer: layer.slot)
            if plugged
            else [self._metrics, *named]
        )


def _bare(port: Port) -> Port:
    return port


def demand(need: str, profile: Profile, ports: Mapping[PortName, Port]) -> None:
    """Raise unless a requirement of the profile is met.

    Args:
        need: a capability such as ``"entities.changes>=native"``, or a guarantee, which all ports that keep data give.

    Raises:
        ConfigError: it names no port.
        Unsupported: a port does not have it.
    """
    name = need.partition(".")[0]
    if name == "guarantees":
        asked = [PortName.ENTITIES, PortName.VECTORS, PortName.BLOBS, PortName.EVENTS]
    elif name in list(PortName):
        asked = [PortName(name)]
    else:
        raise ConfigError(f"Requirement {need!r} must begin with a port's name or 'guarantees'.", path="requires")
    for port in asked:
        ports[port].capabilities.check(need, adapter=profile.port(port).adapter)
