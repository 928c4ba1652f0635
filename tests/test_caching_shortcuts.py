"""Shortcuts: generated functions that find a hit in memory, and mean the same as the long way."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC
from enum import Enum, IntEnum
from typing import Annotated, Any

import pytest
import pytest_asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storycore.caching import Caching, NoKey
from storycore.caching.compiled import compiled_key, is_compilable
from storycore.caching.templates import Template
from storycore.errors import ConfigError, InvalidArgument
from storycore.layers.checks import checked
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.cache import Cache
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

CLOCK = ManualClock()
ENV = Environment(clock=CLOCK)


class Color(str, Enum):  # noqa: UP042  # its str() is not its value
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Loud(str):
    def __str__(self) -> str:
        return self.upper()


@dataclass
class Named:
    id: object


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Cache]:
    async with checked(PortName.CACHE, open_cache(MemoryCacheConfig(), ENV)) as opened:
        yield opened


_TEXT = st.text(max_size=6) | st.from_regex(r"-?[0-9a-z_:%]{0,5}", fullmatch=True) | st.sampled_from(["٣", "²", "x·y"])
_VALUES = (
    _TEXT
    | st.integers()
    | st.booleans()
    | st.none()
    | st.floats()
    | st.decimals()
    | st.uuids()
    | st.datetimes(timezones=st.just(UTC))
    | st.sampled_from([Color.RED, Level.HIGH, Loud("quiet"), object(), ["a"], b"a"])
)
_TEMPLATES = [
    "s:{a}:{b}",
    "{a}_{b}",
    'it\'s "{a}"\n\\{b}',
    "{a}·{b}",
    "é{a}-{b.id}!",
    "{a}/{a}/{b.id}",
    "{type}:{str}",
    "{class}:{_storycore_text}",
]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(_TEMPLATES), _VALUES, _VALUES)
@example("s:{a}:{b}", "12", "-12")
@example("s:{a}:{b}", 12, True)
@example("{a}_{b}", "a_b", "c")
def test_a_compiled_key_is_the_template_s_key(text: str, first: object, second: object) -> None:
    """For values of any type, also where one has no text in a key, and whatever the parameters are called."""
    template = Template(text)
    paths = {path[0]: len(path) for path in template.paths}
    values = dict(zip(paths, (first, second), strict=True))
    values = {name: Named(value) if paths[name] == 2 else value for name, value in values.items()}
    try:
        expected = f"ns':{template.key(values)}"
    except InvalidArgument:
        with pytest.raises(InvalidArgument):
            compiled_key(template, "ns':")(**values)
        return
    assert compiled_key(template, "ns':")(**values) == expected


@pytest.mark.parametrize(
    ("name", "is_fit"),
    [
        ("a", True),
        ("é", True),
        ("type", True),
        ("class", False),
        ("a b", False),
        ("a)", False),
        ("_storycore_x", False),
    ],
)
def test_only_identifiers_become_source(name: str, is_fit: bool) -> None:
    """Whatever Python would read otherwise than as one name, or that we use ourselves, goes the long way."""
    assert is_compilable([name]) is is_fit


async def test_every_kind_of_parameter_keeps_its_meaning(port: Cache) -> None:
    """Positions only, names only, defaults that are objects of their own, and names that mean something to Python."""
    default = [1]

    @Caching(port, ENV).cached("f:{type}:{str}:{int}:{Exception}", ttl=60, ignore=("held",))
    async def f(
        type: str,  # noqa: A002  # names that mean something to Python, here and below
        /,
        str: int = 2,  # noqa: A002
        *,
        int: float = 0.5,  # noqa: A002
        Exception: bool = True,  # noqa: A002, N803
        held: list[int] = default,
    ) -> Any:
        assert held is default
        return [type, str, int, Exception]

    assert f.key("x") == "default:f:x:2:%f0.5:%bTrue"
    assert await f("x") == await f("x", 2) == await f("x", str=2, int=0.5, held=default) == ["x", 2, 0.5, True]
    assert await f("x", 3, Exception=False) == ["x", 3, 0.5, False]
    assert (f.stats().memory_hits, f.stats().misses) == (2, 2)


async def test_a_name_of_ours_and_any_number_of_arguments_go_the_long_way(port: Cache) -> None:
    """Such functions are cached all the same."""
    cached = Caching(port, ENV).cached

    @cached("f:{_storycore_held}", ttl=60)
    async def ours(_storycore_held: int) -> int:
        return _storycore_held

    @cached("g:{a}", ttl=60, ignore=("rest", "more"))
    async def many(a: int, *rest: int, **more: int) -> int:
        return a + sum(rest) + sum(more.values())

    assert [await ours(1), await ours(_storycore_held=1), await many(1, 2, x=3), await many(1)] == [1, 1, 6, 6]
    assert (ours.stats().memory_hits, many.stats().memory_hits) == (1, 1)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1,), {}), ((1, 2, 3), {}), ((1, 2), {"c": 3}), ((1,), {"a": 2}), ((), {"b": 1})]
)
async def test_a_call_that_does_not_fit_is_refused_although_its_key_is_there(
    port: Cache, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Too many, too few, unknown or doubled arguments never get a value, neither of a function nor of a method."""
    cached = Caching(port, ENV).cached

    @cached("f:{a}", ttl=60, ignore=("b",))
    async def f(a: int, b: int) -> int:
        return a

    class Service:
        @cached("g:{a}", ttl=60, ignore=("b",))
        async def g(self, a: int, b: int) -> int:
            return a

    for wrong in (f, Service().g):
        assert [await wrong(1, 2), await wrong(1, b=3)] == [1, 1]
        with pytest.raises((InvalidArgument, TypeError)):
            await wrong(*args, **kwargs)
        assert wrong.stats().memory_hits == 1


