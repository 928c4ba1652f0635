"""What the adapters of a profile declare: port by port, without opening any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from storycore.errors import AdapterNotFound
from storycore.plugins import Plugins
from storycore.ports.infrastructure import Infrastructure
from storycore.ports.lifecycle import PortName
from storycore.profiles import Profile, resolve

__all__ = ["Declared", "declared"]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a profile needs.

    Args:
        profile: its name.
        ports: what must exist, for the ports that need something.
        missing: for the other ports whose adapter is not installed, how to install it.
    """

    profile: str
    ports: Mapping[PortName, Infrastructure]
    missing: Mapping[PortName, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all must exist."""
        return not self.ports


def declared(profile: Profile, plugins: Plugins) -> Declared:
    """What the adapters of ``profile`` need in a cloud; an adapter that is not installed hides no other.

    Raises:
        ConfigError: the settings of a port are wrong.
        PluginError: an adapter is broken.
    """
    ports: dict[PortName, Infrastructure] = {}
    missing: dict[PortName, str] = {}
    for port in PortName:
        try:
            found = _of_port(profile, port, plugins)
        except AdapterNotFound as exc:
            missing[port] = exc.message
            continue
        if found.resources:
            ports[port] = found
    return Declared(profile.name, ports, missing)


def _of_port(profile: Profile, port: PortName, plugins: Plugins) -> Infrastructure:
    settings = profile.port(port)
    adapter = plugins.adapter(settings.adapter)
    if adapter.infrastructure is None:
        return Infrastructure()
    return adapter.infrastructure_for(resolve(settings, adapter, port, plugins=plugins), port)
