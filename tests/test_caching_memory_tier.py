"""The memory tier: bounds, eviction, expiry, tags; and the codec of records."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.caching.ghosts import Ghosts
from storycore.caching.memory_tier import EMPTY, Held, MemoryTier
from storycore.caching.records import RecordCodec
from storycore.ports.conditions import Version
from storycore.ports.entities import Key, Record
from storycore.testing.clock import ManualClock

CLOCK = ManualClock()


def held(key: str, size: int = 100, tags: tuple[str, ...] = (), seconds: float = 60) -> Held:
    until = (CLOCK.now() + timedelta(seconds=seconds)).timestamp()
    return Held(until, key=key, kept=key.encode(), stored_at=0, size_bytes=size, tags=tags)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["puts", "puts", "get", "get", "remove", "tag", "pass", "clear"]),
            st.integers(0, 30),
            st.integers(0, 3000),
        ),
        max_size=120,
    )
)
def test_the_bounds_always_hold(steps: list[tuple[str, int, int]]) -> None:
    """Bytes and entries stay within bounds; only what was put, lives and was not removed is found, whatever happens."""
    tier, model = MemoryTier(CLOCK, max_bytes=6000, max_entries=12), {}
    for step, number, size in steps:
        key = f"k{number}"
        if step == "puts":
            model[key] = held(key, size, tags=(f"t{number % 3}",) if number % 5 else (), seconds=1 + size % 7)
            tier.put(model[key])
        elif step == "get":
            assert tier.get(key) in (None, model.get(key))
        elif step == "remove":
            tier.remove([key])
            model.pop(key, None)
        elif step == "tag":
            tier.remove_tagged([f"t{number % 3}"])
            model = {k: v for k, v in model.items() if f"t{number % 3}" not in v.tags}
        elif step == "pass":
            CLOCK.advance(number / 10)
            model = {k: v for k, v in model.items() if v > CLOCK.now().timestamp()}
        else:
            tier.clear(f"k{number % 3}")
            model = {k: v for k, v in model.items() if not k.startswith(f"k{number % 3}")}
        assert tier.size_bytes <= 6000
        assert len(tier) <= 12
    found = {key: tier.get(key) for key in (f"k{i}" for i in range(31))}
    alive = {key: entry for key, entry in found.items() if entry is not None}
    assert (len(alive), alive.keys() <= model.keys()) == (len(tier), True)
    assert all(entry is model[key] and entry.kept == key.encode() for key, entry in alive.items())


class Value:
    """Something that can be watched."""


def test_what_was_removed_is_not_held_on_to() -> None:
    """Values that were replaced, evicted or invalidated are free at once; their places are cleared up later."""
    tier, values = MemoryTier(CLOCK, max_bytes=10**6, max_entries=3), [Value() for _ in range(6)]
    watched = [weakref.ref(value) for value in values]
    for key, value in zip("aabcde", values, strict=True):
        entry = held(key)
        entry.kept = value
        tier.put(entry)
    tier.remove(["e"])
    del entry, value, values
    gc.collect()
    assert [ref() is not None for ref in watched].count(True) == len(tier) == 2


def test_who_finds_an_entry_empty_can_tell_whether_it_left() -> None:
    """An entry looks alike when there is nothing and when it is gone; the tier knows which it is."""
    tier, entry = MemoryTier(CLOCK, max_bytes=10**6, max_entries=3), held("a")
    entry.kept = EMPTY
    tier.put(entry)
    assert tier.holds(entry)
    tier.put(held("a"))
    assert (tier.holds(entry), entry.kept) == (False, EMPTY)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 5000), st.integers(0, 3), st.booleans())
def test_an_entry_keeps_its_two_counts_apart(size: int, reads: int, tagged: bool) -> None:
    """Its size never falls short, and counting reads does not change it."""
    entry = held("a", size, tags=("t",) if tagged else ())
    before = entry.size_bytes
    entry.reads = reads
    assert (entry.reads, entry.size_bytes, entry.size_bytes >= size + 200) == (reads, before, True)
    assert entry.tags == (("t",) if tagged else ())


def test_ghosts_are_remembered_once() -> None:
    """A key is taken once; of as many as there is room for most are known, and strangers are not."""
    ghosts = Ghosts()
    ghosts.make_room(1000)
    for number in range(1000):
        ghosts.add(f"k{number}")
    assert not any(ghosts.take(f"s{number}") for number in range(1000))
    known = [f"k{number}" for number in range(1000) if ghosts.take(f"k{number}")]
    assert len(known) > 500
    assert not any(map(ghosts.take, known))


def test_what_is_read_again_outlives_a_scan() -> None:
    """A long run of keys that are read once does not push out those that are read often."""
    tier = MemoryTier(CLOCK, max_bytes=10**9, max_entries=100)
    hot = [f"hot{i}" for i in range(50)]
    for key in hot:
        tier.put(held(key))
    for _ in range(3):
        assert all(tier.get(key) is not None for key in hot)
    for i in range(2000):
        tier.put(held(f"scan{i}"))
    assert sum(tier.get(key) is not None for key in hot) == 50
    assert tier.evictions == 1950


def test_it_hits_more_often_than_lru_on_a_skewed_trace() -> None:
    """Keys by Zipf's law with scans between: at least a fifth more hits than LRU of the same size."""
    luck, trace = random.Random(1), []
    weights = [1 / rank**0.9 for rank in range(1, 3001)]
    for i, rank in enumerate(luck.choices(range(3000), weights, k=10_000)):
        trace += [f"k{rank}", *(f"s{i}:{n}" for n in range(30) if i % 100 == 0)]
    tier, hits = MemoryTier(CLOCK, max_bytes=10**9, max_entries=100), 0
    for key in trace:
        if tier.get(key) is not None:
            hits += 1
        else:
            tier.put(held(key))
    assert hits >= 1.2 * _lru_hits(trace, 100)