async def test_a_decorated_function_is_a_function(port: Cache) -> None:
    """It is known as a coroutine function, with the signature, name and document of the one that was written."""

    async def f(a: int, *, b: str = "x") -> str:
        """Say it."""
        return b * a

    made = Caching(port, ENV).cached("f:{a}:{b}", ttl=60)(f)
    assert inspect.iscoroutinefunction(made)
    assert inspect.signature(made) == inspect.signature(f)
    assert (made.__name__, made.__doc__, made.__wrapped__) == ("f", "Say it.", f)  # type: ignore[attr-defined]  # functools adds it


async def test_marked_parameters_are_no_part_of_the_key(port: Cache) -> None:
    """``NoKey`` does what ``ignore`` does, for templates that name nothing too; others must still be named."""
    cached = Caching(port, ENV).cached

    @cached("page", ttl=60)
    async def page(number: int, *, db: Annotated[object, NoKey], log: Annotated[object, "why", NoKey()] = None) -> int:
        return number

    assert page.key(1, db=object()) == "default:page:1"
    assert [await page(1, db=object()), await page(1, db=object(), log=1)] == [1, 1]
    assert page.stats().memory_hits == 1
    with pytest.raises(ConfigError, match="NoKey"):

        @cached("other:{a}", ttl=60)
        async def other(a: int, b: Annotated[int, "no mark"]) -> int:
            return a


async def test_the_object_of_a_method_may_be_in_the_key(port: Cache) -> None:
    """Objects with the same attribute share values; ``key`` and ``invalidate`` know the object."""

    @dataclass
    class Service:
        tenant: str
        calls: int = 0

        @Caching(port, ENV).cached("t:{self.tenant}:{n}", ttl=60)
        async def double(self, n: int) -> int:
            self.calls += 1
            return 2 * n

    one, same, other = Service("a"), Service("a"), Service("b")
    assert [await each.double(2) for each in (one, same, other)] == [4, 4, 4]
    assert ([each.calls for each in (one, same, other)], other.double.key(2)) == ([1, 0, 1], "default:t:b:2")
    await same.double.invalidate(2)
    await one.double(2)
    assert one.calls == 2


async def test_a_hit_ends_with_its_value(port: Cache) -> None:
    """At the very instant, to the microsecond, for a function and a region alike."""
    caching, calls = Caching(port, ENV), []

    @caching.cached("f:{a}", ttl=1.000001, jitter=0)
    async def f(a: int) -> int:
        calls.append(a)
        return a

    region = caching.region("r:{a}", int, ttl=1.000001, jitter=0)
    for seconds, expected in ((0, 2), (1, 2), (0.000001, 4)):
        CLOCK.advance(seconds)
        assert (await f(1), await region.get_or_load(load=lambda a: calls.append(a) or a, a=1)) == (1, 1)
        assert len(calls) == expected


async def test_callers_share_only_what_cannot_be_changed(port: Cache) -> None:
    """A list is each caller's own; a text is the same object for all."""
    cached = Caching(port, ENV).cached

    @cached("l:{a}", ttl=60)
    async def items(a: int) -> list[int]:
        return [a]

    @cached("t:{a}", ttl=60)
    async def text(a: int) -> str:
        return "text" * a

    (await items(1)).append(2)
    (await items(1)).append(3)
    await text(1)
    assert (await items(1), await text(1) is await text(1)) == ([1], True)


async def test_nothing_is_remembered_and_counted_as_such(port: Cache) -> None:
    """``None`` of a region is "there is nothing", of a function that may return it a value."""
    caching = Caching(port, ENV)
    region = caching.region("r:{a}", str, ttl=60, negative_ttl=60)

    @caching.cached("f:{a}", ttl=60)
    async def f(a: int) -> str | None:
        return None

    for _ in range(3):
        assert (await region.get_or_load(load=lambda a: None, a=1), await f(1)) == (None, None)
    assert (region.stats().memory_hits, region.stats().absent_hits, region.stats().loads) == (2, 2, 1)
    assert (f.stats().memory_hits, f.stats().absent_hits, f.stats().loads) == (2, 0, 1)


