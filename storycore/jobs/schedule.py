"""Schedules: when a job is due, as a pure function of a cron expression and a time zone.

Where the clocks change it is as in Debian's cron: what is due at a time that the day does not have is due right after
the gap, what is due at a time that the day has twice is due the first time, and what is due every hour or every few
minutes goes by the time that really passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from storycore.errors import ConfigError
from storycore.profiles.zones import zone_called

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["MOST", "Schedule", "can_schedule"]

MOST = 1000
"""Of a long backlog so many due times are looked at, the newest."""

_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_CRONSIM_FIELDS = {"day-of-month": "day of the month", "day-of-week": "day of the week"}
_FIRST_WINDOW = timedelta(hours=1)
_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def can_schedule() -> bool:
    """Whether what reads cron expressions is installed."""
    return find_spec("cronsim") is not None


class Schedule:
    """The due times of a cron expression.

    Args:
        cron: five fields: minute, hour, day of the month, month, day of the week; names, lists, ranges, steps, ``L``,
            ``LW`` and ``MON#1`` are understood.
        zone: of the wall clock that the fields are about, for example ``"Europe/Berlin"``.
        path: of the job, for errors: ``"jobs.backup.daily"``.
        zone_path: of the setting that names the zone; ``""``: the job's own.

    Raises:
        ConfigError: the expression or the zone cannot be understood, the expression never comes true, or the package
            that reads it is not installed.
    """

    def __init__(self, cron: str, zone: str = "UTC", *, path: str = "jobs", zone_path: str = "") -> None:
        if not can_schedule():
            raise ConfigError("Jobs need cronsim; install it with: pip install 'storycore[jobs]'", path="jobs")
        self.cron = cron
        self.zone = zone
        self._zone = zone_called(zone, zone_path or f"{path}.tz")
        self._check(f"{path}.cron")

    def next(self, after: datetime) -> datetime | None:
        """The first due time behind a moment, in UTC; ``None`` when there is none within 50 years."""
        return next(self.from_(after), None)

    def from_(self, after: datetime) -> Iterator[datetime]:
        """All due times behind a moment, in UTC, each later than the one before."""
        previous = after.astimezone(UTC)
        for moment in self._simulation(after):
            at = moment.astimezone(UTC)
            is_on_the_clock = at.astimezone(moment.tzinfo).replace(tzinfo=None) == moment.replace(tzinfo=None)
            if at > previous and is_on_the_clock:
                previous = at
                yield at

    def due(self, after: datetime, until: datetime, *, most: int = MOST) -> list[datetime]:
        """The due times behind ``after`` and not behind ``until``, oldest first; of more than ``most`` the newest."""
        window = _FIRST_WINDOW
        while after < until:
            begin = after if until - after <= window else until - window
            found = list(self._between(begin, until))
            if begin == after or len(found) >= most:
                return found[-most:]
            window *= 4
        return []

    def _between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        for moment in self.from_(after):
            if moment > until:
                return
            yield moment

    def _simulation(self, after: datetime) -> CronSim:
        from cronsim import CronSim

        return CronSim(self.cron, after.astimezone(self._zone))

    def _check(self, path: str) -> None:
        from cronsim import CronSimError

        if not isinstance(self.cron, str) or len(self.cron.split()) != len(_FIELDS):
            raise ConfigError(
                f"{path}: {self.cron!r} is no schedule; five fields are expected ({', '.join(_FIELDS)}), for example "
                "'0 2 * * *' for two o'clock every night.",
                path=path,
            )
        try:
            self._simulation(_LONG_AGO)
        except CronSimError as exc:
            raise ConfigError(self._refusal(path, str(exc)), path=path) from exc
        if self.next(_LONG_AGO) is None:
            raise ConfigError(f"{path}: {self.cron!r} never comes true.", path=path)

    def _refusal(self, path: str, said: str) -> str:
        name = said.removeprefix("Bad ")
        name = _CRONSIM_FIELDS.get(name, name)
        shown = f" {self.cron.split()[_FIELDS.index(name)]!r}" if name in _FIELDS else ""
        return f"{path}: the {name}{shown} of {self.cron!r} cannot be understood, or no month has such a day."
