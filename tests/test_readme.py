"""The documents do not lie: every Python block runs, every profile loads, every command exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from storycore.plugins import Plugins
from storycore.profiles import load, resolve
from storycore.profiles.files import read
from storycore.profiles.loading import profile_names

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "adapters/*/*.md", "examples/**/*.md") for path in ROOT.glob(pattern)
)


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def having(language: str, *words: str) -> list[str]:
    """The documents that have such blocks with one of the words in them."""
    found = [path for path in DOCUMENTS if any(word in block for block in blocks(path, language) for word in words)]
    return [str(path.relative_to(ROOT)) for path in found]


@pytest.mark.parametrize("document", having("python", ""))
def test_the_python_blocks_of_a_document_run(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks of a document run one after the other, in a fresh folder, as one program."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "falls.md").write_text("# The falls\n\nThe river falls thirty metres.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    program: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(ROOT / document, "python"), start=1):
        exec(compile(block, f"{document}[{number}]", "exec", dont_inherit=True), program)  # our own documents
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("document", having("toml", "[profile."))
def test_the_profiles_of_a_document_load(document: str, tmp_path: Path) -> None:
    """Every profile is put together, and the settings of every installed adapter are those that it has."""
    plugins = Plugins()
    for block in (found for found in blocks(ROOT / document, "toml") if "[profile." in found):
        path = tmp_path / "storycore.toml"
        path.write_text(block, encoding="utf-8")
        for name in set(profile_names(read(path))) & set(tomllib.loads(block).get("profile", {})):
            profile = load(name, environ={}, cwd=tmp_path)
            for port in profile.ports:
                if profile.port(port).adapter in plugins.names():
                    assert resolve(profile.port(port), plugins.adapter(profile.port(port).adapter), port, environ={})


@pytest.mark.parametrize("document", having("console", "storycore "))
def test_the_commands_of_a_document_exist(document: str) -> None:
    """Every `storycore …` line parses: the command, its arguments and its options are there."""
    from storycore.cli.program import program

    lines = [line for block in blocks(ROOT / document, "console") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if re.search(r"(^\$|run) storycore ", line)]
    assert commands
    for words in commands:
        arguments = words[words.index("storycore") + 1 :]
        with click.Context(program) as context:
            name, command, rest = program.resolve_command(context, arguments)
            assert command is not None
            assert command.make_context(name, rest, parent=context) is not None


def test_the_readme_is_short() -> None:
    """A reader sees everything that matters within 120 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_the_readme_names_the_two_commands() -> None:
    """Each command is enough on a machine that has only Python and pip."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install uv && uv run storycore demo" in readme
    assert "pip install uv && uv run pytest -n auto" in readme


@pytest.mark.parametrize("document", [str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_the_links_of_a_document_lead_somewhere(document: str) -> None:
    """Every relative link is a file or folder of the repository."""
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("document", [str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_the_links_within_a_document_lead_to_its_headings(document: str) -> None:
    """As a browser of Markdown makes anchors: in lower case, with dashes for spaces."""
    text = (ROOT / document).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", text) if anchor not in anchors] == []
