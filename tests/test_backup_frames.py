"""Frames give back what was put in, and no change of their bytes goes unseen; keys open for their context alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.backup.frames import FrameOpener, FrameSealer, contents
from storycore.backup.keys import KeyFile, Passphrase, new_key_file
from storycore.errors import AccessDenied, AlreadyExists, ConfigError, Corrupt, TooLarge
from storycore.ports.key_providers import KeyProvider

KEY = bytes(range(32))
CHEAP = 10
"""scrypt's cost in these tests."""


def sealed(parts: list[bytes], *, key: bytes = KEY, backup: str = "b1", name: str = "part-1") -> list[bytes]:
    """The frames of an object."""
    sealer = FrameSealer(key, backup=backup, name=name)
    return [sealer.seal(part, last=part is parts[-1]) for part in parts]


async def read(
    data: bytes, *, step: int = 7, key: bytes = KEY, backup: str = "b1", name: str = "part-1"
) -> list[bytes]:
    """What the frames hold, read in pieces of ``step`` bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), step):
            yield data[start : start + step]

    return [each async for each in contents(pieces(), FrameOpener(key, backup=backup, name=name))]


PARTS = [b"one" * 50, b"", bytes(range(256)), b"end"]


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_frames_come_back_in_order(step: int) -> None:
    """However the bytes are cut on their way."""
    assert await read(b"".join(sealed(PARTS)), step=step) == PARTS


@settings(max_examples=60, deadline=None)
@given(st.data())
async def test_no_changed_byte_goes_unseen(data: st.DataObject) -> None:
    """A flipped bit anywhere, and bytes that are cut off, put in or doubled, are corrupt."""
    whole = b"".join(sealed(PARTS))
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                whole[:place] + bytes([whole[place] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[place + 1 :],
                whole[:place],
                whole[:place] + b"\0" + whole[place:],
                whole + whole[: place + 1],
            ]
        )
    )
    with pytest.raises(Corrupt):
        await read(damaged)


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 0, 1, 2, 3], [0, 2, 3], [0, 1, 2], [3], []])
async def test_frames_keep_their_places(order: list[int]) -> None:
    """Frames that were swapped, repeated or left out are corrupt, also when each is whole."""
    frames = sealed(PARTS)
    with pytest.raises(Corrupt):
        await read(b"".join(frames[i] for i in order))


async def test_frames_belong_to_their_object() -> None:
    """The same frames under another name, in another backup or with another key do not open."""
    data = b"".join(sealed(PARTS))
    with pytest.raises(Corrupt):
        await read(data, name="part-2")
    with pytest.raises(Corrupt):
        await read(data, backup="b2")
    with pytest.raises(Corrupt):
        await read(data, key=bytes(32))


async def test_an_object_of_another_length_is_no_splice() -> None:
    """The last frame of a shorter object does not end a longer one."""
    short, long = sealed([b"a", b"b"]), sealed([b"a", b"b", b"c"])
    assert short[0] == long[0]
    with pytest.raises(Corrupt):
        await read(long[0] + short[1] + long[2])


async def test_a_key_opens_for_its_context_alone(tmp_path: Path) -> None:
    """What one provider wraps, it opens again with the same context; another context or a changed byte is refused."""
    providers: list[KeyProvider] = [Passphrase("correct horse", CHEAP), new_key_file(tmp_path / "keys" / "key")]
    for provider in providers:
        wrapped = await provider.wrap(KEY, context={"backup": "b1", "store": "s"})
        assert await provider.unwrap(wrapped, context={"store": "s", "backup": "b1"}) == KEY
        for damaged, context in [
            (wrapped, {"backup": "b2", "store": "s"}),
            (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), {"backup": "b1", "store": "s"}),
            (wrapped[:5], {"backup": "b1", "store": "s"}),
            (b"", {"backup": "b1", "store": "s"}),
        ]:
            with pytest.raises(AccessDenied):
                await provider.unwrap(damaged, context=context)


async def test_the_wrong_key_is_named(tmp_path: Path) -> None:
    """The error tells a wrong passphrase and a wrong file apart from damage, and shows no key."""
    wrapped = await Passphrase("correct horse", CHEAP).wrap(KEY, context={})
    with pytest.raises(AccessDenied, match="passphrase is not the one"):
        await Passphrase("wrong horse", CHEAP).unwrap(wrapped, context={})
    one, two = new_key_file(tmp_path / "one"), new_key_file(tmp_path / "two")
    with pytest.raises(AccessDenied, match="holds key") as refused:
        await two.unwrap(await one.wrap(KEY, context={}), context={})
    assert (tmp_path / "two").read_text().strip() not in refused.value.message


def test_a_key_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    """Nobody else can read it, and a second one is refused."""
    path = tmp_path / "key"
    new_key_file(path)
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyExists, match="never overwritten"):
        new_key_file(path)
    assert (path.read_bytes(), [*tmp_path.iterdir()]) == (before, [path])


@pytest.mark.parametrize("text", [None, "", "abc", "zz" * 32, "00" * 31, "é"])
async def test_a_file_that_holds_no_key_is_a_config_error(tmp_path: Path, text: str | None) -> None:
    """Missing, empty, too short or no hexadecimal: the error names the file."""
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"The key file {path} ")) as caught:
        await KeyFile(path).wrap(KEY, context={})
    assert caught.value.path == "backup.key_file"


async def test_a_key_file_that_cannot_be_read_says_why_once(tmp_path: Path) -> None:
    """In the system's words, without its number and without the path a second time."""
    with pytest.raises(ConfigError, match="let this user read it") as caught:
        await KeyFile(tmp_path).wrap(KEY, context={})
    assert (str(caught.value).count(str(tmp_path)), "Errno" in str(caught.value)) == (1, False)


def test_a_weak_passphrase_is_refused() -> None:
    """Too short, or with a cost out of range."""
    for phrase, cost in [("short", 17), ("long enough", 9), ("long enough", 23)]:
        with pytest.raises(ConfigError) as caught:
            Passphrase(phrase, cost)
        assert caught.value.path == "backup.passphrase"


async def test_what_one_passphrase_seals_has_one_salt() -> None:
    """Also of another process, once it has opened something; nothing else is equal, and each opens by itself."""
    one, two, alone = (Passphrase("correct horse", CHEAP) for _ in range(3))
    first = await one.wrap(KEY, context={"backup": "a"})
    second = await one.wrap(KEY, context={"backup": "b"})
    assert await two.unwrap(first, context={"backup": "a"}) == KEY
    third = await two.wrap(KEY, context={"backup": "c"})
    other = await alone.wrap(KEY, context={"backup": "a"})
    assert first[:17] == second[:17] == third[:17] != other[:17]
    assert len({each[17:] for each in (first, second, third, other)}) == 4
    assert await alone.unwrap(third, context={"backup": "c"}) == KEY


def test_what_nobody_could_open_is_not_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item beyond all bounds ends the backup, and not its restore."""
    monkeypatch.setattr("storycore.backup.frames._LARGEST_CONTENT", 1000)
    sealer = FrameSealer(KEY, backup="b1", name="part-1")
    with pytest.raises(TooLarge, match="1001"):
        sealer.seal(b"x" * 1001, last=True)
    assert len(sealer.seal(b"x" * 1000, last=True)) < 1000
