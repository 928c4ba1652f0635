"""Keys become paths that no file system confuses, and the paths keep the order of the keys."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_files._names import FOLDER, decoded, path_of

from storycore.testing.blob_examples import ODD_KEYS

KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40),
    st.lists(st.sampled_from(["", ".", "..", "a", "A", "con", "aux.b", "é", "x" * 179, "x" * 180, "x" * 181, "%"]))
    .map("/".join)
    .filter(bool),
    st.text("ab/.-", min_size=1, max_size=500),
    st.text("/a", min_size=20, max_size=60),
)
MODEST = settings(max_examples=200, deadline=None, derandomize=True, database=None)
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.DOTALL)


def key_of(path: tuple[str, ...]) -> str:
    key = b""
    for name in path:
        part = decoded(name, key)
        assert part is not None, name
        key += part
    return key.decode()


def parts_of(key: str) -> list[bytes]:
    parts: list[bytes] = []
    for name in path_of(key):
        parts.append(decoded(name, b"".join(parts)) or b"")
    return parts


@MODEST
@given(KEYS)
def test_a_path_leads_back_to_its_key(key: str) -> None:
    """Encoding loses nothing, so that two keys never share a path."""
    assert key_of(path_of(key)) == key


@MODEST
@given(KEYS)
def test_a_name_suits_every_file_system(key: str) -> None:
    """Names are short, of plain lower-case ASCII, no device, not hidden, and lead nowhere else."""
    for name in path_of(key):
        assert 1 <= len(name) <= 200
        assert re.fullmatch(r"[a-z0-9_.,=@%^+~-]+", name)
        assert not name.startswith(".")
        assert not name.endswith((".", " "))
        assert not DEVICE.fullmatch(name)


@MODEST
@given(KEYS, KEYS)
def test_no_two_keys_meet(one: str, two: str) -> None:
    """A file is never a folder, nor differs from another in case or accents alone."""
    folded = ["/".join(unicodedata.normalize("NFC", name).lower() for name in path_of(key)) for key in (one, two)]
    assert (folded[0] == folded[1]) == (one == two)
    assert not path_of(one)[-1].endswith(FOLDER)
    assert path_of(one) != path_of(two)[: len(path_of(one))] or one == two


@MODEST
@given(st.lists(KEYS, max_size=12))
def test_the_order_of_keys_can_be_read_from_the_folders(keys: list[str]) -> None:
    """Comparing paths name by name, decoded, is comparing keys byte by byte."""
    by_path = sorted(set(keys), key=parts_of)
    assert by_path == sorted(set(keys), key=str.encode)


def test_plain_keys_stay_readable() -> None:
    """What people name their files is what they find on the disk."""
    assert path_of("stories/2026-01/chapter_1.json") == ("stories+", "2026-01+", "chapter_1.json")
    assert path_of("dt=2026-01-01/h=03/part.parquet") == ("dt=2026-01-01+", "h=03+", "part.parquet")
    assert path_of("README.md") == ("^r^e^a^d^m^e.md",)
    assert path_of("..") == ("%2e%2e",)
    assert path_of("a//b") == ("a+", "%+", "b")


def test_folders_are_not_too_deep() -> None:
    """Behind the 32nd slash a key is one name, and that is the only place where a name holds a slash."""
    assert path_of("a/" * 33 + "b") == ("a+",) * 32 + ("a%2fb",)
    assert (decoded("a%2fb", b"a/" * 31), decoded("a%2fb", b"a/" * 32)) == (None, b"a/b")
    assert (decoded("a+", b"a/" * 31), decoded("a+", b"a/" * 32)) == (b"a/", None)
    assert len(path_of("/" * 1024)) < 60


def test_the_longest_keys_have_paths_that_a_system_takes() -> None:
    """With a root of up to 900 bytes no path exceeds the 4096 bytes of Linux."""
    assert max(len("/".join(path_of(key))) for key in [*ODD_KEYS, "é" * 512, "/" * 1024, "\x01" * 1024]) < 3190


@pytest.mark.parametrize(
    "name",
    [
        "",
        "+",
        "~",
        ".ds_store",
        "A",
        "é",
        "%6",
        "%61",
        "%2E",
        "^1",
        "a^",
        "a b",
        "%%",
        "con",
        "..",
        "a.",
        "a~",
        "a%2fb",
    ],
)
def test_a_foreign_name_is_no_key(name: str) -> None:
    """What this adapter does not write is not taken for a blob, least of all a second name for one."""
    assert decoded(name) is None
