"""Retention: which backups are kept, as a pure function of what there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from storycore.errors import InvalidArgument

__all__ = ["Kept", "Made", "Retention", "kept"]


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past stays; a backup stays when any rule wants it.

    Args:
        last: so many of the newest.
        daily: of so many days that have backups, each day's newest.
        weekly: of so many weeks (Monday to Sunday), each week's newest.
        monthly: of so many months, each month's newest.
        yearly: of so many years, each year's newest.
        verified: so many of the newest that were verified stay whatever the other rules say; at least 1.

    Raises:
        InvalidArgument: a number is negative, or ``verified`` is 0.
    """

    last: int = 3
    daily: int = 7
    weekly: int = 5
    monthly: int = 12
    yearly: int = 0
    verified: int = 1

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < (name == "verified"):
                raise InvalidArgument(
                    f"Retention keeps {name}={getattr(self, name)} backups; at least "
                    f"{int(name == 'verified')} is possible."
                )


@dataclass(frozen=True, slots=True)
class Made:
    """What retention looks at.

    Args:
        id: of the backup.
        at: the moment whose state it holds, aware.
        parent: the backup without which it cannot be restored; ``None`` of a full one.
        is_verified: whether it was read to the end and found whole.
        pin: why it stays whatever the rules say; ``""``: the rules decide.
    """

    id: str
    at: datetime
    parent: str | None = None
    is_verified: bool = False
    pin: str = ""


Kept = Mapping[str, Sequence[str]]
"""Ids of what stays, with the reasons: ``"daily 2026-11-22"``, ``"parent of daily_20261122_020000"``, …"""


def kept(made: Sequence[Made], rules: Retention, *, zone: tzinfo) -> Kept:
    """What stays. Days, weeks and months are the calendar's in ``zone``.

    What a kept backup needs for its restore is kept with it, and so is everything of the newest verified chains. A
    backup that is not in the result may go.
    """
    newest = sorted(made, key=lambda each: (each.at, each.id), reverse=True)
    reasons: dict[str, list[str]] = defaultdict(list)
    for count, name, period in _calendar(rules, zone):
        for each, label in _newest_of_each(newest, count, period):
            reasons[each.id].append(f"{name} {label}")
    for number, each in enumerate(newest[: rules.last], 1):
        reasons[each.id].append(f"last {number}")
    for each in [each for each in newest if each.is_verified][: rules.verified]:
        reasons[each.id].append("newest verified")
    for each in newest:
        if each.pin:
            reasons[each.id].append(each.pin)
    _keep_parents({each.id: each for each in made}, reasons)
    return {each.id: tuple(reasons[each.id]) for each in newest if reasons.get(each.id)}


def _calendar(rules: Retention, zone: tzinfo) -> list[tuple[int, str, Callable[[Made], str]]]:
    def day(each: Made) -> date:
        return each.at.astimezone(zone).date()

    def week(each: Made) -> str:
        year, number, _ = day(each).isocalendar()
        return f"{year}-W{number:02d}"

    return [
        (rules.daily, "daily", lambda each: day(each).isoformat()),
        (rules.weekly, "weekly", week),
        (rules.monthly, "monthly", lambda each: f"{day(each):%Y-%m}"),
        (rules.yearly, "yearly", lambda each: f"{day(each):%Y}"),
    ]


def _newest_of_each(newest: Sequence[Made], count: int, period: Callable[[Made], str]) -> list[tuple[Made, str]]:
    found: dict[str, Made] = {}
    for each in newest:
        found.setdefault(period(each), each)
    return [(each, label) for label, each in list(found.items())[:count]]


def _keep_parents(by_id: Mapping[str, Made], reasons: dict[str, list[str]]) -> None:
    for id_ in list(reasons):
        child = by_id[id_]
        while child.parent is not None and child.parent in by_id:
            if (reason := f"parent of {child.id}") not in reasons[child.parent]:
                reasons[child.parent].append(reason)
            child = by_id[child.parent]
