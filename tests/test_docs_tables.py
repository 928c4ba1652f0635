"""The tables in the documents say what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from storycore import errors
from storycore.layers.stack import LAYERS
from storycore.plugins import Adapter, Plugins
from storycore.profiles.builtin import BUILTIN
from storycore.profiles.sources import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
ADAPTERS = sorted(path.parent.name for path in ROOT.glob("adapters/*/pyproject.toml"))


def rows(document: str) -> list[list[str]]:
    """The cells of all tables of a document."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")
    ]


def family(base: type[errors.StorycoreError]) -> Iterator[type[errors.StorycoreError]]:
    """All errors below one, the built-in ones only."""
    for cls in base.__subclasses__():
        if cls.__module__ == "storycore.errors":
            yield cls
            yield from family(cls)


def test_the_table_of_errors_is_complete_and_right() -> None:
    """Each class with its code, whether a retry helps and what is known of the effect."""
    said = {row[0]: tuple(row[1:4]) for row in rows("docs/errors.md") if len(row) == 5}
    del said["error"]
    meant = {
        cls.__name__: (cls.code, str(cls.default_retry), str(cls.default_effect))
        for cls in family(errors.StorycoreError)
    }
    assert said == meant


def test_the_built_in_profiles_are_documented() -> None:
    """Each port's URL in each built-in profile, as the table shows them."""
    table = {row[0]: row[1:] for row in rows("docs/configuration.md") if len(row) == 4}
    for column, name in enumerate(("memory", "local", "aws")):
        assert {port: cells[column].strip("`") for port, cells in table.items() if port in BUILTIN[name]} == BUILTIN[
            name
        ]


def test_every_setting_and_layer_is_documented() -> None:
    """What a profile may say is in the page about configuration."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [name for name in (*SETTINGS, *LAYERS) if f"`{name}`" not in page and f"`{name}." not in page] == []


def models(adapter: Adapter) -> set[type[BaseModel]]:
    """The config models of an adapter's ports."""
    return {adapter.config_for(port) for port in adapter.ports}


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_readme_of_an_adapter_lists_its_settings(name: str) -> None:
    """Every setting stands in the README's table, and nothing else does."""
    fields = {field for model in models(Plugins().adapter(name)) for field in model.model_fields}
    text = (ROOT / "adapters" / name / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Settings\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert set(re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)) == fields


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_readme_of_an_adapter_answers_the_same_questions(name: str) -> None:
    """What it serves, settings, guarantees, limits, how to test: in this order."""
    text = (ROOT / "adapters" / name / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:4] == ["Settings", "Guarantees", "Limits", "Tests"]
    assert f"pip install 'storycore[{name}]'" in text
    assert f"scripts/check {name}" in text
