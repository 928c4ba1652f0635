"""What the adapters of a profile declare: port by port, without opening any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from pydantic import BaseModel, SecretStr

from storycore.errors import AdapterNotFound
from storycore.plugins import Adapter, Plugins
from storycore.ports.infrastructure import Infrastructure
from storycore.ports.lifecycle import PortName
from storycore.profiles import PortSettings, Profile, resolve, stated_options

__all__ = ["Declared", "declared"]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a profile needs.

    Args:
        profile: its name.
        ports: what must exist, for the ports that need something.
        missing: what hinders the ports whose adapter is not installed or does not serve them, and the cure.
    """

    profile: str
    ports: Mapping[PortName, Infrastructure]
    missing: Mapping[PortName, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all must exist."""
        return not self.ports


def declared(profile: Profile, plugins: Plugins) -> Declared:
    """What the adapters of ``profile`` need in a cloud; an adapter that is not there hides no other.

    Raises:
        ConfigError: the settings of a port are wrong.
        PluginError: an adapter is broken.
    """
    ports: dict[PortName, Infrastructure] = {}
    missing: dict[PortName, str] = {}
    for port in profile.ports:
        try:
            adapter = plugins.adapter(profile.port(port).adapter)
        except AdapterNotFound as exc:
            missing[port] = exc.message
            continue
        if port not in adapter.ports:
            missing[port] = f"The adapter {adapter.name!r} does not serve {port}; set another one."
            continue
        found = _of_port(profile.port(port), adapter, port, plugins)
        if found.resources:
            ports[port] = found
    return Declared(profile.name, ports, missing)


def _of_port(settings: PortSettings, adapter: Adapter, port: PortName, plugins: Plugins) -> Infrastructure:
    if adapter.infrastructure is None:
        return Infrastructure()
    stated = stated_options(settings, adapter, port)
    open_options = {name: value for name, value in stated.items() if not _is_secret(adapter.config_for(port), name)}
    without = PortSettings(adapter=settings.adapter, options=open_options)
    return adapter.infrastructure_for(resolve(without, adapter, port, plugins=plugins), port)


def _is_secret(model: type[BaseModel], name: str) -> bool:
    """Whether a setting holds a secret: it is not looked up, for nothing is opened with it."""
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    return SecretStr in (annotation, *get_args(annotation))
