"""The frozen settings of a store: which adapter serves each port, with what options, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from storycore.errors import ConfigError
from storycore.ports.lifecycle import PortName
from storycore.profiles.redaction import redacted, redacted_url

__all__ = ["CachingSettings", "LayerSettings", "PortSettings", "Profile"]


class LayerSettings(BaseModel):
    """One layer around a port.

    Args:
        use: the layer's name, for example ``"retry"``.
        options: its settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: str
    options: Mapping[str, object] = Field(default_factory=dict)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "use", self.use
        yield "options", redacted(self.options)


class PortSettings(BaseModel):
    """Which adapter serves a port.

    Args:
        adapter: its name, which is also the scheme of ``url``.
        url: where the data is, as it was given; ``""`` when only options were given.
        options: settings by name; they win over what the URL says.
        layers: around the adapter, outermost first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: str
    url: str = ""
    options: Mapping[str, object] = Field(default_factory=dict)
    layers: tuple[LayerSettings, ...] = ()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "adapter", self.adapter
        yield "url", redacted_url(self.url)
        yield "options", redacted(self.options)
        yield "layers", self.layers


class CachingSettings(BaseModel):
    """How reads are cached above the ports.

    Args:
        entities: whether reads of entities go through the cache.
        entity_ttl_seconds: how long a cached entity lives.
        l1_max_bytes: how much the memory tier may hold.
        l1_ttl_seconds: how long a copy in memory lives at most; ``None``: 5 seconds where several processes may share
            the cache and it does not tell changes, else as long as the value.
        follow_changes: whether cached entities are also invalidated by the store's change feed, for the sake of
            writers that die before they can do it, or know nothing of the cache.
        command_timeout_ms: how long a call of the cache may hold up a caller, who then goes on without it; 0: as long
            as it takes.
        degraded_ttl_seconds: how long a copy in memory lives at most while the cache is let alone after failures.
        signing_keys: secrets, or references to them; cached values are signed with the first, and read when signed
            with any. Without any, damage is found, and forgery is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entities: bool = True
    entity_ttl_seconds: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    l1_max_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    l1_ttl_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    follow_changes: bool = False
    command_timeout_ms: float = Field(default=250.0, ge=0, le=60_000, allow_inf_nan=False)
    degraded_ttl_seconds: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    signing_keys: tuple[str, ...] = Field(default=(), repr=False)

    @field_validator("signing_keys", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A variable of the environment lists them with commas."""
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


class Profile(BaseModel):
    """Everything that ``storycore.open`` needs to know.

    Args:
        name: of the profile.
        dir: the folder of a local layer, absolute; ``{dir}`` in a setting stands for it.
        namespace: keeps several applications apart in one cache or index.
        cursor_key: signs the cursors of listings; a secret, or a reference to one. ``""`` derives it from the
            namespace, which guards against mistakes, but not against somebody who wants to forge a cursor.
        requires: capabilities that are checked when the store opens, for example ``"guarantees.durability>=disk"``.
        plugins: entry points that are loaded although no port uses their adapter.
        caching: how reads are cached above the ports.
        origins: path of a setting (``"cache.url"``) to where its value came from, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dir: Path
    namespace: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    cursor_key: str = Field(default="", repr=False)
    entities: PortSettings
    cache: PortSettings
    vectors: PortSettings
    blobs: PortSettings
    events: PortSettings
    embedder: PortSettings
    reranker: PortSettings | None = None
    requires: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    caching: CachingSettings = Field(default_factory=CachingSettings)
    origins: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @property
    def ports(self) -> tuple[PortName, ...]:
        """The ports that the profile has: all but those that are optional and not set."""
        return tuple(name for name in PortName if getattr(self, name) is not None)

    def port(self, name: PortName) -> PortSettings:
        """The settings of one port.

        Raises:
            ConfigError: the port is optional and the profile does without it.
        """
        settings: PortSettings | None = getattr(self, name)
        if settings is None:
            raise ConfigError(
                f'The profile {self.name!r} has no {name}; add {name} = "memory://" (or another URL) to it.',
                path=str(name),
            )
        return settings

    def adapter_names(self) -> list[str]:
        """The adapters that the ports use, each once, in the order of the ports."""
        return list(dict.fromkeys(self.port(name).adapter for name in self.ports))
