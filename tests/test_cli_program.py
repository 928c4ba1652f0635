"""The command line as a program: help, exit statuses, errors, plugins, configuration and the conformance kit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from storycore.cli.failures import told
from storycore.cli.program import COMMANDS, run
from storycore.errors import (
    AdapterNotFound,
    ConfigError,
    InvalidArgument,
    NotFound,
    NotProvisioned,
    PartialFailure,
    Unavailable,
)


@dataclass
class Ran:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Storycore = Callable[..., Ran]


@pytest.fixture
def storycore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Storycore:
    """Run a command line in an empty folder, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)

    def call(*arguments: str) -> Ran:
        status = run(arguments)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


def process(arguments: Sequence[str], cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    command = [sys.executable, "-m", "storycore", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", check=False, **options)


def plugin(place: Path, module: str, source: str) -> None:
    """Write a distribution that provides one entry point, as pip would install it."""
    (place / f"{module}.py").write_text(source)
    info = place / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[storycore.adapters]\n{module} = {module}\n")


def test_help_lists_every_command(storycore: Storycore) -> None:
    """Both spellings, and nothing at all, show the commands."""
    shown = storycore("--help")
    assert shown.status == 0
    assert all(name in shown.out for name in COMMANDS)
    assert shown.out == storycore("-h").out == storycore().out


def test_help_imports_no_command_and_nothing_heavy(tmp_path: Path) -> None:
    """The way to --help goes through click alone."""
    code = (
        "import sys; from storycore.cli.program import run; run(['--help']);"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('pydantic', 'rich', 'pluggy', 'orjson', 'asyncio') or m.startswith('storycore.cli.') or"
        " m in ('storycore.app', 'storycore.profiles', 'storycore.plugins')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "['storycore.cli.program']"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_common_options(storycore: Storycore, name: str) -> None:
    """All commands take --json, --profile and --dir; of a group, those in it."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    for words in [(name, each) for each in command.commands] if isinstance(command, click.Group) else [(name,)]:
        shown = storycore(*words, "--help")
        assert shown.status == 0
        assert all(option in shown.out for option in ("--json", "--profile", "--dir"))


def test_the_version_is_told(storycore: Storycore) -> None:
    """--version names the program and its version."""
    import storycore as package

    assert storycore("--version").out == f"storycore {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serch", "x"), "Did you mean 'search'?"),
        (("config", "--profil", "x"), "--profile"),
        (("config", "--profile", "memry"), "Did you mean 'memory'?"),
        (("config", "--profile", "no/such.toml"), "There is no configuration file"),
        (("config", "--dir", ""), "the path of a folder"),
        (("config", "--dir", "~nobody-of-that-name/x"), "home folder"),
        (("config", "--dir", "\udcff"), "valid Unicode"),
        (("search",), "QUERY"),
        (("ingest", ""), "The path is empty"),
        (("demo", "--docs", ""), "The path is empty"),
        (("search", "x", "--profile", "memory", "--where", "{"), "--where is not JSON"),
        (("search", "x", "--profile", "memory", "--where", '{"$not":' * 5000), "--where is not JSON"),
        (("search", "x", "--profile", "memory", "--where", "[]"), "--where is a JSON object"),
        (("conformance", "entites", "--adapter", "memory"), "Did you mean 'entities'?"),
        (("conformance", "cache"), "Which adapter?"),
        (("conformance", "cache", "--adapter", "memory", "--url", "redis://h"), "two adapters"),
        (("conformance", "cache", "--adapter", "memori"), "Did you mean 'memory'?"),
        (("conformance", "cache", "--url", "memory://?max_byte=1"), "Did you mean 'max_bytes'?"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(storycore: Storycore, arguments: tuple[str, ...], words: str) -> None:
    """A user's mistake gives an error that names it, without a traceback, as text and as JSON."""
    ran = storycore(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert words in ran.err
    assert "Traceback" not in ran.err
    document = storycore(*arguments, "--json").json
    assert words in document["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), 2),
        (AdapterNotFound("x", cure="pip install x"), 2),
        (InvalidArgument("x"), 2),
        (click.UsageError("x"), 2),
        (NotFound("x"), 1),
        (NotProvisioned("x"), 1),
        (Unavailable("x"), 1),
        (PermissionError(13, "Permission denied", "/x"), 1),
        (PartialFailure("x", outcomes=[]), 3),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
)
def test_each_failure_has_its_status(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """1 failed, 2 usage, 3 partial, 130 interrupted; always a line on stderr and a document on stdout."""
    assert told(error, as_json=True) == status
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert json.loads(captured.out)["error"]["message"]


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""
    assert told(KeyboardInterrupt(), as_json=False) == 130
    assert "goes on where it stopped" in capsys.readouterr().err


def test_a_defect_is_not_hidden() -> None:
    """What is nobody's mistake keeps its traceback."""
    with pytest.raises(ZeroDivisionError):
        told(ZeroDivisionError("x"), as_json=False)


@pytest.mark.parametrize(
    ("arguments", "status", "lines"),
    [(["config", "--profile", "memory"], 141, 0), (["config", "--profile", "memri", "--json"], 2, 1)],
)
def test_a_reader_that_leaves_causes_no_noise(tmp_path: Path, arguments: list[str], status: int, lines: int) -> None:
    """`storycore … | head -1` ends quietly, and an error is told on stderr all the same."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "storycore", *arguments],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, lines)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_result_that_cannot_be_written_is_one_error(tmp_path: Path, form: Sequence[str]) -> None:
    """A full disk behind stdout is told on stderr, without a traceback."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "storycore", "config", "--profile", "memory", *form]
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("form", ["", "--json"])
def test_closed_streams_are_no_obstacle(tmp_path: Path, form: str) -> None:
    """What is told to nobody is told all the same."""
    command = f'"{sys.executable}" -m storycore config --profile memory {form} <&- >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, check=False).returncode == 0


def test_a_terminal_without_unicode_is_no_obstacle(tmp_path: Path) -> None:
    """Text is shown with what the encoding has; JSON is UTF-8 anyway; errors with odd names are told too."""
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "300"}
    folder = "dätä…🚂"
    text = process(["config", "--profile", "local", "--dir", folder], tmp_path, env=environ)
    assert (text.returncode, "?t?" in text.stdout) == (0, True)
    document = process(["config", "--profile", "local", "--dir", folder, "--json"], tmp_path, env=environ)
    assert json.loads(document.stdout)["settings"]["dir"] == str(tmp_path / folder)
    wrong = process(["config", "--profile", folder, "--json"], tmp_path, env=environ)
    assert (wrong.returncode, folder in json.loads(wrong.stdout)["error"]["message"]) == (2, True)


def test_what_a_pipe_reads_is_in_whole_lines(tmp_path: Path) -> None:
    """A path is never broken, in text, tables or errors; who sets ``COLUMNS`` is heard."""
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    folder = tmp_path / "/".join(["a folder with a long name"] * 6)
    folder.mkdir(parents=True)
    made = process(["init", "--profile", "local", "--dir", "there"], folder, env=environ)
    assert (made.returncode, str(folder / "there" / "entities.db") in made.stdout) == (0, True)
    table = process(["stats", "--profile", "local", "--dir", "there"], folder, env=environ)
    assert (table.returncode, str(folder / "there" / "entities.db") in table.stdout) == (0, True)
    missing = process(["ingest", str(folder / "nothing"), "--profile", "memory"], folder, env=environ)
    assert (missing.returncode, str(folder / "nothing") in missing.stderr) == (1, True)
    narrow = process(["init", "--profile", "local", "--dir", "here"], folder, env={**environ, "COLUMNS": "40"})
    assert max(map(len, narrow.stdout.splitlines())) <= 40


def test_config_shows_settings_and_origins_but_no_secret(storycore: Storycore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value with its origin; secrets hidden."""
    monkeypatch.setenv("STORYCORE__CACHE", "redis://ada:hunter2@h:6379/0")
    monkeypatch.setenv("STORYCORE__CACHE__API_TOKEN", "hunter2")
    document = storycore("config", "--profile", "memory", "--json", "--origin").json
    found = {line["path"]: (line["value"], line["origin"]) for line in document["settings"]}
    assert found["cache.url"] == ("redis://ada:***@h:6379/0", "environment STORYCORE__CACHE")
    assert found["cache.api_token"] == ("***", "environment STORYCORE__CACHE__API_TOKEN")
    assert found["entities.url"] == ("memory://", "built-in profile 'memory'")
    text = storycore("config", "--profile", "memory", "--origin").out
    assert "hunter2" not in text
    assert "STORYCORE__CACHE" in text


def test_config_reads_the_file_and_dir(storycore: Storycore, tmp_path: Path) -> None:
    """storycore.toml in the working directory is found; --dir wins over it."""
    (tmp_path / "storycore.toml").write_text('default = "dev"\n[profile.dev]\nextends = "local"\ndir = "a"\n')
    assert storycore("config", "--json").json["settings"]["dir"] == str(tmp_path / "a")
    assert storycore("config", "--json", "--dir", "b").json["settings"]["dir"] == str(tmp_path / "b")


def test_plugins_shows_what_works_and_what_does_not(
    storycore: Storycore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken plugin is reported with its reason and hides nobody else."""
    plugin(tmp_path, "acme_broken", "raise RuntimeError('no such library')\n")
    monkeypatch.syspath_prepend(tmp_path)
    ran = storycore("plugins", "--json")
    found = {each["name"]: each for each in ran.json["plugins"]}
    assert ran.status == 0
    assert found["memory"]["ports"] == ["entities", "cache", "vectors", "blobs", "events", "embedder", "reranker"]
    assert "no such library" in found["acme_broken"]["problem"]
    assert "no such library" in storycore("plugins").out


def test_a_plugin_may_bring_a_command(storycore: Storycore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is not storycore's own is looked for in the plugins; what they name wrongly is their error."""
    plugin(
        tmp_path,
        "acme_greeting",
        "import click\n"
        "from storycore.hooks import hookimpl\n"
        "@hookimpl\n"
        "def storycore_commands():\n"
        "    return {'greet': 'acme_greeting:greet', 'lost': 'acme_greeting:lost', 'odd': 'acme_greeting:hookimpl'}\n"
        "@click.command()\n"
        "@click.argument('name')\n"
        "def greet(name):\n"
        "    click.echo(f'hello {name}')\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert storycore("greet", "ada").out == "hello ada\n"
    assert "Did you mean 'greet'?" in storycore("gret").err
    assert [storycore(name).status for name in ("lost", "odd")] == [2, 2]


def test_conformance_without_the_kit_says_what_to_install(
    storycore: Storycore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kit is an extra; its absence is one line with the cure."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    ran = storycore("conformance", "cache", "--adapter", "memory")
    assert (ran.status, "pip install 'storycore[testing]'" in ran.err) == (2, True)


def test_conformance_tells_what_was_proved(storycore: Storycore) -> None:
    """Status 0, and a document that names adapter, port, versions and every sentence."""
    ran = storycore("conformance", "embeddings", "--adapter", "memory", "--json")
    report = ran.json
    assert (ran.status, report["held"], report["adapter"], report["port"]) == (0, True, "memory", "embedder")
    assert (report["counts"]["failed"], report["failed"]) == (0, [])
    assert report["version"] == report["kit"]
    assert len(report["proved"]) > 15
    assert report["capabilities"]["guarantees"]["durability"] == "process"
    assert {each["feature"] for each in report["not_claimed"]} >= {"semantic"}


def test_conformance_refuses_one_place_for_all_tests(storycore: Storycore, tmp_path: Path) -> None:
    """A file that every test would find as the one before has left it proves nothing."""
    ran = storycore("conformance", "entities", "--url", f"sqlite:///{tmp_path}/store.db")
    assert (ran.status, "sqlite:///{path}/data/store.db" in ran.err) == (2, True)


def test_conformance_fails_for_an_adapter_that_breaks_its_word(
    tmp_path: Path,
) -> None:
    """A faulty third-party adapter gives status 1 and the sentences that it broke."""
    plugin(
        tmp_path,
        "acme_faulty",
        "from storycore.hooks import hookimpl\n"
        "from storycore.memory.config import MemoryEmbedderConfig\n"
        "from storycore.plugins import Adapter\n"
        "from storycore.ports.lifecycle import PortName\n"
        "@hookimpl\n"
        "def storycore_adapters():\n"
        "    ports = {PortName.EMBEDDER: 'acme_faulty:open_embedder'}\n"
        "    return [Adapter(\n"
        "        name='acme_faulty', ports=ports, config=MemoryEmbedderConfig, distribution='acme_faulty'\n"
        "    )]\n"
        "def open_embedder(config, env):\n"
        "    from storycore.memory.embedder import open_embedder\n"
        "    made = open_embedder(config, env)\n"
        "    made.native = lambda kind: made\n"
        "    return made\n",
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = process(["conformance", "embeddings", "--adapter", "acme_faulty", "--json"], tmp_path, env=environ)
    report = json.loads(done.stdout)
    assert (done.returncode, report["held"]) == (1, False)
    assert (report["distribution"], report["version"]) == ("acme_faulty", "1.0")
    broken = "``native`` refuses a type that is not behind the port."
    assert broken in [each["sentence"] for each in report["failed"]]
    assert broken not in report["proved"]
