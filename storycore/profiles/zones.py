"""Time zones by their names."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from storycore.errors import ConfigError
from storycore.suggestions import nearest

__all__ = ["zone_called"]


def zone_called(name: str, path: str) -> tzinfo:
    """The time zone of a name, for example ``"Europe/Berlin"``.

    Args:
        path: the setting that names it.

    Raises:
        ConfigError: there is none; says which was perhaps meant.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as exc:
        near = _nearest_zone(str(name))
        cure = f"Did you mean {near!r}?" if near else "Name it like 'Europe/Berlin'; `pip install tzdata` brings all."
        raise ConfigError(f"{path}: there is no time zone {name!r}. {cure}", path=path, suggestion=near) from exc


def _nearest_zone(name: str) -> str | None:
    """What was perhaps meant, of whole names and of cities."""
    zones = {zone.lower(): zone for zone in available_timezones()}
    cities = {zone.rpartition("/")[2]: original for zone, original in zones.items()}
    found = nearest(name, zones)
    if found is not None:
        return zones[found]
    city = nearest(name.rpartition("/")[2].replace(" ", "_"), cities)
    return None if city is None else cities[city]