def _lru_hits(trace: list[str], size: int) -> int:
    kept: dict[str, None] = {}
    hits = 0
    for key in trace:
        if key in kept:
            hits += 1
            del kept[key]
        elif len(kept) >= size:
            del kept[next(iter(kept))]
        kept[key] = None
    return hits


def test_an_entry_is_gone_from_its_end_on() -> None:
    """It is absent from the instant ``until`` on, and its bytes are free again."""
    tier = MemoryTier(CLOCK, max_bytes=10_000, max_entries=10)
    tier.put(held("a", seconds=1, tags=("t",)))
    CLOCK.advance(1)
    assert tier.get("a") is None
    assert (len(tier), tier.size_bytes) == (0, 0)


def test_an_entry_larger_than_the_tier_is_not_kept() -> None:
    """It drives nothing else out, and an older value under its key goes."""
    tier = MemoryTier(CLOCK, max_bytes=1000, max_entries=10)
    tier.put(held("a"))
    tier.put(held("b"))
    tier.put(held("a", size=2000))
    assert (tier.get("a"), tier.get("b") is not None) == (None, True)


def test_removed_entries_do_not_pile_up_in_the_queues() -> None:
    """Ten thousand replacements of one key leave a bounded trace."""
    tier = MemoryTier(CLOCK, max_bytes=10**6, max_entries=10)
    for _ in range(10_000):
        tier.put(held("a"))
    assert len(tier._small) + len(tier._main) <= 66


def test_threads_may_use_it_at_once() -> None:
    """During calls from several threads the bounds hold, no key has another value, and in the end the books balance."""
    tier = MemoryTier(CLOCK, max_bytes=20_000, max_entries=40)
    wrong: list[object] = []

    def work(seed: int) -> None:
        luck = random.Random(seed)
        for _ in range(2000):
            key = f"k{luck.randrange(80)}"
            if tier.size_bytes > 20_000 or len(tier) > 40:
                wrong.append(tier.size_bytes)
            if luck.random() < 0.5:
                found = tier.get(key)
                if found is not None and (found.key != key or found.kept not in (key.encode(), EMPTY)):
                    wrong.append(found)
            elif luck.random() < 0.8:
                tier.put(held(key, luck.randrange(500), tags=("t",)))
            else:
                tier.remove([key])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tier.clear()
    assert (wrong, len(tier), tier.size_bytes, tier._tagged) == ([], 0, 0, {})


_NUMBERS = (
    st.integers(-(10**37), 10**37)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_KEYS = st.builds(Key, _TEXT, _TEXT)
_RECORDS = st.builds(
    Record,
    key=_KEYS,
    kind=_TEXT,
    version=st.integers(1, 2**63 - 1).map(Version),
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    index_keys=st.dictionaries(st.integers(1, 8), _KEYS, max_size=3),
    fields=st.dictionaries(_TEXT, _TEXT | st.booleans() | _NUMBERS | st.frozensets(_TEXT, max_size=3), max_size=4),
    body=st.binary(max_size=50),
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(_RECORDS)
def test_records_come_back_equal_and_of_the_same_types(record: Record) -> None:
    """Field for field, digits of decimals and numbers beyond 64 bits included; a copy shares no mapping."""
    codec = RecordCodec()
    found = codec.decode(codec.encode(record))
    assert found == record
    assert {n: (type(v), repr(v)) for n, v in found.fields.items() if not isinstance(v, frozenset)} == {
        n: (type(v), repr(v)) for n, v in record.fields.items() if not isinstance(v, frozenset)
    }
    copy = codec.give(codec.keep(b"", record))
    assert (copy, copy.fields is record.fields) == (record, False)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x02{}", b"\x00\x00\x00\xff{}"])
def test_bytes_that_are_no_record_are_a_value_error(payload: bytes) -> None:
    """The cache takes that for a miss."""
    with pytest.raises(ValueError):
        RecordCodec().decode(payload)


def test_the_example_of_every_field_type() -> None:
    """Each type of field once."""
    fields = {"s": "é", "i": 2**70, "f": 0.1, "b": True, "d": Decimal("1.10"), "S": frozenset({"a", "b"})}
    record = Record(
        key=Key("p", "s"), kind="k", version=Version(1), fields=fields, expires_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert RecordCodec().decode(RecordCodec().encode(record)) == record
