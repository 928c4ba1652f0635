"""Typed regions: what is kept, for how long, and what callers get."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from storycore.caching import Caching, JsonCodec
from storycore.caching.envelope import Envelope
from storycore.caching.templates import Template, bounded_key
from storycore.errors import ConfigError, InvalidArgument
from storycore.layers.checks import checked
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.cache import Cache, CacheItem
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock


class Story(BaseModel):
    id: str
    words: list[str] = []
    title: str = Field(default="", alias="Title")


@dataclass
class Bench:
    port: Cache
    env: Environment
    clock: ManualClock
    caching: Caching

    def process(self, **options: Any) -> Caching:
        """Another process on the same port."""
        return Caching(self.port, self.env, **options)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = ManualClock()
    env = Environment(clock=clock, random=random.Random(5))
    async with checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env)) as port:
        made = Bench(port, env, clock, Caching(port, env))
        yield made
        await made.caching.close()


class Loader:
    """Counts its calls."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls: list[dict[str, Any]] = []

    async def __call__(self, **parameters: Any) -> Any:
        self.calls.append(parameters)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def test_the_loader_gets_the_parameters_and_is_called_once(bench: Bench) -> None:
    """The first read loads; the second comes from memory, the third, in another process, from the shared tier."""
    region = bench.caching.region("story:{user_id}:{story_id}", Story, ttl=60)
    load = Loader(Story(id="s", words=["a"]))
    for _ in range(2):
        assert await region.get_or_load(user_id="u", story_id="s", load=load) == load.result
    other = bench.process().region("story:{user_id}:{story_id}", Story, ttl=60)
    assert await other.get_or_load(user_id="u", story_id="s", load=load) == load.result
    assert load.calls == [{"user_id": "u", "story_id": "s"}]
    assert (region.stats().memory_hits, region.stats().misses, other.stats().shared_hits) == (1, 1, 1)
    assert region.stats().hit_rate == 0.5


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 0),
        (str, ""),
        (bool, False),
        (bytes, b"\x00\xff"),
        (list[int], []),
        (dict[str, Decimal], {"a": Decimal("1.10")}),
        (tuple[int, str], (1, "a")),
        (frozenset[str], frozenset({"a"})),
        (date, date(2026, 1, 1)),
        (Story, Story(id="s", Title="named by an alias")),
        (Story | None, None),
    ],
    ids=str,
)
async def test_values_of_any_type_come_back_equal(bench: Bench, kind: Any, value: Any) -> None:
    """Falsy values are values, and a type that admits ``None`` keeps it."""
    load = Loader(value)
    for caching in (bench.caching, bench.caching, bench.process(), bench.process(l1_ttl=0)):
        found = await caching.region("v:{k}", kind, ttl=60).get_or_load(k=1, load=load)
        assert (type(found), found) == (type(value), value)
    assert len(load.calls) == 1


async def test_no_caller_can_change_what_another_gets(bench: Bench) -> None:
    """Mutable values are handed out as copies, to the loader's caller, from memory and to those who join a load."""
    region = bench.caching.region("story:{id}", Story, ttl=60)
    load = Loader(Story(id="s", words=["a"]))
    first, joined = await asyncio.gather(*(region.get_or_load(id="s", load=load) for _ in range(2)))
    again = await region.get_or_load(id="s", load=load)
    assert first is not None
    assert joined is not None
    assert again is not None
    for story in (first, joined, again):
        story.words.append("changed")
    found = await region.get_or_load(id="s", load=load)
    assert found is not None
    assert found.words == ["a"]


async def test_an_immutable_value_is_shared(bench: Bench) -> None:
    """What nobody can change is handed out as it is, without decoding it again."""
    region = bench.caching.region("t:{k}", tuple[str, ...], ttl=60)  # type: ignore[arg-type]  # a type form
    load = Loader(("a", "b"))
    await region.get_or_load(k=1, load=load)
    assert await region.get_or_load(k=1, load=load) is await region.get_or_load(k=1, load=load)