@pytest.mark.parametrize("a", ["x" * 300, "é" * 300, "x" * 2000, "", "0", "a:b", "\ud800"])
async def test_keys_of_any_length_and_form_are_found_again(port: Cache, a: str) -> None:
    """Also those that are too long for the port and stand there as a digest."""
    caching = Caching(port, ENV)

    @caching.cached("f:{a}", ttl=60)
    async def f(a: str) -> int:
        return len(a)

    region = caching.region("r:{a}", int, ttl=60)
    for _ in range(2):
        assert (await f(a), await region.get_or_load(load=len_of, a=a)) == (len(a), len(a))
    assert (f.stats().loads, region.stats().loads) == (1, 1)


def len_of(a: str) -> int:
    return len(a)


async def test_a_region_refuses_parameters_that_do_not_fit(port: Cache) -> None:
    """Missing and unknown parameters, and values without a text, are an ``InvalidArgument`` with a warm cache too."""
    region = Caching(port, ENV).region("r:{a}:{b.id}", int, ttl=60)

    async def load(**_: object) -> int:
        return 1

    await region.get_or_load(load=load, a=1, b=Named("x"))
    for wrong in ({}, {"a": 1}, {"a": 1, "b": Named("x"), "c": 1}, {"a": 1, "b": "x"}, {"a": [], "b": Named(1)}):
        with pytest.raises(InvalidArgument):
            await region.get_or_load(load=load, **wrong)


async def test_a_thousand_tasks_cause_one_load(port: Cache) -> None:
    """Of all who miss at once, one loads; afterwards each is a hit."""
    loads = 0

    @Caching(port, ENV).cached("f:{a}", ttl=60)
    async def f(a: str) -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return a

    assert set(await asyncio.gather(*(f("one") for _ in range(1000)))) == {"one"}
    assert (loads, await f("one"), f.stats().memory_hits) == (1, "one", 1)


def test_a_value_that_leaves_is_never_taken_for_nothing() -> None:
    """Readers in threads get the value while it is invalidated again and again, and never ``None``."""

    @Caching(open_cache(MemoryCacheConfig(), ENV), ENV).cached("s:{a}", ttl=60)
    def f(a: int) -> int:
        return a

    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            wrong.extend(found for found in (f(1), f(2)) if found not in (1, 2))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(1500):
        f.invalidate(1)
        f.invalidate(2)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []


@dataclass
class Person:
    name: str


async def test_an_argument_that_was_not_given_is_no_value_of_its_own(port: Cache) -> None:
    """A call without it is refused, whatever other calls have left in memory."""
    caching = Caching(port, ENV)

    @caching.cached("plain:{word}", ttl=60)
    async def plain(word: str) -> str:
        return word

    @caching.cached("named:{person.name}", ttl=60)
    async def named(person: Person) -> str:
        return person.name

    assert (await plain("missing"), await named(Person("MISSING"))) == ("missing", "MISSING")
    assert (await plain("missing"), await named(Person("MISSING"))) == ("missing", "MISSING")
    forgetful: Any
    for forgetful in (plain, named):
        with pytest.raises(InvalidArgument):
            await forgetful()
    await caching.close()


@pytest.mark.parametrize("text", ["a:{__debug__}", "a:{x.y}:{__debug__.real}"])
async def test_a_name_that_python_reserves_is_a_parameter_like_any_other(port: Cache, text: str) -> None:
    """No source is generated with it, for Python would refuse it."""
    template = Template(text)
    assert not is_compilable(template.parameters)
    caching = Caching(port, ENV)
    caching.region(text, int, ttl=60)
    await caching.close()


@pytest.mark.parametrize("text", ["\ud800", "\ud800" * 300])
async def test_half_of_a_surrogate_pair_is_invalidated_like_any_text(port: Cache, text: str) -> None:
    """In a tag or key it does not stay pending forever, before which nothing is served from the shared tier."""
    caching, version = Caching(port, ENV), 0
    region = caching.region("tagged:{k}", int, ttl=600, tags=("t:{k}",))

    async def load(k: str) -> int:
        return version

    for version in range(2):
        assert await region.get_or_load(k=text, load=load) == version
        caching.clear_l1()
        assert await region.get_or_load(k=text, load=load) == version
        assert await caching.invalidate_tags(f"t:{text}")
        assert await caching.invalidate_keys(text)
    assert (caching.stats().total.shared_hits, caching.stats().pending_invalidations) == (2, 0)
    await caching.close()
