"""Keys become names in their order, and names become keys again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storycore_s3._names import LAST, Names

from storycore.testing.blob_examples import LONG_KEYS, ODD_KEYS

FORMS = [Names("", "plain"), Names("p/", "plain"), Names("", "portable"), Names("p/", "portable")]
IDS = ["plain", "plain behind a prefix", "portable", "portable behind a prefix"]
TEXT = st.text(st.sampled_from("aA0/.-!_([\\~\u00e9\n ") | st.just(LAST), min_size=1, max_size=12)
KEYS = TEXT | st.builds(lambda text, times: text * times, TEXT, st.integers(1, 60))


@pytest.mark.parametrize("names", FORMS, ids=IDS)
def test_every_odd_key_comes_back(names: Names) -> None:
    """Whatever a key holds, and however long it is."""
    for key in [*ODD_KEYS, *LONG_KEYS, LAST, LAST + "i/notes/x", LAST * 2]:
        assert names.key(names.of(key)) == key


@pytest.mark.parametrize("names", FORMS, ids=IDS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(keys=st.lists(KEYS, min_size=2, max_size=12, unique=True))
def test_names_are_in_the_order_of_their_keys(names: Names, keys: list[str]) -> None:
    """No two keys share a name, and a service that sorts names sorts keys."""
    for one, other in pairwise(sorted(keys)):
        assert names.of(one) < names.of(other)


@pytest.mark.parametrize("names", FORMS, ids=IDS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(part=TEXT, key=KEYS)
def test_a_beginning_of_a_key_is_a_beginning_of_its_name(names: Names, part: str, key: str) -> None:
    """A prefix finds exactly the keys that begin with it."""
    assert names.of(part + key).startswith(names.beginning(part))
    assert names.of(key).startswith(names.beginning(part)) == key.startswith(part)


def test_portable_names_suit_a_file_system() -> None:
    """No part is a dot or two, is empty, or has more than 255 bytes, and no folder has the name of a file."""
    names = Names("", "portable")
    found = [names.of(key) for key in ODD_KEYS + LONG_KEYS]
    folders = {name[:at] for name in found for at, character in enumerate(name) if character == "/"}
    parts = [part for name in found for part in name.split("/")]
    assert not folders & set(found)
    assert not {"", ".", ".."} & set(parts)
    assert max(len(part.encode()) for part in parts) <= 255


@pytest.mark.parametrize("names", FORMS, ids=IDS)
def test_a_key_of_the_claimed_size_has_a_name_that_fits(names: Names) -> None:
    """Even where each of its bytes takes the most room."""
    most = names.most_key_bytes
    assert max(len(names.of(character * most).encode()) for character in "a\n/!") <= 1024


def test_what_is_the_adapters_own_is_behind_all_keys_and_is_none() -> None:
    """A listing can end where it begins."""
    for names in FORMS:
        own = names.own("notes/x")
        assert names.key(own) is None
        assert own > names.of("\U0010fffe" * 4)


@pytest.mark.parametrize("name", ["a!", "!x", "!(0", "!(GG", "other/a"])
def test_a_foreign_name_is_no_key(name: str) -> None:
    """Whatever another tool has put among the portable names is passed over."""
    names = Names("p/", "portable")
    assert names.key(name if name == "other/a" else f"p/{name}") is None
