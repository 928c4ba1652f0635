"""Expressions: conditions, updates and key ranges as text, every name and value behind a placeholder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from storycore.ports.conditions import ABSENT, PRESENT, Condition, Matches
from storycore_dynamodb._wire import AttributeValue, Item, number

__all__ = ["Expression", "condition_of", "difference", "is_expired_or_absent", "is_live", "pinned"]


class Expression:
    """The names and values of one request's expressions."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, AttributeValue] = {}

    def name(self, attribute: str) -> str:
        """The placeholder of an attribute's name."""
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self, value: AttributeValue) -> str:
        """A placeholder of a value."""
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = value
        return placeholder

    def request(self, **expressions: str) -> dict[str, Any]:
        """The part of a request that holds the expressions; an empty one is left out."""
        request: dict[str, Any] = {name: text for name, text in expressions.items() if text}
        if self._names:
            request["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in self._names.items()}
        if self._values:
            request["ExpressionAttributeValues"] = self._values
        return request


def is_live(e: Expression, now: int) -> str:
    """The item, if there is one, has not expired at ``now`` (microseconds)."""
    expiry = e.name("_x")
    return f"(attribute_not_exists({expiry}) OR {expiry} > {e.value(number(now))})"


def condition_of(e: Expression, when: Condition, now: int, *, below: int | None = None) -> str:
    """A write's condition; an expired item counts as absent.

    Args:
        e: gets the names and values.
        when: what the write demands.
        now: the present in microseconds.
        below: a version that a stored item, live or not, must be below; ``None``: any.
    """
    if isinstance(when, Matches):
        return f"{e.name('_v')} = {e.value(number(when.version))} AND {is_live(e, now)}"
    floor = "" if below is None else f"{e.name('_v')} < {e.value(number(below))}"
    if when == PRESENT:
        there = floor or f"attribute_exists({e.name('pk')})"
        return f"{there} AND {is_live(e, now)}"
    if when == ABSENT:
        expired = f"{e.name('_x')} <= {e.value(number(now))}"
        return f"attribute_not_exists({e.name('pk')}) OR ({expired}{f' AND {floor}' if floor else ''})"
    return f"attribute_not_exists({e.name('pk')}) OR {floor}" if floor else is_live(e, now)


def pinned(e: Expression, stored: Item | None) -> str:
    """The item is still the one that was read; ``None``: there is still none."""
    if stored is None:
        return f"attribute_not_exists({e.name('pk')})"
    return f"{e.name('_v')} = {e.value(stored['_v'])}"


def difference(e: Expression, old: Item, new: Item) -> str:
    """The update that makes the new item of the old one."""
    changed = [name for name, value in new.items() if old.get(name) != value]
    gone = [name for name in old if name not in new]
    return update(e, {name: new[name] for name in changed}, gone)


def update(e: Expression, given: Item, gone: Iterable[str]) -> str:
    """The update that sets some attributes and removes others."""
    sets = ", ".join(f"{e.name(name)} = {e.value(value)}" for name, value in given.items())
    removes = ", ".join(e.name(name) for name in gone)
    return " ".join([*([f"SET {sets}"] if sets else []), *([f"REMOVE {removes}"] if removes else [])])


def is_expired_or_absent(e: Expression, now: int) -> str:
    """There is no item, or it has expired at ``now`` (microseconds)."""
    return f"attribute_not_exists({e.name('pk')}) OR {e.name('_x')} <= {e.value(number(now))}"
