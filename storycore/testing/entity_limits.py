"""What every entity store refuses: the limits of the port, one step past each, and that the step before is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from storycore.errors import InvalidArgument, StorycoreError, TooLarge
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

    async def test_a_bad_key_is_refused(self, store: EntityStore) -> None:
        """One bad key refuses the whole get or write."""
        for name, (bad, error) in BAD_KEYS.items():
            with refused(error, name):
                await store.get([key("a"), bad])
            with refused(error, name):
                await store.write([put("a"), put("b", index_keys={1: bad})])
        assert await walk_segment(store, Segment()) == []

    async def test_a_bad_write_is_refused_and_its_call_with_it(self, store: EntityStore) -> None:
        """A write that breaks a rule is refused with its class of error; none of the call is done."""
        for name, (bad, error) in BAD_WRITES.items():
            for atomic in (False, True):
                with refused(error, name):
                    await store.write([put("good"), bad], atomic=atomic)
        assert await walk_segment(store, Segment()) == []

    async def test_a_bad_call_of_write_is_refused(self, store: EntityStore) -> None:
        """Contradictions between a call's writes and arguments refuse it before anything is written."""
        for name, (writes, arguments, error) in BAD_CALLS.items():
            with refused(error, name):
                await store.write(writes, **arguments)
        assert await walk_segment(store, Segment()) == []

    async def test_a_bad_plan_is_refused(self, store: EntityStore) -> None:
        """A plan that contradicts itself or leaves its range is ``InvalidArgument`` (or a class below it)."""
        for name, plan in BAD_PLANS.items():
            with refused(InvalidArgument, name):
                await store.query(plan)

    async def test_a_bad_scan_is_refused(self, store: EntityStore) -> None:
        """Segments that do not exist and limits out of range are ``InvalidArgument``."""
        for name, (segment, arguments) in BAD_SCANS.items():
            with refused(InvalidArgument, name):
                await store.scan(segment, **arguments)

    async def test_a_bad_get_is_refused(self, store: EntityStore) -> None:
        """One key, or text, is no sequence of keys."""
        for wrong in (key("a"), "a", None):
            with pytest.raises(InvalidArgument):
                await store.get(wrong)  # type: ignore[arg-type]  # what is refused

    async def test_a_bad_sweep_is_refused(self, store: EntityStore) -> None:
        """A sweep needs an aware instant and a positive budget."""
        for now in (datetime(2026, 1, 1), "2026-01-01", None):  # noqa: DTZ001 - what is refused
            with refused(InvalidArgument, f"now {now}"):
                await store.expire(now)  # type: ignore[arg-type]  # what is refused
        for budget in (0, -1, True, "1", None):
            with refused(InvalidArgument, f"budget {budget!r}"):
                await store.expire(datetime(2026, 1, 1, tzinfo=UTC), budget=budget)  # type: ignore[arg-type]  # refused

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


@contextmanager
def refused(error: type[StorycoreError], name: str) -> Iterator[None]:
    """Demand that the block raises ``error``; what it does instead is told with the name of the case."""
    try:
        yield
    except error:
        return
    except Exception as exc:
        raise AssertionError(f"{name}: expected {error.__name__}, got {exc!r}") from exc
    raise AssertionError(f"{name}: expected {error.__name__}, but it was accepted")
