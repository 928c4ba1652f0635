"""What every entity store refuses: the limits of the port, one step past each, and that the step before is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from storycore.errors import InvalidArgument, TooLarge
from storycore.ports.entities import EntityStore, QueryPlan, Segment
from storycore.testing.entity_examples import (
    BAD_CALLS,
    BAD_KEYS,
    BAD_PLANS,
    BAD_SCANS,
    BAD_WRITES,
    P,
    find,
    key,
    put,
    walk_segment,
    write,
)

__all__ = ["EntityLimits"]


@pytest.mark.asyncio
class EntityLimits:
    """The part of the EntityStore suite that asks for what is not allowed."""

    @pytest.mark.parametrize("name", BAD_KEYS)
    async def test_a_bad_key_is_refused(self, store: EntityStore, name: str) -> None:
        """One bad key refuses the whole get or write."""
        bad, error = BAD_KEYS[name]
        with pytest.raises(error):
            await store.get([key("a"), bad])
        with pytest.raises(error):
            await store.write([put("a"), put("b", index_keys={1: bad})])
        assert await walk_segment(store, Segment()) == []

    @pytest.mark.parametrize("name", BAD_WRITES)
    async def test_a_bad_write_is_refused_and_its_call_with_it(self, store: EntityStore, name: str) -> None:
        """A write that breaks a rule is refused with its class of error; none of the call is done."""
        bad, error = BAD_WRITES[name]
        for atomic in (False, True):
            with pytest.raises(error):
                await store.write([put("good"), bad], atomic=atomic)
        assert await walk_segment(store, Segment()) == []

    @pytest.mark.parametrize("name", BAD_CALLS)
    async def test_a_bad_call_of_write_is_refused(self, store: EntityStore, name: str) -> None:
        """Contradictions between a call's writes and arguments refuse it before anything is written."""
        writes, arguments, error = BAD_CALLS[name]
        with pytest.raises(error):
            await store.write(writes, **arguments)
        assert await walk_segment(store, Segment()) == []

    @pytest.mark.parametrize("name", BAD_PLANS)
    async def test_a_bad_plan_is_refused(self, store: EntityStore, name: str) -> None:
        """A plan that contradicts itself or leaves its range is ``InvalidArgument`` (or a class below it)."""
        with pytest.raises(InvalidArgument):
            await store.query(BAD_PLANS[name])

    @pytest.mark.parametrize("name", BAD_SCANS)
    async def test_a_bad_scan_is_refused(self, store: EntityStore, name: str) -> None:
        """Segments that do not exist and limits out of range are ``InvalidArgument``."""
        segment, arguments = BAD_SCANS[name]
        with pytest.raises(InvalidArgument):
            await store.scan(segment, **arguments)

    async def test_a_bad_get_is_refused(self, store: EntityStore) -> None:
        """One key, or text, is no sequence of keys."""
        for wrong in (key("a"), "a", None):
            with pytest.raises(InvalidArgument):
                await store.get(wrong)  # type: ignore[arg-type]  # what is refused

    @pytest.mark.parametrize("budget", [0, -1, True, "1"])
    async def test_a_bad_sweep_is_refused(self, store: EntityStore, budget: Any) -> None:
        """A sweep needs an aware instant and a positive budget."""
        for now in (datetime(2026, 1, 1), None):  # noqa: DTZ001 - what is refused
            with pytest.raises(InvalidArgument):
                await store.expire(now)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(InvalidArgument):
            await store.expire(datetime.now().astimezone(), budget=budget)

    async def test_the_largest_page_is_read(self, store: EntityStore) -> None:
        """A limit of 1000 is allowed for query and scan."""
        await write(store, put("a"))
        assert len((await store.query(QueryPlan(pk=P, limit=1000))).records) == 1
        assert len((await store.scan(Segment(0, 1), limit=1000)).records) == 1

    async def test_the_largest_record_is_kept_and_a_larger_one_explained(self, store: EntityStore) -> None:
        """The size counts names, values, keys and a fixed envelope; the error shows each part, largest first."""
        with pytest.raises(TooLarge) as caught:
            await write(store, put("a", fields={"small": "x", "large": "é" * 100_000}, body=b"x" * 300_000))
        breakdown: Mapping[str, int] = caught.value.breakdown
        assert list(breakdown.items())[:2] == [("body", 300_000), ("fields[large]", 200_005)]
        assert breakdown["fields[small]"] == 6
        assert (sum(breakdown.values()), 400 * 1024) == (caught.value.actual, caught.value.limit)
        room = caught.value.limit - (caught.value.actual - 300_000 - 200_005)
        await write(store, put("a", fields={"small": "x"}, body=b"x" * room))
        assert await find(store, "a") is not None
        with pytest.raises(TooLarge):
            await write(store, put("a", fields={"small": "x"}, body=b"x" * (room + 1)))
