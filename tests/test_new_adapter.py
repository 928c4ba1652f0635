"""A new adapter's project: in the shape of the field's tools, and never over what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from storycore.cli.program import run
from storycore.ports.lifecycle import PortName

PORTS = [argument for port in PortName for argument in ("--port", str(port))]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an adapter of every port."""
    folder = tmp_path_factory.mktemp("new")
    assert run(["new-adapter", "acme-tape", *PORTS, "--into", str(folder)]) == 0
    return folder / "storycore-acme-tape"


def checked(project: Path, *command: str) -> str:
    """What a checker finds."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, check=False, timeout=120
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_it_is_formatted_and_has_no_findings(project: Path) -> None:
    settings = ("--isolated", "--line-length", "120", "--target-version", "py311")
    assert checked(project, "ruff", "format", "--check", *settings, ".") == ""
    assert checked(project, "ruff", "check", *settings, "--select", "E,F,I,UP,B,RUF,SIM,ANN", ".") == ""


@pytest.mark.slow
def test_every_contract_is_there_with_its_types(project: Path) -> None:
    """Strictly checked: an operation that is missing, or has another signature, is none of the port's."""
    assert checked(project, "mypy", "--strict", "-p", "storycore_acme_tape") == ""


def test_nothing_that_is_there_is_overwritten(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    assert run(["new-adapter", "acme-tape", "--port", "cache", "--into", str(project.parent)]) == 1
    assert "choose another name" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["Acme", "--port", "cache"], 2, "lower-case"),
        (["acme_tape", "--port", "cache"], 2, "lower-case"),
        (["-", "--port", "cache"], 2, "lower-case"),
        (["acme"], 2, "--port"),
        (["acme", "--port", "tape"], 2, "cache"),
        (["acme", "--port", "cache", "--port", "cache"], 2, "twice"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new-adapter", *arguments, "--into", str(tmp_path)]) == status
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_it_tells_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new-adapter", "tape", "--port", "blobs", "--into", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["folder"] == str(tmp_path / "storycore-tape")
    assert sorted(said["files"]) == sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())