async def test_nothing_there_is_remembered_only_if_asked(bench: Bench) -> None:
    """``None`` is loaded again each time, unless ``negative_ttl`` says how long it holds; it is no miss then."""
    load = Loader(None)
    forgetful = bench.caching.region("a:{k}", Story, ttl=60)
    assert [await forgetful.get_or_load(k=1, load=load) for _ in range(3)] == [None] * 3
    assert (len(load.calls), await forgetful.entry(k=1)) == (3, None)
    mindful = bench.caching.region("b:{k}", Story, ttl=60, negative_ttl=5, jitter=0)
    for caching in (bench.caching, bench.process()):
        region = caching.region("b:{k}", Story, ttl=60, negative_ttl=5, jitter=0)
        assert await region.get_or_load(k=1, load=load) is None
    entry = await mindful.entry(k=1)
    assert entry is not None
    assert (entry.absent, entry.value, len(load.calls)) == (True, None, 4)
    bench.clock.advance(5)
    await mindful.get_or_load(k=1, load=load)
    assert len(load.calls) == 5


async def test_a_thousand_who_ask_for_nothing_load_once(bench: Bench) -> None:
    """Also what is not kept is loaded once for all who ask at the same time."""
    region, load = bench.caching.region("a:{k}", Story, ttl=60), Loader(None)
    assert await asyncio.gather(*(region.get_or_load(k=1, load=load) for _ in range(1000))) == [None] * 1000
    assert len(load.calls) == 1


