"""How a store's checkup is put together from its profile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from storycore.health.checkup import Checkup
from storycore.ports.lifecycle import Health, Port, PortName
from storycore.profiles import Profile

__all__ = ["assembled"]


def assembled(
    profile: Profile,
    ports: Mapping[PortName, Port],
    *,
    jobs: Callable[[], Awaitable[Health | None]],
    plugged: Callable[[], Iterable[Mapping[str, Health]]],
    last_errors: Mapping[str, str],
) -> Checkup:
    """The checkup of a store.

    Args:
        ports: the store's.
        jobs: how its jobs do.
        plugged: what plugins say.
        last_errors: the class of the last error of each port.

    Raises:
        ConfigError: a required port is one that the profile does without.
    """
    settings = profile.health
    for name in settings.required:
        profile.port(name)
    read_only = {name for name in ports if any(layer.use == "readonly" for layer in profile.port(name).layers)}
    return Checkup(
        ports,
        required=frozenset(settings.required),
        read_only=frozenset(map(str, read_only)),
        jobs=jobs,
        plugged=lambda: {name: line for lines in plugged() for name, line in lines.items()},
        last_errors=last_errors,
        timeout=settings.timeout_seconds,
        keep=settings.keep_seconds,
    )
