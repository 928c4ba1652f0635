"""A new adapter's project: in the shape of the field's tools, and never over what is there."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path

import pytest

from storycore.cli.program import run
from storycore.cli.skeletons import CONTRACTS
from storycore.ports.lifecycle import PortName

PORTS = [argument for port in PortName for argument in ("--port", str(port))]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an adapter of every port."""
    folder = tmp_path_factory.mktemp("new")
    assert run(["new-adapter", "acme-tape", *PORTS, "--into", str(folder)]) == 0
    return folder / "storycore-acme-tape"


def operations(protocol: type) -> dict[str, str]:
    """The signatures of what a class defines itself and does not keep to itself."""
    own = {name: each for name, each in vars(protocol).items() if not name.startswith("_")}
    found = {name: each.fget if isinstance(each, property) else each for name, each in own.items()}
    return {name: str(inspect.signature(each)) for name, each in found.items() if callable(each)}


@pytest.mark.parametrize("port", PortName)
def test_every_operation_of_the_contract_is_there(
    port: PortName, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the very signature; that types hold, and that nothing is to be formatted, `scripts/check` sees."""
    monkeypatch.syspath_prepend(str(project))
    module = import_module(f"storycore_acme_tape.{port}")
    place, protocol = CONTRACTS[port]
    contract = operations(getattr(import_module(place), protocol))
    made = operations(getattr(module, f"AcmeTape{protocol}"))
    assert {name: made.get(name) for name in contract} == contract


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