async def test_an_error_is_raised_to_all_and_not_kept(bench: Bench) -> None:
    """Everybody who waits gets the loader's own error; the next read loads again, and the lease is free."""
    region, load = bench.caching.region("a:{k}", Story, ttl=60), Loader(ZeroDivisionError("no"))
    outcomes = await asyncio.gather(*(region.get_or_load(k=1, load=load) for _ in range(9)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 9
    assert len(load.calls) == 1
    load.result = Story(id="s")
    assert await region.get_or_load(k=1, load=load) == load.result
    assert (region.stats().load_errors, region.stats().loads) == (1, 2)


async def test_a_value_is_fresh_for_its_ttl(bench: Bench) -> None:
    """Without jitter exactly so long; with jitter never longer, and at least the rest of it."""
    exact, load = bench.caching.region("a:{k}", int, ttl=timedelta(seconds=60), jitter=0), Loader(1)
    await exact.get_or_load(k=1, load=load)
    bench.clock.advance(timedelta(seconds=60) - timedelta(microseconds=1))
    assert await exact.entry(k=1) is not None
    bench.clock.advance(timedelta(microseconds=1))
    assert await exact.entry(k=1) is None
    spread = bench.caching.region("b:{k}", int, ttl=100, jitter=0.2)
    for k in range(50):
        await spread.get_or_load(k=k, load=load)
    bench.clock.advance(79.9)
    assert [await spread.entry(k=k) is not None for k in range(50)] == [True] * 50
    bench.clock.advance(10)
    assert 5 < sum([await spread.entry(k=k) is not None for k in range(50)]) < 45
    bench.clock.advance(10.1)
    assert [await spread.entry(k=k) for k in range(50)] == [None] * 50


async def test_an_older_value_stands_in_for_a_failing_load(bench: Bench) -> None:
    """Up to ``max_stale`` beyond its ttl, never after an invalidation by key or tag."""
    region = bench.caching.region("a:{k}", int, ttl=10, jitter=0, max_stale=60, tags=("t",))
    fail = Loader(ZeroDivisionError())
    for k in range(3):
        await region.get_or_load(k=k, load=Loader(k))
    bench.clock.advance(69)
    assert await asyncio.gather(*(region.get_or_load(k=0, load=fail) for _ in range(5))) == [0] * 5
    assert (len(fail.calls), region.stats().stale_hits) == (1, 1)
    assert await region.get_or_load(k=1, load=Loader(11)) == 11
    await region.invalidate(k=0)
    with pytest.raises(ZeroDivisionError):
        await region.get_or_load(k=0, load=fail)
    await bench.caching.invalidate_tags("t")
    with pytest.raises(ZeroDivisionError):
        await region.get_or_load(k=2, load=fail)


async def test_put_replaces_the_value_everywhere(bench: Bench) -> None:
    """The put value is read from then on, without a load."""
    region, other = (c.region("a:{k}", int, ttl=60) for c in (bench.caching, bench.process(l1_ttl=0)))
    await region.get_or_load(k=1, load=Loader(1))
    assert await region.put(2, k=1)
    for reader in (region, other):
        assert await reader.get_or_load(k=1, load=Loader(3)) == 2


async def test_a_tag_outdates_what_carries_it(bench: Bench) -> None:
    """In this process at once, also in memory; in others as soon as they ask the shared tier. Other tags stay."""
    make = [
        c.region("s:{user}:{k}", int, ttl=60, tags=("user:{user}",)) for c in (bench.caching, bench.process(l1_ttl=0))
    ]
    for user in ("u:1", "u:2"):
        assert await make[0].get_or_load(user=user, k=1, load=Loader(1)) == 1
    assert await bench.caching.invalidate_tags("user:u:1")
    for region in make:
        assert await region.entry(user="u:1", k=1) is None
        assert await region.entry(user="u:2", k=1) is not None
    assert await make[1].get_or_load(user="u:1", k=1, load=Loader(2)) == 2


async def test_clear_empties_one_namespace(bench: Bench) -> None:
    """Both tiers forget; another namespace on the same port keeps what it has."""
    others = Caching(bench.port, bench.env, namespace="other")
    for caching in (bench.caching, others):
        await caching.region("a:{k}", int, ttl=60).get_or_load(k=1, load=Loader(1))
    assert await bench.caching.clear()
    assert (await bench.port.keys()).keys == ["other:a:1"]
    assert bench.caching.stats().memory_entries == 0
    bench.caching.clear_l1()
    assert await others.region("a:{k}", int, ttl=60).entry(k=1) is not None


async def test_many_are_loaded_in_one_call(bench: Bench) -> None:
    """Only what is missing is asked for, each once, in order; what others are loading is not waited for."""
    region = bench.caching.region("a:{k}", int, ttl=60)
    await region.get_or_load(k=2, load=Loader(20))
    await bench.port.acquire([region.key(k=3)], lease=timedelta(seconds=60))
    asked: list[list[object]] = []

    async def load_many(missing: Any) -> list[int | None]:
        asked.append([one["k"] for one in missing])
        return [one["k"] * 10 or None for one in missing]

    wanted = [{"k": k} for k in (1, 2, 1, 3, 0)]
    assert await region.get_or_load_many(wanted, load_many=load_many) == [10, 20, 10, 30, None]
    assert asked == [[1, 3, 0]]
    assert await region.get_or_load_many(wanted[:3], load_many=load_many) == [10, 20, 10]
    assert (await region.entry(k=1) is None, await region.entry(k=3) is None) == (False, True)
    assert await region.get_or_load_many([], load_many=load_many) == []
    assert len(asked) == 1


@pytest.mark.parametrize("change", ["cut", "flip", "swap", "pickle", "empty", "other schema"])
async def test_foreign_bytes_are_a_miss(bench: Bench, change: str) -> None:
    """Truncated, altered, exchanged and older-schema entries are loaded anew, and replaced."""
    region = bench.caching.region("a:{k}", Story, ttl=60)
    for k in (1, 2):
        await region.get_or_load(k=k, load=Loader(Story(id=str(k))))
    one, two = await bench.port.get([region.key(k=1), region.key(k=2)])
    assert one is not None
    assert two is not None
    foreign = {
        "cut": one[:-1],
        "flip": one[:30] + bytes([one[30] ^ 1]) + one[31:],
        "swap": two,
        "pickle": b"cos\nsystem\n(S'false'\ntR.",
        "empty": b"",
    }
    if change == "other schema":
        older = bench.process().region("a:{k}", dict[str, str], ttl=60)  # type: ignore[arg-type]  # a type form
        await older.put({"id": "old"}, k=1)
    else:
        await bench.port.put([CacheItem(region.key(k=1), foreign[change], timedelta(minutes=1))])
    bench.caching.clear_l1()
    assert await region.get_or_load(k=1, load=Loader(Story(id="new"))) == Story(id="new")
    bench.caching.clear_l1()
    assert await region.get_or_load(k=1, load=Loader(None)) == Story(id="new")


@pytest.mark.parametrize(
    "times",
    [
        {"stored_at": 0, "fresh_until": 2**62},
        {"stored_at": -(2**62), "fresh_until": 2**55},
        {"stored_at": 2**62, "fresh_until": 2**62 + 1},
        {"stored_at": 0, "fresh_until": -1},
    ],
)
async def test_times_that_are_none_are_a_miss(bench: Bench, times: dict[str, int]) -> None:
    """Whoever can write to the tier, and knows its layout, makes no reader fail by a date that there is not."""
    region = bench.caching.region("a:{k}", int, ttl=60)
    key, forged = region.key(k=1), Envelope(schema=JsonCodec(int).schema, payload=b"7", **times)
    await bench.port.put([CacheItem(key, forged.seal(key), timedelta(minutes=1))])
    assert await region.entry(k=1) is None
    held = await bench.caching.inspect("a:1")
    assert held is not None
    assert not held.readable
    assert await region.get_or_load(k=1, load=Loader(5)) == 5


class Lossy(BaseModel):
    shown: int
    hidden: int = Field(default=0, exclude=True)


async def test_a_value_that_would_come_back_changed_is_not_kept(bench: Bench) -> None:
    """The caller gets the loaded value; it is counted as unfit and loaded again."""
    region, load = bench.caching.region("a:{k}", Lossy, ttl=60), Loader(Lossy(shown=1, hidden=2))
    for _ in range(2):
        assert await region.get_or_load(k=1, load=load) == load.result
    assert (len(load.calls), region.stats().unfit, region.stats().fills) == (2, 2, 0)


async def test_warming_fills_regions(bench: Bench) -> None:
    """What is in the cache is not loaded again, progress is told, and invalidated values are not brought back."""
    region, told = bench.caching.region("a:{k}", int, ttl=60), []
    await region.get_or_load(k=0, load=Loader(100))
    passes = 0

    async def everything() -> AsyncIterator[tuple[dict[str, object], int]]:
        nonlocal passes
        passes += 1
        for k in range(4):
            yield {"k": k}, k
        if passes == 2:
            await region.invalidate(k=3)

    assert await bench.caching.warm([(region, everything)], progress=lambda *at: told.append(at)) == 4
    entries = [await region.entry(k=k) for k in range(4)]
    assert [entry and entry.value for entry in entries] == [100, 1, 2, None]
    assert told == [("a:{k}", 4, 4)]


def test_bad_declarations_are_refused(bench: Bench) -> None:
    """Each names what is wrong before anything is read."""
    declare = bench.caching.region
    for template in ("a:{", "a:{x}{y}", "a:{x}b{y}", "a:{0}", "a:{x!r}", "a:{_x.__class__}", "a:{load}", "a%{x}"):
        with pytest.raises(ConfigError):
            declare(template, int, ttl=60)
    wrong: list[dict[str, object]] = [
        {"jitter": 2},
        {"tags": ("{other}",)},
        {"tags": "{x}"},
        {"tags": "t"},
        {"lease": 0},
    ]
    wrong += [{"ttl": ttl} for ttl in (0, "60", float("nan"), float("inf"))]
    for options in ({"ttl": 60, **each} for each in [*wrong, {"compress": "gzip"}, {"compress": ""}]):
        with pytest.raises(ConfigError):
            declare("a:{x}", int, **options)  # type: ignore[arg-type]  # the point of the test
    declare("same:{x}", int, ttl=60)
    with pytest.raises(ConfigError):
        declare("same:{x}", str, ttl=60)
    with pytest.raises(ConfigError):
        declare("a:{x}", Loader, ttl=60)
    with pytest.raises(ConfigError):
        Caching(bench.port, namespace="a:b")


async def test_parameters_must_be_those_of_the_template(bench: Bench) -> None:
    """Missing, unknown and unprintable parameters are an ``InvalidArgument`` before any load."""
    region = bench.caching.region("a:{x}:{y}", int, ttl=60)
    for parameters in ({"x": 1}, {"x": 1, "y": 2, "z": 3}, {"x": 1, "y": object()}, {"x": [1], "y": 2}):
        with pytest.raises(InvalidArgument):
            await region.get_or_load(load=Loader(1), **parameters)


class Colour(Enum):
    RED = "red"


_PARAMETERS = (
    st.text(alphabet="ab:%/1-", max_size=6)
    | st.text(max_size=4)
    | st.integers(-20, 20)
    | st.booleans()
    | st.none()
    | st.sampled_from([1.0, 1.5, Decimal("1.50"), UUID(int=1), date(2026, 1, 1)])
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(_PARAMETERS, _PARAMETERS), min_size=2, max_size=12))
def test_different_parameters_give_different_keys(pairs: list[tuple[object, object]]) -> None:
    """Values that differ in type or in where a separator stands never share a key."""
    template = Template("p:{a}:{b}")
    keys = {template.key({"a": a, "b": b}) for a, b in pairs}
    assert len(keys) == len({(_identity(a), _identity(b)) for a, b in pairs})


def _identity(value: object) -> tuple[object, object]:
    """Types whose values have no text in common with others count as that text."""
    return ("", str(value)) if isinstance(value, str | Decimal | UUID | date) else (type(value), value)


def test_long_keys_are_replaced_by_a_digest() -> None:
    """Beyond the port's limit a key stays unique and under the limit."""
    keys = {bounded_key("ns:", c * 2000) for c in "abc"}
    assert len(keys) == 3
    assert max(len(key.encode()) for key in keys) <= 1024
    assert Template("c:{c}").key({"c": Colour.RED}) == "c:red"


async def test_a_parameter_may_have_any_name(bench: Bench) -> None:
    """Also the name under which a method knows its own object."""
    region = bench.caching.region("n:{self}:{value}", int, ttl=5)
    assert await region.get_or_load(load=lambda **_: 3, self=1, value=2) == 3
    assert await region.put(4, self=1, value=2)
    found = await region.entry(self=1, value=2)
    assert found is not None and found.value == 4
    assert await region.invalidate(self=1, value=2)
    assert region.key(self=1, value=2) == "default:n:1:2"


@pytest.mark.parametrize("returned", [None, [], [1], [1, 2, 3]])
async def test_a_load_of_many_returns_one_value_for_each_key(bench: Bench, returned: Any) -> None:
    """Else the error names both counts, nothing is kept, and the next reader can load at once."""
    region = bench.caching.region("n:{k}", int, ttl=5)

    async def load_wrongly(missing: object) -> Any:
        return returned

    async def load(missing: Any) -> list[int]:
        return [one["k"] for one in missing]

    number = "no" if returned is None else str(len(returned))
    with pytest.raises(InvalidArgument, match=f"returned {number} values for 2 keys"):
        await region.get_or_load_many([{"k": 1}, {"k": 2}], load_many=load_wrongly)
    assert await region.get_or_load_many([{"k": 1}, {"k": 2}], load_many=load) == [1, 2]
    assert (region.stats().fills, region.stats().waited) == (2, 0)
