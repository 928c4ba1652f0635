"""Compression in the shared tier: smaller, signed as it is stored, and never a bomb."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from storycore.caching import Caching
from storycore.caching.compression import Zstd, expanded
from storycore.caching.envelope import Envelope, open_envelope, secret_of
from storycore.errors import ConfigError
from storycore.memory.cache import MemoryCache
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.environment import Environment
from storycore.testing.clock import ManualClock

zstd: Any = pytest.importorskip("backports.zstd", reason="the extra storycore[zstd] is not installed")


@pytest.mark.parametrize("keys", [(), ("secret",)])
async def test_long_values_are_stored_smaller_and_read_by_everybody(keys: tuple[str, ...]) -> None:
    """Also by a process that does not compress; short values are stored as they are, and memory holds them whole."""
    env = Environment(clock=ManualClock())
    async with MemoryCache(MemoryCacheConfig(), env) as port:
        one, two = (Caching(port, env, signing_keys=keys) for _ in range(2))
        region = one.region("t:{k}", str, ttl=60, compress="zstd")
        plain = two.region("t:{k}", str, ttl=60)
        for k, text in enumerate(["long " * 1000, "short"]):
            await region.put(text, k=k)
            found = await plain.entry(k=k)
            assert found is not None and found.value == text
        stored = await port.get(["default:t:0", "default:t:1"])
        assert [len(data or b"") < 300 for data in stored] == [True, True]
        looked = await two.inspect("t:0")
        assert looked is not None and looked.payload == b'"' + b"long " * 1000 + b'"'


def test_what_does_not_shrink_is_left_as_it_is() -> None:
    """Random bytes, and whatever is below the threshold."""
    noise = Environment().random.randbytes(5000)
    assert Zstd(0).squeezed(noise) is None
    assert Zstd(1024).squeezed(b"x" * 1023) is None
    assert expanded(Zstd(1024).squeezed(b"x" * 1024) or b"") == b"x" * 1024


@pytest.mark.parametrize("how", ["cut", "foreign", "followed by more", "a bomb"])
def test_bytes_that_are_not_ours_are_a_miss(how: str) -> None:
    """Whatever stands where compressed bytes should, nothing is raised, and memory stays bounded."""
    whole = zstd.compress(b"x" * 4096)
    bomb = zstd.compress(bytes(200_000_000), 1)
    bad = {"cut": whole[:-3], "foreign": b"\x80\x04N.", "followed by more": whole + b"more", "a bomb": bomb}
    assert expanded(bad[how]) is None


def test_a_signature_is_of_the_compressed_bytes() -> None:
    """Who alters them, or signs with another key, is not listened to."""
    secret = secret_of("key")
    sealed = Envelope(schema=b"12345678", stored_at=1, fresh_until=2, payload=b"x" * 4096).seal("k", secret, Zstd(0))
    opened = open_envelope("k", sealed, secrets=[secret])
    assert opened is not None and opened.payload == b"x" * 4096
    altered = sealed[:-40] + bytes([sealed[-40] ^ 1]) + sealed[-39:]
    assert open_envelope("k", altered, secrets=[secret]) is None
    assert open_envelope("k", sealed, secrets=[secret_of("other")]) is None


def test_a_region_that_cannot_compress_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library it is refused when it is declared, and a compressed value is a miss."""
    squeezed = Zstd(0).squeezed(b"x" * 4096) or b""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"storycore\[zstd\]"):
        Zstd(0)
    assert expanded(squeezed) is None
