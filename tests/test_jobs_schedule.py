"""When a job is due: what the expression says by the wall clock, each time once, also where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.errors import ConfigError
from storycore.jobs.schedule import Schedule

MINUTE = timedelta(minutes=1)

CHANGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "America/Havana": ("2026-03-08T05:00", "2026-11-01T05:00"),
    "America/St_Johns": ("2026-03-08T05:30", "2026-11-01T04:30"),
    "UTC": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Asia/Kolkata": ("2026-03-29T01:00", "2026-10-25T01:00"),
}
"""Zones with the moments of 2026 at which their clocks change, if they do."""

MINUTES = {"0": {0}, "30": {30}, "5,50": {5, 50}, "*": set(range(60)), "*/15": {0, 15, 30, 45}}
HOURS = {"2": {2}, "0": {0}, "1-3": {1, 2, 3}, "*": set(range(24)), "*/6": {0, 6, 12, 18}}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def expected(minute: str, hour: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The due times by looking at every minute, under the rule of Debian's cron."""
    goes_by_real_time = minute.startswith("*") or hour.startswith("*")
    tz, found = ZoneInfo(zone), set()
    wall = after.astimezone(tz).replace(tzinfo=None, second=0) - timedelta(hours=3)
    end = until.astimezone(tz).replace(tzinfo=None) + timedelta(hours=3)
    while wall <= end:
        if wall.minute in MINUTES[minute] and wall.hour in HOURS[hour]:
            found |= _moments(wall, tz, goes_by_real_time)
        wall += MINUTE
    return sorted(moment for moment in found if after < moment <= until)


def _moments(wall: datetime, tz: ZoneInfo, goes_by_real_time: bool) -> set[datetime]:
    """When a wall clock shows a time: once, twice, or never, where a fixed time is put right behind the gap."""
    both = {wall.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1)}
    real = {moment for moment in both if moment.astimezone(tz).replace(tzinfo=None) == wall}
    if goes_by_real_time:
        return real
    if real:
        return {min(real)}
    while not _is_real(wall, tz):
        wall += MINUTE
    return {wall.replace(tzinfo=tz, fold=0).astimezone(UTC)}


def _is_real(wall: datetime, tz: ZoneInfo) -> bool:
    return wall.replace(tzinfo=tz).astimezone(UTC).astimezone(tz).replace(tzinfo=None) == wall


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    zone=st.sampled_from(sorted(CHANGES)),
    which=st.integers(0, 1),
    minute=st.sampled_from(sorted(MINUTES)),
    hour=st.sampled_from(sorted(HOURS)),
    before=st.integers(0, 30 * 60),
    length=st.integers(1, 40 * 60),
    seconds=st.integers(0, 59),
)
def test_due_times_are_those_of_the_wall_clock(
    zone: str, which: int, minute: str, hour: str, before: int, length: int, seconds: int
) -> None:
    """Around a change of clocks each is found once, in order, as by looking at every minute."""
    after = utc(CHANGES[zone][which]) - before * MINUTE + timedelta(seconds=seconds)
    until = after + length * MINUTE
    schedule = Schedule(f"{minute} {hour} * * *", zone)
    assert schedule.due(after, until, most=10_000) == expected(minute, hour, zone, after, until)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    zone=st.sampled_from(["Europe/Berlin", "America/Havana", "UTC"]),
    minute=st.sampled_from(sorted(MINUTES)),
    hour=st.sampled_from(sorted(HOURS)),
    start=st.integers(-4000, 4000),
    length=st.integers(0, 6000),
    most=st.integers(1, 50),
)
def test_where_one_looks_from_changes_nothing(
    zone: str, minute: str, hour: str, start: int, length: int, most: int
) -> None:
    """The newest of a backlog are the end of the whole, and the next one is the first."""
    after = utc(CHANGES[zone][1]) + start * MINUTE
    until = after + length * MINUTE
    schedule = Schedule(f"{minute} {hour} * * *", zone)
    whole = schedule.due(after, until, most=100_000)
    assert schedule.due(after, until, most=most) == whole[-most:]
    following = schedule.next(after)
    assert whole[:1] == ([following] if following is not None and following <= until else [])


@pytest.mark.parametrize(
    ("zone", "cron", "day", "found"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-29", ["01:00"]),
        ("Europe/Berlin", "0,15,30 2 * * *", "2026-03-29", ["01:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25", ["00:30"]),
        ("Europe/Berlin", "30 * * * *", "2026-10-25", [f"{hour:02d}:30" for hour in range(23)]),
        ("Europe/Berlin", "*/30 2 * * *", "2026-03-29", []),
        ("Europe/Berlin", "*/30 2 * * *", "2026-10-25", ["00:00", "00:30", "01:00", "01:30"]),
        ("Europe/Berlin", "0 2 * * *", "2026-06-01", ["00:00"]),
        ("UTC", "0 2 * * SUN", "2026-11-22", ["02:00"]),
        ("UTC", "0 2 1 * *", "2026-11-22", []),
        ("UTC", "0 2 L * *", "2026-11-30", ["02:00"]),
    ],
)
def test_days_of_interest(zone: str, cron: str, day: str, found: list[str]) -> None:
    """A gap runs what falls into it right behind it; a repeated hour runs fixed times once and the rest twice."""
    start = utc(f"{day}T00:00") - timedelta(seconds=1)
    due = Schedule(cron, zone).due(start, start + timedelta(hours=23))
    assert [moment.strftime("%H:%M") for moment in due] == found


@pytest.mark.parametrize(
    ("cron", "named"),
    [
        ("61 * * * *", "minute '61'"),
        ("0 24 * * *", "hour '24'"),
        ("0 0 32 * *", "day of the month '32'"),
        ("0 0 30 2 *", "day of the month '30'"),
        ("0 0 * FEBR *", "month 'FEBR'"),
        ("0 0 * * MONDAY", "day of the week 'MONDAY'"),
        ("0 0 * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("", "five fields"),
        ("0 0 31 2 MON#6", "day of the week"),
        ("*/0 * * * *", "minute '*/0'"),
    ],
)
def test_a_bad_expression_names_its_field(cron: str, named: str) -> None:
    """So does the error's path."""
    with pytest.raises(ConfigError) as caught:
        Schedule(cron, path="jobs.x")
    assert named in caught.value.message
    assert caught.value.path == "jobs.x.cron"


@pytest.mark.parametrize(
    ("zone", "suggestion"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("../etc/passwd", None),
        ("", None),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(zone: str, suggestion: str | None) -> None:
    """Whole names and cities are compared; where the machine knows names in any case, that is fine."""
    try:
        Schedule("0 2 * * *", zone, path="jobs.x")
    except ConfigError as exc:
        assert exc.path == "jobs.x.tz"
        if suggestion is not None:
            assert exc.suggestion == suggestion
    else:
        assert zone == "europe/berlin"


def test_ten_years_of_minutes_are_looked_at_from_their_end() -> None:
    """A long backlog costs what is looked at of it."""
    until = utc("2026-01-01T00:00")
    due = Schedule("* * * * *").due(until - timedelta(days=3650), until, most=10)
    assert due == [until - (9 - n) * MINUTE for n in range(10)]
