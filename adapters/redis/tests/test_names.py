"""Names on the server: apart from each other, back to the key, and a value in one slot with its lease."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from storycore_redis._connection import Busy, Late, Lost, Refused
from storycore_redis._errors import translated
from storycore_redis._names import Names

from storycore import errors
from storycore.errors import Effect, StorycoreError
from storycore.ports.cache import Changed

NAMES = Names("app")
KEYS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("{}:~lvLV*?[]\\^-"), min_size=1, max_size=12)
FEW = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@FEW
@given(KEYS)
@example("}")
@example("{}")
@example("}{x}")
@example("~}x")
def test_a_value_and_its_lease_are_in_one_slot_of_a_cluster(key: str) -> None:
    """Whatever braces the key holds, so that one script may touch both."""
    value, lease = NAMES.both(key)
    assert value != lease
    assert key_slot(value.encode()) == key_slot(lease.encode())


@FEW
@given(KEYS)
def test_a_name_leads_back_to_its_key(key: str) -> None:
    """Values and counters are told apart, leases and names of others are passed over."""
    value, lease = NAMES.both(key)
    others = [b"app:v:", b"app:v:{x", b"app:x:{y}", b"app", b"\xff", b"application:v:{k}", lease.encode()]
    names = [value.encode(), NAMES.counter(key).encode(), *others]
    assert NAMES.changed(names) == Changed(keys=(key,), counters=(key,))
    assert NAMES.keys([value.encode(), lease.encode(), NAMES.counter(key).encode()]) == {key}


@FEW
@given(KEYS, KEYS)
def test_two_keys_have_two_names(one: str, other: str) -> None:
    """No key, lease or counter of one is that of the other."""
    names = {*NAMES.both(one), NAMES.counter(one), *NAMES.both(other), NAMES.counter(other)}
    assert len(names) == (3 if one == other else 6)


@pytest.mark.parametrize("text", ["*", "?", "[a]", "\\", "^", "a-b", "}", "}*"])
def test_a_prefix_is_no_pattern(text: str) -> None:
    """Each character with a meaning for the server is escaped."""
    pattern = NAMES.pattern(text)
    escaped = [pattern[i - 1] == "\\" for i, sign in enumerate(pattern[8:-1], 8) if sign in "*?[]^-"]
    assert all(escaped)
    assert fnmatchcase("app:v:{abc}", NAMES.pattern("ab").replace("{", "[{]"))


@pytest.mark.parametrize(
    ("answer", "kind", "effect"),
    [
        (Refused("OOM command not allowed when used memory > 'maxmemory'."), errors.StorageFull, Effect.NONE),
        (Refused("NOAUTH Authentication required."), errors.AccessDenied, Effect.NONE),
        (Refused("WRONGPASS invalid username-password pair"), errors.AccessDenied, Effect.NONE),
        (Refused("NOPERM this user has no permissions"), errors.AccessDenied, Effect.NONE),
        (Refused("READONLY You can't write against a read only replica."), errors.Unavailable, Effect.NONE),
        (Refused("LOADING Redis is loading the dataset in memory"), errors.Unavailable, Effect.NONE),
        (Refused("BUSY Redis is busy running a script."), errors.Unavailable, Effect.NONE),
        (Refused("CLUSTERDOWN The cluster is down"), errors.Unavailable, Effect.NONE),
        (Refused("MOVED 866 127.0.0.1:7001"), errors.ConfigError, Effect.NONE),
        (Refused("CROSSSLOT Keys in request don't hash to the same slot"), errors.ConfigError, Effect.NONE),
        (Refused("NOPROTO unsupported protocol version"), errors.ConfigError, Effect.NONE),
        (Refused("ERR unknown command 'HELLO'"), errors.ConfigError, Effect.NONE),
        (Refused("ERR DB index is out of range"), errors.ConfigError, Effect.NONE),
        (Refused("ERR max number of clients reached"), errors.Throttled, Effect.NONE),
        (Refused("WRONGTYPE Operation against a key holding the wrong kind of value"), errors.Corrupt, Effect.NONE),
        (Refused("SOMETHING new"), errors.Unavailable, Effect.NONE),
        (Busy("5 commands are in flight", was_sent=False), errors.Throttled, Effect.NONE),
        (Late("the deadline has passed", was_sent=True), errors.DeadlineExceeded, Effect.UNKNOWN),
        (Late("connecting takes too long", was_sent=False), errors.DeadlineExceeded, Effect.NONE),
        (Lost("reset", was_sent=True), errors.Unavailable, Effect.UNKNOWN),
        (Lost("closed", was_sent=False), errors.Unavailable, Effect.NONE),
        (ConnectionRefusedError(111, "refused"), errors.Unavailable, Effect.NONE),
    ],
    ids=lambda value: str(value)[:20],
)
def test_every_failure_has_its_error(answer: Exception, kind: type[StorycoreError], effect: Effect) -> None:
    """The class, and what is known of a write's effect; of a read there is none."""
    error = translated(answer, "redis at h:1, db 0", writes=True)
    assert (type(error), error.effect) == (kind, effect)
    assert translated(answer, "redis at h:1, db 0", writes=False).effect is Effect.NONE
    assert "redis at h:1" in error.message
