"""Retention keeps what a calendar, walked day by day, keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.backup.retention import Made, Retention, kept
from storycore.errors import InvalidArgument

ZONES = [UTC, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Auckland")]
NEW_YEAR = datetime(2025, 12, 20, tzinfo=UTC)


@st.composite
def histories(draw: st.DrawFn) -> list[Made]:
    """Backups at odd hours over some months, fulls and deltas, some verified."""
    hours = draw(st.lists(st.integers(0, 24 * 120), min_size=1, max_size=25, unique=True))
    made: list[Made] = []
    for number, hour in enumerate(sorted(hours)):
        parent = made[-1].id if made and draw(st.booleans()) else None
        at = NEW_YEAR + timedelta(hours=hour)
        made.append(Made(f"b{number:02d}", at, parent, draw(st.booleans()), draw(st.integers(0, 9)) == 0))
    return made


RULES = st.builds(
    Retention,
    last=st.integers(0, 3),
    daily=st.integers(0, 4),
    weekly=st.integers(0, 3),
    monthly=st.integers(0, 3),
    yearly=st.integers(0, 2),
    verified=st.integers(1, 2),
)


def walked(made: list[Made], rules: Retention, zone: ZoneInfo) -> set[str]:
    """The same rules, by going back through the calendar one day at a time."""
    local = {each.id: each.at.astimezone(zone) for each in made}
    keep: set[str] = set()

    def newest_in(days: set[str]) -> str | None:
        inside = [each for each in made if local[each.id].date().isoformat() in days]
        return max(inside, key=lambda each: each.at).id if inside else None

    for count, period in [
        (rules.daily, lambda day: day.isoformat()),
        (rules.weekly, lambda day: str(day - timedelta(days=day.weekday()))),
        (rules.monthly, lambda day: (day.year, day.month)),
        (rules.yearly, lambda day: day.year),
    ]:
        day, found, last = max(at.date() for at in local.values()), 0, min(at.date() for at in local.values())
        while day >= last and found < count:
            whole = {d.isoformat() for d in _days_around(day) if period(d) == period(day)}
            if (best := newest_in(whole)) is not None:
                keep.add(best)
                found += 1
            here = period(day)
            while day >= last and period(day) == here:
                day -= timedelta(days=1)
    ordered = sorted(made, key=lambda each: each.at)
    keep |= {each.id for each in ordered[max(0, len(ordered) - rules.last) :]}
    keep |= {each.id for each in [each for each in ordered if each.is_verified][-rules.verified :]}
    keep |= {each.id for each in made if each.pin}
    by_id = {each.id: each for each in made}
    while missing := {parent for id_ in keep if (parent := by_id[id_].parent) and parent not in keep}:
        keep |= missing
    return keep


def _days_around(day: object) -> list:  # type: ignore[type-arg]  # dates
    return [day + timedelta(days=n) for n in range(-366, 367)]  # type: ignore[operator]  # dates


@settings(max_examples=60, deadline=None)
@given(histories(), RULES, st.sampled_from(ZONES))
def test_retention_is_the_calendars(made: list[Made], rules: Retention, zone: ZoneInfo) -> None:
    """Every rule, in every zone, with the parents of what stays."""
    assert walked(made, rules, zone) == set(kept(made, rules, zone=zone))


@settings(max_examples=60, deadline=None)
@given(histories(), RULES)
def test_the_newest_verified_chain_is_never_lost(made: list[Made], rules: Retention) -> None:
    """Whatever the rules: it stays with everything that its restore needs, and each has a reason."""
    stays = kept(made, rules, zone=UTC)
    verified = [each for each in made if each.is_verified]
    if verified:
        chain = max(verified, key=lambda each: each.at)
        by_id = {each.id: each for each in made}
        while chain.parent:
            assert chain.id in stays
            chain = by_id[chain.parent]
        assert chain.id in stays
    assert all(stays.values())


def test_a_day_is_the_zones() -> None:
    """Two backups of one evening in New York lie on two days in UTC."""
    made = [
        Made("a", datetime(2026, 3, 8, 23, 0, tzinfo=UTC)),
        Made("b", datetime(2026, 3, 9, 1, 0, tzinfo=UTC)),
    ]
    rules = Retention(last=0, daily=2, weekly=0, monthly=0)
    assert set(kept(made, rules, zone=UTC)) == {"a", "b"}
    assert set(kept(made, rules, zone=ZoneInfo("America/New_York"))) == {"b"}


@pytest.mark.parametrize("bad", [{"last": -1}, {"yearly": -2}, {"verified": 0}])
def test_rules_that_cannot_be_are_refused(bad: dict[str, int]) -> None:
    """No negative numbers, and one verified backup always stays."""
    with pytest.raises(InvalidArgument):
        Retention(**bad)
