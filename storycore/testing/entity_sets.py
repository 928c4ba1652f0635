"""What an entity store promises about sets of text whose members a patch adds and takes away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storycore.errors import InvalidArgument, NotFound, TransactionConflict
from storycore.ports.entities import EntityStore, Patch
from storycore.testing.entity_examples import content, find, key, put, write
from storycore.testing.entity_limits import refused
from storycore.testing.harness import Harness

__all__ = ["EntitySets"]

INCLUDED: list[tuple[str, set[str], set[str]]] = [
    ("a", {"b"}, {"a", "b"}),
    ("ab", {"b"}, {"a", "b"}),
    ("ab", {"b", "c", ""}, {"", "a", "b", "c"}),
    ("", {"é", "👩‍🚀", "A", "a "}, {"é", "👩‍🚀", "A", "a "}),
]
"""What a set holds (nothing: the field is missing), what it gains, and what it holds then."""

EXCLUDED: list[tuple[str, set[str], set[str]]] = [
    ("abc", {"b"}, {"a", "c"}),
    ("ab", {"x"}, {"a", "b"}),
    ("ab", {"a", "x"}, {"b"}),
    ("ab", {"a", "b", "c"}, set()),
    ("", {"a"}, set()),
]
"""What a set holds, what it loses, and what it holds then (nothing: the field is gone)."""

NO_SETS: list[Any] = ["a", 1, 0.5, True]


@pytest.mark.asyncio
class EntitySets:
    """The part of the EntityStore suite that changes members of sets."""

    @pytest.mark.parametrize("atomic", [False, True])
    async def test_a_set_gains_members(self, store: EntityStore, atomic: bool) -> None:
        """``include`` adds members that are not there; a missing field counts as the empty set."""
        for held, gained, then in INCLUDED:
            await write(store, put("a", fields=_fields(set(held))))
            (written,) = await write(store, Patch(key=key("a"), include={"f": frozenset(gained)}), atomic=atomic)
            expected = content(put("a", fields=_fields(then)))
            assert expected == content(await find(store, "a")) == content(written.record), (held, gained)

    @pytest.mark.parametrize("atomic", [False, True])
    async def test_a_set_loses_members(self, store: EntityStore, atomic: bool) -> None:
        """``exclude`` of what is not there is no error, and a set that loses its last member is gone."""
        for held, lost, then in EXCLUDED:
            await write(store, put("a", fields=_fields(set(held))))
            (written,) = await write(store, Patch(key=key("a"), exclude={"f": frozenset(lost)}), atomic=atomic)
            expected = content(put("a", fields=_fields(then)))
            assert expected == content(await find(store, "a")) == content(written.record), (held, lost)

    async def test_a_set_that_was_emptied_can_be_filled_again(self, store: EntityStore) -> None:
        """Nothing of the old members comes back, and the field may also become something else."""
        await write(store, put("a", fields=_fields({"old"})))
        await write(store, Patch(key=key("a"), exclude={"f": frozenset({"old"})}))
        await write(store, Patch(key=key("a"), include={"f": frozenset({"new"})}))
        assert content(put("a", fields=_fields({"new"}))) == content(await find(store, "a"))
        await write(store, Patch(key=key("a"), exclude={"f": frozenset({"new"})}))
        await write(store, Patch(key=key("a"), add={"f": 1}))
        assert content(put("a", fields={"f": 1})) == content(await find(store, "a"))

    async def test_sets_change_beside_everything_else(self, store: EntityStore) -> None:
        """One patch may add to a number, set, unset, include and exclude, each in a field of its own."""
        await write(store, put("a", fields={"n": 1, "u": 1, "i": frozenset("x"), "e": frozenset("xy")}, body=b"b"))
        patch = Patch(
            key=key("a"),
            add={"n": 2},
            set={"s": "t"},
            unset=frozenset({"u"}),
            include={"i": frozenset("z"), "j": frozenset("z")},
            exclude={"e": frozenset("x")},
        )
        await write(store, patch)
        fields = {"n": 3, "s": "t", "i": frozenset("xz"), "j": frozenset("z"), "e": frozenset("y")}
        assert content(put("a", fields=fields, body=b"b")) == content(await find(store, "a"))

    @pytest.mark.parametrize("part", ["include", "exclude"])
    async def test_what_is_no_set_has_no_members(self, store: EntityStore, part: str) -> None:
        """A patch of the members of text, a number or a bool is refused and leaves no trace."""
        change: dict[str, Any] = {part: {"f": frozenset({"a"})}}
        patch = Patch(key=key("a"), set={"g": 2}, **change)
        for held in NO_SETS:
            await write(store, put("a", fields={"f": held, "g": 1}))
            with refused(InvalidArgument, repr(held)):
                await write(store, patch)
            with pytest.raises(TransactionConflict) as caught:
                await write(store, put("b"), patch, atomic=True)
            assert {1: InvalidArgument} == {i: type(error) for i, error in caught.value.reasons.items()}
            assert content(put("a", fields={"f": held, "g": 1})) == content(await find(store, "a"))
            assert await find(store, "b") is None

    @pytest.mark.parametrize("part", ["include", "exclude"])
    async def test_members_of_nothing_are_not_found(self, store: EntityStore, harness: Harness, part: str) -> None:
        """A patch of a set never creates, neither where nothing is nor where something has expired."""
        await write(store, put("old", fields=_fields({"x"}), expires_at=harness.clock.now()))
        change: dict[str, Any] = {part: {"f": frozenset({"x"})}}
        for name in ("none", "old"):
            with pytest.raises(NotFound):
                await write(store, Patch(key=key(name), **change))
            assert await find(store, name) is None

    async def test_no_member_is_lost(self, store: EntityStore) -> None:
        """Concurrent patches of one set all count."""
        await write(store, put("a", fields=_fields({"gone"})))
        gains = [Patch(key=key("a"), include={"f": frozenset({f"{n}"})}) for n in range(20)]
        losses = [Patch(key=key("a"), exclude={"f": frozenset({"gone"})})]
        await asyncio.gather(*(write(store, patch) for patch in gains + losses))
        assert content(put("a", fields=_fields({f"{n}" for n in range(20)}))) == content(await find(store, "a"))


def _fields(members: set[str]) -> dict[str, Any]:
    return {"f": frozenset(members)} if members else {}
