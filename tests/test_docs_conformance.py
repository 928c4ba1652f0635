"""The table of the entity port's rules names tests that exist, and leaves none of the suite's out."""

from __future__ import annotations

import re
from pathlib import Path

from storycore.testing.entities import EntityStoreSuite

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(test_\w+)`", PAGE.partition("## Every rule")[2].partition("\n## ")[0]))
SUITE = {name for name in dir(EntityStoreSuite) if name.startswith("test_")}


def test_every_named_test_exists() -> None:
    """In the suite, or among the tests of the layer above the port."""
    files = sorted((ROOT / "tests").glob("test_entity*.py"))
    above = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))}
    assert NAMED - SUITE - above == set()


def test_no_test_of_the_suite_is_left_out() -> None:
    """Whoever adds a test says which rule it proves."""
    assert not SUITE - NAMED


def test_every_test_of_the_suite_states_what_it_proves() -> None:
    """Its docstring is the sentence of the report."""
    assert [name for name in sorted(SUITE) if not getattr(EntityStoreSuite, name).__doc__] == []
