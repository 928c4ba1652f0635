"""What CONTRIBUTING.md says of the code's shape, as far as it can be counted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted([*ROOT.glob("storycore/**/*.py"), *ROOT.glob("adapters/*/storycore_*/**/*.py")])
UNWANTED = re.compile(r"# *(TODO|FIXME|XXX)|^# *[-=#*]{5,}|# type: ignore *$|# noqa *$", re.MULTILINE)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function with its length in lines, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            said = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if said else 0
            yield (
                f"{path.relative_to(ROOT)}:{node.name}",
                (node.end_lineno or node.lineno) - node.lineno + 1 - docstring,
            )


def test_no_module_is_too_long() -> None:
    """Above 400 lines there is a second idea, which gets a module of its own."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_function_is_too_long() -> None:
    """Above 50 lines a function does more than one thing."""
    lengths = [found for path in MODULES for found in functions(path)]
    assert [(name, length) for name, length in lengths if length > 50] == []


def test_every_module_says_what_it_is_for() -> None:
    """One sentence at its top; an `__init__` that holds nothing may be silent."""
    silent = [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert [str(path.relative_to(ROOT)) for path in silent if path.name != "__init__.py"] == []


def test_no_module_has_a_vague_name() -> None:
    """A module is named by a noun of the domain; what everything fits into belongs nowhere."""
    vague = {"utils", "util", "helpers", "helper", "base", "manager", "misc"}
    assert [str(path.relative_to(ROOT)) for path in MODULES if path.stem in vague] == []


def test_no_comment_that_should_not_be_there() -> None:
    """No banners, no notes to oneself, no check that is switched off without a code."""
    found = {str(path.relative_to(ROOT)): UNWANTED.findall(path.read_text(encoding="utf-8")) for path in MODULES}
    assert {name: comments for name, comments in found.items() if comments} == {}
